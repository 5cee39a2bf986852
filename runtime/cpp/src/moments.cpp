#include "moments.hpp"

#include <algorithm>
#include <cmath>

namespace trocar::detail {

namespace {

__extension__ using Wide = __int128;

}  // namespace

Moments moments_of(const Runs &runs) {
    Moments m;
    m.left = runs.front().begin;
    // Sum of the squares below an integer.
    const auto squares = [](std::int64_t k) { return (k - 1) * k * (2 * k - 1) / 6; };
    for (const Run &run : runs) {
        const std::int64_t begin = run.begin;
        const std::int64_t end = run.end;
        const std::int64_t y = run.y;
        const std::int64_t n = end - begin;
        const std::int64_t x = (begin + end - 1) * n / 2;
        m.n += n;
        m.x += x;
        m.y += y * n;
        m.xx += squares(end) - squares(begin);
        m.yy += y * y * n;
        m.xy += x * y;
        m.left = std::min<int>(m.left, run.begin);
        m.right = std::max<int>(m.right, run.end);
    }
    m.top = runs.front().y;
    m.bottom = runs.back().y + 1;
    return m;
}

Moments sum_of(const Moments &a, const Moments &b) {
    Moments m;
    m.n = a.n + b.n;
    m.x = a.x + b.x;
    m.y = a.y + b.y;
    m.xx = a.xx + b.xx;
    m.yy = a.yy + b.yy;
    m.xy = a.xy + b.xy;
    m.left = std::min(a.left, b.left);
    m.right = std::max(a.right, b.right);
    m.top = std::min(a.top, b.top);
    m.bottom = std::max(a.bottom, b.bottom);
    return m;
}

PrincipalAxis principal_axis(const Grid &grid, const Moments &m) {
    const auto central = [&m](std::int64_t products, std::int64_t a, std::int64_t b) {
        return static_cast<double>(Wide{m.n} * products - Wide{a} * b);
    };
    const auto square = static_cast<double>(Wide{m.n} * m.n);
    const double xx = central(m.xx, m.x, m.x) / square * grid.sx * grid.sx;
    const double yy = central(m.yy, m.y, m.y) / square * grid.sy * grid.sy;
    const double xy = central(m.xy, m.x, m.y) / square * grid.sx * grid.sy;
    const double difference = xx - yy;
    const double root = std::sqrt(difference * difference + 4 * xy * xy);
    const double larger = (xx + yy + root) / 2;
    if (root == 0) return {{1, 0}, 1, larger, xx, yy, xy};
    const double cosine = difference / root;
    const double dx = std::sqrt((1 + cosine) / 2);
    const double dy = std::sqrt((1 - cosine) / 2);
    return {{dx, xy < 0 ? -dy : dy}, (xx + yy - root) / (xx + yy + root), larger, xx, yy, xy};
}

double length_of(const Grid &grid, const PrincipalAxis &axis) {
    return std::sqrt(12 * axis.larger) + std::max(grid.sx, grid.sy);
}

}  // namespace trocar::detail
