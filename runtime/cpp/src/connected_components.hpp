// 8-connected components of a list of pixels. Memory is allocated once and reused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace trocar::detail {

/// A pixel of a label map of at most 8192 x 8192.
struct Pixel {
    std::int32_t at;  // y * width + x
    std::int16_t x;
    std::int16_t y;
};

using Pixels = std::vector<Pixel>;  // always in raster order: by row, then by column

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

/// Labels the connected components of a list of pixels.
class ConnectedComponents {
  public:
    void prepare(int width, int height);
    /// Sets `roots[i]` to the index of the first pixel of pixel i's component.
    void find(const Pixels &pixels, std::vector<std::int32_t> &roots);

  private:
    DisjointSets sets_;
    std::vector<std::int32_t> canvas_;  // index of the pixel at each place, -1 for none
    int width_ = 0;
};

}  // namespace trocar::detail
