#include "regions.hpp"

#include <cstring>

namespace trocar::detail {

void Regions::prepare(int width, int height) {
    // A row of n pixels holds n runs at most.
    const auto most = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    forest_.reserve(most);
    runs_.reserve(most);
    sizes_.reserve(most);
    places_.reserve(most);
    order_.reserve(most);
    kept_.reserve(most / 2 + 1);
}

std::size_t Regions::find(const Grid &grid, const GroupOf &group_of, std::int64_t least) {
    runs_.clear();
    forest_.clear();
    std::size_t above = 0;
    for (int y = 0; y < grid.height; ++y) {
        const std::uint8_t *row = grid.labels + y * grid.stride;
        const std::size_t own = runs_.size();
        for (int x = 0; x < grid.width;) {
            const std::uint8_t label = row[x];
            const std::int16_t group = group_of[label];
            int end = x + 1;
            if (group < 0) {
                // Most of a picture is one label: eight equal pixels at a time.
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
                forest_.add();
            }
            x = end;
        }
        join_rows(above, own);
        above = own;
    }
    sizes_.assign(runs_.size(), 0);
    for (std::size_t i = 0; i < runs_.size(); ++i)
        sizes_[static_cast<std::size_t>(forest_.root(static_cast<std::int32_t>(i)))] +=
            runs_[i].end - runs_[i].begin;
    // Counting sort of the runs by region; regions come in order of their first run.
    places_.assign(runs_.size(), 0);
    for (std::size_t i = 0; i < runs_.size(); ++i)
        ++places_[static_cast<std::size_t>(forest_.root(static_cast<std::int32_t>(i)))];
    kept_.clear();
    std::int32_t next = 0;
    for (std::size_t i = 0; i < runs_.size(); ++i) {
        if (places_[i] == 0) continue;
        const std::int32_t count = places_[i];
        if (sizes_[i] < least) {
            places_[i] = -1;
            continue;
        }
        kept_.push_back({next, next + count, runs_[i].group});
        places_[i] = next;
        next += count;
    }
    order_.resize(static_cast<std::size_t>(next));
    for (std::size_t i = 0; i < runs_.size(); ++i) {
        const auto root = static_cast<std::size_t>(forest_.root(static_cast<std::int32_t>(i)));
        if (places_[root] >= 0)
            order_[static_cast<std::size_t>(places_[root]++)] = static_cast<std::int32_t>(i);
    }
    return kept_.size();
}

void Regions::join_rows(std::size_t above, std::size_t own) {
    const std::size_t end = runs_.size();
    const auto join_if_touching = [this](std::size_t a, std::size_t b) {
        const Run &upper = runs_[a];
        const Run &lower = runs_[b];
        // Corners count, so it is enough that one begins where the other ends.
        if (upper.begin <= lower.end && lower.begin <= upper.end && upper.group == lower.group)
            forest_.join(static_cast<std::int32_t>(a), static_cast<std::int32_t>(b));
    };
    std::size_t a = above;
    std::size_t b = own;
    while (a < own && b < end) {
        join_if_touching(a, b);
        if (runs_[a].end < runs_[b].end) {
            ++a;
            continue;
        }
        // With equal ends each may touch the other's successor at a corner.
        if (runs_[a].end == runs_[b].end && a + 1 < own) join_if_touching(a + 1, b);
        ++b;
    }
}

void Regions::pixels(std::size_t region, const Grid &grid, Pixels &out) const {
    out.clear();
    const Kept &kept = kept_[region];
    for (std::int32_t i = kept.first; i < kept.last; ++i) {
        const Run &run = runs_[static_cast<std::size_t>(order_[static_cast<std::size_t>(i)])];
        for (std::int16_t x = run.begin; x < run.end; ++x)
            out.push_back({run.y * grid.width + x, x, run.y});
    }
}

}  // namespace trocar::detail
