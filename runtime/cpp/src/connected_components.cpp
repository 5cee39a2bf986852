#include "connected_components.hpp"

namespace trocar::detail {

void ConnectedComponents::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    width_ = width;
    sets_.reserve(count);
    if (canvas_.size() < count) canvas_.resize(count, -1);
}

void ConnectedComponents::find(const Pixels &pixels, std::vector<std::int32_t> &roots) {
    sets_.clear();
    for (const Pixel &pixel : pixels) {
        const std::int32_t index = sets_.add();
        std::int32_t *here = canvas_.data() + pixel.at;
        *here = index;
        const bool left = pixel.x > 0;
        const bool right = pixel.x + 1 < width_;
        if (left && here[-1] >= 0) sets_.join(index, here[-1]);
        if (pixel.y == 0) continue;
        const std::int32_t *above = here - width_;
        if (above[0] >= 0) {
            // The pixel above is already joined with its neighbours.
            sets_.join(index, above[0]);
            continue;
        }
        if (left && above[-1] >= 0) sets_.join(index, above[-1]);
        if (right && above[1] >= 0) sets_.join(index, above[1]);
    }
    roots.clear();
    for (std::size_t i = 0; i < pixels.size(); ++i)
        roots.push_back(sets_.root(static_cast<std::int32_t>(i)));
    for (const Pixel &pixel : pixels) canvas_[static_cast<std::size_t>(pixel.at)] = -1;
}

}  // namespace trocar::detail
