#include "selection.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace trocar::detail {

namespace {

// Ratio of the length of a strip to its depth.
constexpr double min_ratio = 3;

}  // namespace

void clear_outside_view(const std::uint8_t *labels, std::ptrdiff_t stride, int width, int height,
                        const trocar_frame &frame, std::vector<std::uint8_t> &out) {
    const double sx = static_cast<double>(frame.width) / width;
    const double sy = static_cast<double>(frame.height) / height;
    const double square = frame.view[2] * frame.view[2];
    const auto is_inside = [&](int x, double yy) {
        const double dx = (x + 0.5) * sx - frame.view[0];
        return dx * dx + yy <= square;
    };
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    if (out.size() < count) out.resize(count);
    for (int y = 0; y < height; ++y) {
        const double dy = (y + 0.5) * sy - frame.view[1];
        const double yy = dy * dy;
        std::uint8_t *row = out.data() + std::ptrdiff_t{y} * width;
        // The squared distance falls towards the centre and rises behind it: what is inside is one
        // run of pixels. Its ends are near those of the chord.
        const double half = std::sqrt(std::max(square - yy, 0.0));
        const auto near = [&](double x) {
            const double column = x / sx - 0.5;
            return !(column > 0) ? 0 : column < width ? static_cast<int>(column) : width;
        };
        int begin = near(frame.view[0] - half);
        while (begin > 0 && is_inside(begin - 1, yy)) --begin;
        while (begin < width && !is_inside(begin, yy)) ++begin;
        int end = std::max(near(frame.view[0] + half), begin);
        while (end < width && is_inside(end, yy)) ++end;
        while (end > begin && !is_inside(end - 1, yy)) --end;
        std::memset(row, 0, static_cast<std::size_t>(begin));
        std::memcpy(row + begin, labels + y * stride + begin,
                    static_cast<std::size_t>(end - begin));
        std::memset(row + end, 0, static_cast<std::size_t>(width - end));
    }
}

bool is_strip(const Grid &grid, const Runs &runs, const Moments &moments, double most,
              const trocar_frame &frame) {
    const bool has_view = frame.view[2] > 0;
    const Point centre = has_view ? Point{frame.view[0], frame.view[1]}
                                  : Point{frame.width / 2.0, frame.height / 2.0};
    const auto depth_of = [&](int at_x, int at_y) {
        const double x = grid.x_of(at_x);
        const double y = grid.y_of(at_y);
        const double depth = std::min(std::min(x, frame.width - x), std::min(y, frame.height - y));
        if (!has_view) return depth;
        const double dx = x - frame.view[0];
        const double dy = y - frame.view[1];
        return std::min(depth, frame.view[2] - std::sqrt(dx * dx + dy * dy));
    };
    // Most regions have a deep pixel where a row is nearest to the centre of the view.
    const int middle = static_cast<int>(std::clamp(centre.x / grid.sx, 0.0, 1.0 * grid.width));
    for (const Run &run : runs)
        if (depth_of(std::clamp<int>(middle, run.begin, run.end - 1), run.y) > most) return false;
    double deepest = -HUGE_VAL;
    for (const Run &run : runs) {
        for (int x = run.begin; x < run.end; ++x) {
            deepest = std::max(deepest, depth_of(x, run.y));
            if (deepest > most) return false;
        }
    }
    return length_of(grid, principal_axis(grid, moments)) >= min_ratio * deepest;
}

}  // namespace trocar::detail
