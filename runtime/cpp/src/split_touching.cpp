#include "split_touching.hpp"

#include <algorithm>
#include <utility>

namespace trocar::detail {

namespace {

// Values of owner_map_ beside the numbers of shafts.
constexpr std::int32_t outside = -1;
constexpr std::int32_t unassigned = 0;

// A pixel that is assigned in the current round has a value below `outside` until its end.
constexpr std::int32_t pending(std::int32_t number) { return -1 - number; }

}  // namespace

void TouchingSplitter::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    if (owner_map_.size() < count) owner_map_.resize(count, outside);
    shafts_.reserve(count);
    shaft_on_border_.reserve(count);
    roots_.reserve(count);
    sizes_.reserve(count);
    numbers_.reserve(count);
    owners_.reserve(count);
    front_.reserve(count);
    next_.reserve(count);
}

std::size_t TouchingSplitter::split(const Grid &grid, const Pixels &region,
                                    const std::vector<char> &on_border, const IsPart &is_shaft,
                                    std::int64_t min_pixels, ConnectedComponents &components) {
    shafts_.clear();
    shaft_on_border_.clear();
    for (std::size_t i = 0; i < region.size(); ++i) {
        if (!is_shaft[grid.label(region[i])]) continue;
        shafts_.push_back(region[i]);
        shaft_on_border_.push_back(on_border[i]);
    }
    components.find(shafts_, roots_);
    const std::int32_t count = number_entering_shafts(min_pixels);
    if (count >= 2) assign_pixels(grid, region);
    return static_cast<std::size_t>(count);
}

std::int32_t TouchingSplitter::number_entering_shafts(std::int64_t min_pixels) {
    sizes_.assign(shafts_.size(), 0);
    numbers_.assign(shafts_.size(), 0);
    for (std::size_t i = 0; i < shafts_.size(); ++i) {
        const auto root = static_cast<std::size_t>(roots_[i]);
        ++sizes_[root];
        if (shaft_on_border_[i] != 0) numbers_[root] = 1;
    }
    std::int32_t count = 0;
    for (std::size_t i = 0; i < shafts_.size(); ++i)
        numbers_[i] = numbers_[i] != 0 && sizes_[i] >= min_pixels ? ++count : 0;
    return count;
}

void TouchingSplitter::assign_pixels(const Grid &grid, const Pixels &region) {
    for (const Pixel &pixel : region) owner_map_[static_cast<std::size_t>(pixel.at)] = unassigned;
    front_.clear();
    for (std::size_t i = 0; i < shafts_.size(); ++i) {
        const std::int32_t number = numbers_[static_cast<std::size_t>(roots_[i])];
        if (number == 0) continue;
        owner_map_[static_cast<std::size_t>(shafts_[i].at)] = number;
        front_.push_back(shafts_[i]);
    }
    while (!front_.empty()) {
        assign_neighbours(grid);
        std::swap(front_, next_);
    }
    owners_.clear();
    for (const Pixel &pixel : region) {
        owners_.push_back(owner_map_[static_cast<std::size_t>(pixel.at)]);
        owner_map_[static_cast<std::size_t>(pixel.at)] = outside;
    }
}

void TouchingSplitter::assign_neighbours(const Grid &grid) {
    next_.clear();
    for (const Pixel &pixel : front_) {
        const std::int32_t number = owner_map_[static_cast<std::size_t>(pixel.at)];
        for (int dy = -1; dy <= 1; ++dy) {
            for (int dx = -1; dx <= 1; ++dx) {
                const int x = pixel.x + dx;
                const int y = pixel.y + dy;
                if (x < 0 || y < 0 || x >= grid.width || y >= grid.height) continue;
                const std::int32_t at = y * grid.width + x;
                std::int32_t &owner = owner_map_[static_cast<std::size_t>(at)];
                if (owner == unassigned) {
                    next_.push_back(
                        {at, static_cast<std::int16_t>(x), static_cast<std::int16_t>(y)});
                    owner = pending(number);
                } else if (owner < outside) {
                    // The smallest number wins; its pending value is the largest.
                    owner = std::max(owner, pending(number));
                }
            }
        }
    }
    for (const Pixel &pixel : next_) {
        std::int32_t &owner = owner_map_[static_cast<std::size_t>(pixel.at)];
        owner = -1 - owner;
    }
}

void TouchingSplitter::part(std::size_t number, const Pixels &region, Pixels &out) const {
    out.clear();
    for (std::size_t i = 0; i < region.size(); ++i)
        if (owners_[i] == static_cast<std::int32_t>(number) + 1) out.push_back(region[i]);
}

}  // namespace trocar::detail
