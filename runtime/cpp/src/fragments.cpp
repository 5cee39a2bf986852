#include "fragments.hpp"

#include <algorithm>
#include <cmath>

namespace trocar::detail {

namespace {

// Ratio of the smaller to the larger variance, above which a fragment has no axis to continue.
constexpr double max_base_ratio = 0.25;
constexpr double pi = 3.141592653589793238462643383279502884;

/// By group, pixels descending, first pixel.
bool comes_before(const Piece &a, const Piece &b) {
    if (a.group != b.group) return a.group < b.group;
    if (a.moments.n != b.moments.n) return a.moments.n > b.moments.n;
    return a.first_pixel < b.first_pixel;
}

}  // namespace

void FragmentJoiner::join(const Grid &grid, const LocationOptions &options,
                          std::vector<Piece> &pieces) {
    const double angle = options.max_angle * pi / 180;
    slope_ = std::tan(angle);
    cosine_ = std::cos(angle);
    max_gap_ = options.max_gap;
    max_width_ratio_ = options.max_width_ratio;
    sort(pieces);
    std::size_t i = 0;
    while (i < order_.size()) {
        const int group = pieces[static_cast<std::size_t>(order_[i])].group;
        std::size_t count = 0;
        for (; i < order_.size() && pieces[static_cast<std::size_t>(order_[i])].group == group; ++i)
            if (count < max_fragments) shapes_[count++].piece = order_[i];
        if (count > 1) join_group(grid, pieces, count);
    }
}

void FragmentJoiner::sort(const std::vector<Piece> &pieces) {
    order_.clear();
    for (std::size_t i = 0; i < pieces.size(); ++i) order_.push_back(static_cast<std::int32_t>(i));
    std::sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
        return comes_before(pieces[static_cast<std::size_t>(a)],
                            pieces[static_cast<std::size_t>(b)]);
    });
}

void FragmentJoiner::join_all(std::vector<Piece> &pieces) {
    sort(pieces);
    std::size_t i = 0;
    while (i < order_.size()) {
        Piece &held = pieces[static_cast<std::size_t>(order_[i])];
        Piece *last = &held;
        std::size_t count = 1;
        for (++i; i < order_.size(); ++i, ++count) {
            Piece &other = pieces[static_cast<std::size_t>(order_[i])];
            if (other.group != held.group) break;
            other.is_absorbed = true;
            if (count >= max_fragments) continue;
            held.touches_border = held.touches_border || other.touches_border;
            held.moments = sum_of(held.moments, other.moments);
            last->next = order_[i];
            last = &other;
        }
    }
}

void FragmentJoiner::join_group(const Grid &grid, std::vector<Piece> &pieces, std::size_t count) {
    const auto measure = [&](Shape &shape) {
        const Moments &m = pieces[static_cast<std::size_t>(shape.piece)].moments;
        shape.axis = principal_axis(grid, m);
        shape.centre = mean_point(grid, m.n, m.x, m.y);
        shape.length = length_of(grid, shape.axis);
        shape.width = static_cast<double>(m.n) * grid.sx * grid.sy / shape.length;
    };
    for (std::size_t i = 0; i < count; ++i) measure(shapes_[i]);
    for (std::size_t base = 0; base < count; ++base) {
        Piece &held = pieces[static_cast<std::size_t>(shapes_[base].piece)];
        while (!held.is_absorbed) {
            const std::size_t other = nearest(base, pieces, count);
            if (other == count) break;
            Piece &absorbed = pieces[static_cast<std::size_t>(shapes_[other].piece)];
            absorbed.is_absorbed = true;
            held.touches_border = held.touches_border || absorbed.touches_border;
            held.moments = sum_of(held.moments, absorbed.moments);
            Piece *last = &held;
            while (last->next >= 0) last = &pieces[static_cast<std::size_t>(last->next)];
            last->next = shapes_[other].piece;
            measure(shapes_[base]);
        }
    }
}

std::size_t FragmentJoiner::nearest(std::size_t base, const std::vector<Piece> &pieces,
                                    std::size_t count) const {
    if (shapes_[base].axis.variance_ratio > max_base_ratio) return count;
    std::size_t found = count;
    double smallest = HUGE_VAL;
    for (std::size_t i = 0; i < count; ++i) {
        if (i == base || pieces[static_cast<std::size_t>(shapes_[i].piece)].is_absorbed) continue;
        const double distance = gap(shapes_[base], shapes_[i], pieces);
        if (distance < smallest) {
            smallest = distance;
            found = i;
        }
    }
    return found;
}

double FragmentJoiner::gap(const Shape &base, const Shape &other,
                           const std::vector<Piece> &pieces) const {
    if (pieces[static_cast<std::size_t>(base.piece)].touches_border &&
        pieces[static_cast<std::size_t>(other.piece)].touches_border)
        return HUGE_VAL;
    if (std::max(base.width, other.width) > max_width_ratio_ * std::min(base.width, other.width))
        return HUGE_VAL;
    const Point axis = base.axis.direction;
    const double dx = other.centre.x - base.centre.x;
    const double dy = other.centre.y - base.centre.y;
    const double along = std::fabs(dx * axis.x + dy * axis.y);
    const double across = std::fabs(dx * axis.y - dy * axis.x);
    const double beyond = along - 0.5 * base.length;
    if (beyond < 0) return HUGE_VAL;
    if (across > 0.5 * base.width + slope_ * beyond) return HUGE_VAL;
    const Point own = other.axis.direction;
    if (other.axis.variance_ratio <= max_base_ratio &&
        std::fabs(axis.x * own.x + axis.y * own.y) < cosine_)
        return HUGE_VAL;
    const double spread = other.axis.xx * axis.x * axis.x + 2 * other.axis.xy * axis.x * axis.y +
                          other.axis.yy * axis.y * axis.y;
    const double distance = beyond - std::sqrt(3 * std::max(spread, 0.0));
    return distance <= max_gap_ * base.width ? distance : HUGE_VAL;
}

}  // namespace trocar::detail
