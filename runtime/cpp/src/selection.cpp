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
        std::uint8_t *row = out.data() + std::ptrdiff_t{y} * width;
        std::memcpy(row, labels + y * stride, static_cast<std::size_t>(width));
        // The squared distance falls towards the centre and rises behind it: what is inside is one
        // run of pixels.
        int begin = 0;
        while (begin < width && !is_inside(begin, dy * dy)) row[begin++] = 0;
        int end = width;
        while (end > begin && !is_inside(end - 1, dy * dy)) row[--end] = 0;
    }
}

bool is_strip(const Grid &grid, const Pixels &pixels, const Moments &moments, double most,
              const trocar_frame &frame) {
    const bool has_view = frame.view[2] > 0;
    double deepest = -HUGE_VAL;
    for (const Pixel &pixel : pixels) {
        const double x = grid.x_of(pixel);
        const double y = grid.y_of(pixel);
        double depth = std::min(std::min(x, frame.width - x), std::min(y, frame.height - y));
        if (has_view) {
            const double dx = x - frame.view[0];
            const double dy = y - frame.view[1];
            depth = std::min(depth, frame.view[2] - std::sqrt(dx * dx + dy * dy));
        }
        deepest = std::max(deepest, depth);
        if (deepest > most) return false;
    }
    return length_of(grid, principal_axis(grid, moments)) >= min_ratio * deepest;
}

}  // namespace trocar::detail
