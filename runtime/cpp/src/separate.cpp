#include "separate.hpp"

#include <algorithm>
#include <utility>

namespace trocar::detail {

namespace {

constexpr std::int32_t outside = -1;
constexpr std::int32_t nobody = 0;

// A claim of this round is kept below `outside` until the round is over.
constexpr std::int32_t pending(std::int32_t number) { return -1 - number; }

}  // namespace

void Separator::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    if (owner_.size() < count) owner_.resize(count, outside);
    shafts_.reserve(count);
    shaft_border_.reserve(count);
    roots_.reserve(count);
    sizes_.reserve(count);
    numbers_.reserve(count);
    owned_.reserve(count);
    front_.reserve(count);
    next_.reserve(count);
}

std::size_t Separator::find(const Grid &grid, const Pixels &region,
                            const std::vector<char> &on_border, const IsPart &shaft,
                            std::int64_t least, Clusters &clusters) {
    shafts_.clear();
    shaft_border_.clear();
    for (std::size_t i = 0; i < region.size(); ++i) {
        if (!shaft[grid.label(region[i])]) continue;
        shafts_.push_back(region[i]);
        shaft_border_.push_back(on_border[i]);
    }
    clusters.find(shafts_, roots_);
    sizes_.assign(shafts_.size(), 0);
    numbers_.assign(shafts_.size(), 0);
    for (std::size_t i = 0; i < shafts_.size(); ++i) {
        const auto root = static_cast<std::size_t>(roots_[i]);
        ++sizes_[root];
        if (shaft_border_[i] != 0) numbers_[root] = 1;
    }
    std::int32_t count = 0;
    for (std::size_t i = 0; i < shafts_.size(); ++i)
        numbers_[i] = numbers_[i] != 0 && sizes_[i] >= least ? ++count : 0;
    if (count >= 2) grow(grid, region);
    return static_cast<std::size_t>(count);
}

void Separator::grow(const Grid &grid, const Pixels &region) {
    for (const Pixel &pixel : region) owner_[static_cast<std::size_t>(pixel.at)] = nobody;
    front_.clear();
    for (std::size_t i = 0; i < shafts_.size(); ++i) {
        const std::int32_t number = numbers_[static_cast<std::size_t>(roots_[i])];
        if (number == 0) continue;
        owner_[static_cast<std::size_t>(shafts_[i].at)] = number;
        front_.push_back(shafts_[i]);
    }
    while (!front_.empty()) {
        next_.clear();
        for (const Pixel &pixel : front_) {
            const std::int32_t number = owner_[static_cast<std::size_t>(pixel.at)];
            for (int dy = -1; dy <= 1; ++dy) {
                for (int dx = -1; dx <= 1; ++dx) {
                    const int x = pixel.x + dx;
                    const int y = pixel.y + dy;
                    if (x < 0 || y < 0 || x >= grid.width || y >= grid.height) continue;
                    const std::int32_t at = y * grid.width + x;
                    std::int32_t &owner = owner_[static_cast<std::size_t>(at)];
                    if (owner == nobody)
                        next_.push_back(
                            {at, static_cast<std::int16_t>(x), static_cast<std::int16_t>(y)});
                    // The smallest number wins, whose pending mark is the largest.
                    if (owner == nobody || owner < outside)
                        owner =
                            owner == nobody ? pending(number) : std::max(owner, pending(number));
                }
            }
        }
        for (const Pixel &pixel : next_) {
            std::int32_t &owner = owner_[static_cast<std::size_t>(pixel.at)];
            owner = -1 - owner;
        }
        std::swap(front_, next_);
    }
    owned_.clear();
    for (const Pixel &pixel : region) {
        owned_.push_back(owner_[static_cast<std::size_t>(pixel.at)]);
        owner_[static_cast<std::size_t>(pixel.at)] = outside;
    }
}

void Separator::piece(std::size_t number, const Pixels &region, Pixels &out) const {
    out.clear();
    for (std::size_t i = 0; i < region.size(); ++i)
        if (owned_[i] == static_cast<std::int32_t>(number) + 1) out.push_back(region[i]);
}

}  // namespace trocar::detail
