#include "split_touching.hpp"

#include <algorithm>

namespace trocar::detail {

void TouchingSplitter::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    const std::size_t padded =
        (static_cast<std::size_t>(width) + 2) * (static_cast<std::size_t>(height) + 2);
    if (owner_map_.size() < padded) owner_map_.resize(padded, 0);
    components_.reserve(count);
    shafts_.reserve(count);
    roots_.reserve(count);
    numbers_.reserve(count);
    sizes_.reserve(count);
    region_.prepare(width, height);
    assigned_.prepare(width, height);
    reached_.reserve(count);
    parts_.reserve(count);
}

std::size_t TouchingSplitter::split(const Grid &grid, const Runs &region, const Border &border,
                                    const IsPart &is_shaft, std::int64_t min_pixels) {
    take_part(grid, region, is_shaft, shafts_);
    components_.find(shafts_, roots_);
    const std::int32_t count = number_entering_shafts(border, min_pixels);
    if (count >= 2) assign_pixels(grid, region);
    return static_cast<std::size_t>(count);
}

std::int32_t TouchingSplitter::number_entering_shafts(const Border &border,
                                                      std::int64_t min_pixels) {
    sizes_.assign(shafts_.size(), 0);
    numbers_.assign(shafts_.size(), 0);
    for (std::size_t i = 0; i < shafts_.size(); ++i) {
        const auto root = static_cast<std::size_t>(roots_[i]);
        sizes_[root] += shafts_[i].end - shafts_[i].begin;
        if (border.touches(shafts_[i])) numbers_[root] = 1;
    }
    std::int32_t count = 0;
    for (std::size_t i = 0; i < shafts_.size(); ++i)
        numbers_[i] = numbers_[i] != 0 && sizes_[i] >= min_pixels ? ++count : 0;
    for (std::size_t i = 0; i < shafts_.size(); ++i)
        shafts_[i].number = numbers_[static_cast<std::size_t>(roots_[i])];
    return count;
}

void TouchingSplitter::assign_pixels(const Grid &grid, const Runs &region) {
    const int pitch = grid.width + 2;
    const auto owners = [&](const Run &run) {
        return owner_map_.begin() + static_cast<std::ptrdiff_t>(run.y + 1) * pitch + 1;
    };
    region_.begin(region);
    assigned_.begin(region_);
    for (const Run &run : region) region_.set(run);
    for (const Run &run : shafts_) {
        if (run.number == 0) continue;
        std::fill(owners(run) + run.begin, owners(run) + run.end, run.number);
        assigned_.set(run);
    }
    int first = 0;
    int last = assigned_.height();
    while (first < last) {
        reached_.clear();
        assigned_.grow(region_, 8, first, last,
                       [&](int x, int y) { reached_.push_back({(y + 1) * pitch + x + 1, 0}); });
        assign_reached(pitch);
    }
    parts_.clear();
    for (const Run &run : region) {
        const auto row = owners(run);
        for (int x = run.begin; x < run.end;) {
            const std::int32_t number = row[x];
            int end = x + 1;
            while (end < run.end && row[end] == number) ++end;
            append(parts_,
                   {run.y, static_cast<std::int16_t>(x), static_cast<std::int16_t>(end), number});
            x = end;
        }
        std::fill(row + run.begin, row + run.end, 0);
    }
}

void TouchingSplitter::assign_reached(int pitch) {
    const std::int32_t steps[8] = {-pitch - 1, -pitch,    -pitch + 1, -1,
                                   1,          pitch - 1, pitch,      pitch + 1};
    for (Claim &claim : reached_) {
        for (const std::int32_t step : steps) {
            const std::int32_t number = owner_map_[static_cast<std::size_t>(claim.at + step)];
            if (number != 0 && (claim.number == 0 || number < claim.number)) claim.number = number;
        }
    }
    // Only when all are known: they are no neighbours of one another in this round.
    for (const Claim &claim : reached_)
        owner_map_[static_cast<std::size_t>(claim.at)] = claim.number;
}

void TouchingSplitter::part(std::size_t number, Runs &out) const {
    out.clear();
    for (Run run : parts_) {
        if (run.number != static_cast<std::int32_t>(number) + 1) continue;
        run.number = 0;
        append(out, run);
    }
}

}  // namespace trocar::detail
