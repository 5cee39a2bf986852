#include "region.hpp"

#include <algorithm>
#include <cstring>

namespace trocar::detail {

namespace {

/// The end of the pixels from `begin` on that have the label of the first.
int end_of_label(const std::uint8_t *row, int begin, int width) {
    const std::uint8_t label = row[begin];
    int end = begin + 1;
    // Most pixels of a frame have the label of their neighbour: eight equal ones at a time.
    const std::uint64_t same = label * std::uint64_t{0x0101010101010101};
    std::uint64_t word = 0;
    while (end + 8 <= width) {
        std::memcpy(&word, row + end, 8);
        if (word != same) break;
        end += 8;
    }
    while (end < width && row[end] == label) ++end;
    return end;
}

}  // namespace

bool Border::touches(const Run &run) const {
    if (run.y < width_ || run.y >= grid_.height - width_ || run.begin < width_ ||
        run.end > grid_.width - width_)
        return true;
    if (!has_view_) return false;
    const double yy = squared_height(run.y);
    return is_outside(run.begin, yy) || is_outside(run.end - 1, yy);
}

void Border::add_border(const Run &run, Runs &out) const {
    if (run.y < width_ || run.y >= grid_.height - width_) {
        append(out, run);
        return;
    }
    int left = std::clamp<int>(width_, run.begin, run.end);
    int right = std::clamp<int>(grid_.width - width_, run.begin, run.end);
    if (has_view_) {
        const double yy = squared_height(run.y);
        int inside = run.begin;
        while (inside < run.end && is_outside(inside, yy)) ++inside;
        left = std::max(left, inside);
        inside = run.end;
        while (inside > left && is_outside(inside - 1, yy)) --inside;
        right = std::min(right, inside);
    }
    right = std::max(left, right);
    const auto add = [&](int begin, int end) {
        if (begin < end)
            append(out, {run.y, static_cast<std::int16_t>(begin), static_cast<std::int16_t>(end),
                         run.number});
    };
    add(run.begin, left);
    add(right, run.end);
}

void take_part(const Grid &grid, const Runs &runs, const IsPart &is_part, Runs &out) {
    out.clear();
    for (const Run &run : runs) {
        const std::uint8_t *row = grid.row(run.y);
        for (int x = run.begin; x < run.end;) {
            const int end = end_of_label(row, x, run.end);
            if (is_part[row[x]])
                append(out, {run.y, static_cast<std::int16_t>(x), static_cast<std::int16_t>(end),
                             run.number});
            x = end;
        }
    }
}

void RegionFinder::prepare(int width, int height) {
    // A row of n pixels has at most n runs.
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    components_.reserve(count);
    runs_.reserve(count);
    roots_.reserve(count);
    sizes_.reserve(count);
    next_.reserve(count);
    order_.reserve(count);
    regions_.reserve(count / 2 + 1);
}

std::size_t RegionFinder::find(const Grid &grid, const GroupOf &group_of, std::int64_t min_pixels,
                               std::int64_t max_regions) {
    find_runs(grid, group_of);
    components_.find(runs_, roots_);
    sort_runs_by_region(min_pixels);
    if (max_regions > 0 && regions_.size() > static_cast<std::size_t>(max_regions))
        keep_largest(static_cast<std::size_t>(max_regions));
    return regions_.size();
}

void RegionFinder::find_runs(const Grid &grid, const GroupOf &group_of) {
    runs_.clear();
    for (int y = 0; y < grid.height; ++y) {
        const std::uint8_t *row = grid.row(y);
        for (int x = 0; x < grid.width;) {
            const int end = end_of_label(row, x, grid.width);
            const std::int16_t group = group_of[row[x]];
            if (group >= 0)
                append(runs_, {static_cast<std::int16_t>(y), static_cast<std::int16_t>(x),
                               static_cast<std::int16_t>(end), group});
            x = end;
        }
    }
}

void RegionFinder::sort_runs_by_region(std::int64_t min_pixels) {
    sizes_.assign(runs_.size(), 0);
    next_.assign(runs_.size(), 0);
    for (std::size_t i = 0; i < runs_.size(); ++i) {
        const auto root = static_cast<std::size_t>(roots_[i]);
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
        regions_.push_back({first, first + count, runs_[i].number, sizes_[i]});
        next_[i] = first;
        first += count;
    }
    order_.resize(static_cast<std::size_t>(first));
    for (std::size_t i = 0; i < runs_.size(); ++i) {
        const auto root = static_cast<std::size_t>(roots_[i]);
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

void RegionFinder::runs(std::size_t region, Runs &out) const {
    out.clear();
    const Region &span = regions_[region];
    for (std::int32_t i = span.first; i < span.last; ++i) {
        Run run = runs_[static_cast<std::size_t>(order_[static_cast<std::size_t>(i)])];
        run.number = 0;
        out.push_back(run);
    }
}

}  // namespace trocar::detail
