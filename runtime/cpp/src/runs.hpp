// Runs along the rows of a label map: sets of pixels, and their 8-connected components. Memory is
// allocated once and reused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace trocar::detail {

/// The pixels `begin` to `end` - 1 of a row, of a label map of at most 8192 x 8192.
struct Run {
    std::int16_t y, begin, end;
    std::int32_t number;  // which set it belongs to: a group, a fragment or a part
};

using Runs = std::vector<Run>;  // always in raster order: by row, then by column

/// Adds a run at the end; it extends the last one where it continues it.
void append(Runs &runs, const Run &run);

std::int64_t count_pixels(const Runs &runs);

/// Disjoint sets (union-find); the root of a set is its smallest index.
class DisjointSets {
  public:
    void clear() { parents_.clear(); }
    void reserve(std::size_t count) { parents_.reserve(count); }
    std::int32_t add() {
        parents_.push_back(static_cast<std::int32_t>(parents_.size()));
        return parents_.back();
    }
    std::int32_t root(std::int32_t index) {
        while (parents_[index] != index) {
            parents_[index] = parents_[parents_[index]];
            index = parents_[index];
        }
        return index;
    }
    void join(std::int32_t a, std::int32_t b) {
        a = root(a);
        b = root(b);
        if (a < b)
            parents_[b] = a;
        else
            parents_[a] = b;
    }

  private:
    std::vector<std::int32_t> parents_;
};

/// Labels the connected components of runs; runs of different numbers do not connect.
class RunComponents {
  public:
    void reserve(std::size_t count) { sets_.reserve(count); }
    /// Sets `roots[i]` to the index of the first run of run i's component.
    void find(const Runs &runs, std::vector<std::int32_t> &roots);

  private:
    /// Joins the runs `above` to `current` - 1 of a row with those of the next, up to `end` - 1.
    void join_rows(const Runs &runs, std::size_t above, std::size_t current, std::size_t end);

    DisjointSets sets_;
};

}  // namespace trocar::detail
