#include "region.hpp"

#include <algorithm>
#include <cstring>

namespace trocar::detail {

void RegionFinder::prepare(int width, int height) {
    // A row of n pixels has at most n runs.
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    sets_.reserve(count);
    runs_.reserve(count);
    sizes_.reserve(count);
    next_.reserve(count);
    order_.reserve(count);
    regions_.reserve(count / 2 + 1);
}

std::size_t RegionFinder::find(const Grid &grid, const GroupOf &group_of, std::int64_t min_pixels,
                               std::int64_t max_regions) {
    find_runs(grid, group_of);
    sort_runs_by_region(min_pixels);
    if (max_regions > 0 && regions_.size() > static_cast<std::size_t>(max_regions))
        keep_largest(static_cast<std::size_t>(max_regions));
    return regions_.size();
}

void RegionFinder::find_runs(const Grid &grid, const GroupOf &group_of) {
    runs_.clear();
    sets_.clear();
    std::size_t above = 0;
    for (int y = 0; y < grid.height; ++y) {
        const std::uint8_t *row = grid.labels + y * grid.stride;
        const std::size_t current = runs_.size();
        for (int x = 0; x < grid.width;) {
            const std::uint8_t label = row[x];
            const std::int16_t group = group_of[label];
            int end = x + 1;
            if (group < 0) {
                // Most pixels of a frame have one label: eight equal pixels at a time.
                std::uint64_t same = label * std::uint64_t{0x0101010101010101};
                std::uint64_t word = 0;
                while (end + 8 <= grid.width) {
                    std::memcpy(&word, row + end, 8);
                    if (word != same) break;
                    end += 8;
                }
                while (end < grid.width && row[end] == label) ++end;
            } else {
                while (end < grid.width && group_of[row[end]] == group) ++end;
                runs_.push_back({static_cast<std::int16_t>(y), static_cast<std::int16_t>(x),
                                 static_cast<std::int16_t>(end), group});
                sets_.add();
            }
            x = end;
        }
        join_rows(above, current);
        above = current;
    }
}

void RegionFinder::join_rows(std::size_t above, std::size_t current) {
    const std::size_t end = runs_.size();
    const auto join_if_touching = [this](std::size_t a, std::size_t b) {
        const Run &upper = runs_[a];
        const Run &lower = runs_[b];
        // Corners count, so runs touch even if one begins in the column where the other ends.
        if (upper.begin <= lower.end && lower.begin <= upper.end && upper.group == lower.group)
            sets_.join(static_cast<std::int32_t>(a), static_cast<std::int32_t>(b));
    };
    std::size_t a = above;
    std::size_t b = current;
    while (a < current && b < end) {
        join_if_touching(a, b);
        if (runs_[a].end < runs_[b].end) {
            ++a;
            continue;
        }
        // If both end in one column, each may touch the next run of the other at a corner.
        if (runs_[a].end == runs_[b].end && a + 1 < current) join_if_touching(a + 1, b);
        ++b;
    }
}

void RegionFinder::sort_runs_by_region(std::int64_t min_pixels) {
    const auto root_of = [this](std::size_t run) {
        return static_cast<std::size_t>(sets_.root(static_cast<std::int32_t>(run)));
    };
    sizes_.assign(runs_.size(), 0);
    next_.assign(runs_.size(), 0);
    for (std::size_t i = 0; i < runs_.size(); ++i) {
        const std::size_t root = root_of(i);
        sizes_[root] += runs_[i].end - runs_[i].begin;
        ++next_[root];
    }
    // Counting sort; next_ holds the number of runs of each root, then the index of the next one.
    // Regions are in order of their first run.
    regions_.clear();
    std::int32_t first = 0;
    for (std::size_t i = 0; i < runs_.size(); ++i) {
        if (next_[i] == 0) continue;
        const std::int32_t count = next_[i];
        if (sizes_[i] < min_pixels) {
            next_[i] = -1;
            continue;
        }
        regions_.push_back({first, first + count, runs_[i].group, sizes_[i]});
        next_[i] = first;
        first += count;
    }
    order_.resize(static_cast<std::size_t>(first));
    for (std::size_t i = 0; i < runs_.size(); ++i) {
        const std::size_t root = root_of(i);
        if (next_[root] >= 0)
            order_[static_cast<std::size_t>(next_[root]++)] = static_cast<std::int32_t>(i);
    }
}

void RegionFinder::keep_largest(std::size_t count) {
    // Regions are in order of their first run, and `first` grows in that order.
    std::sort(regions_.begin(), regions_.end(), [](const Region &a, const Region &b) {
        return a.pixels != b.pixels ? a.pixels > b.pixels : a.first < b.first;
    });
    regions_.resize(count);
}

void RegionFinder::pixels(std::size_t region, const Grid &grid, Pixels &out) const {
    out.clear();
    const Region &span = regions_[region];
    for (std::int32_t i = span.first; i < span.last; ++i) {
        const Run &run = runs_[static_cast<std::size_t>(order_[static_cast<std::size_t>(i)])];
        for (std::int16_t x = run.begin; x < run.end; ++x)
            out.push_back({run.y * grid.width + x, x, run.y});
    }
}

}  // namespace trocar::detail
