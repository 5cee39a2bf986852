// The geodesic farthest pixels: those that a search inside a set of pixels reaches last (section
// 6).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bit_grid.hpp"
#include "region.hpp"

namespace trocar::detail {

/// A set of pixels by its sums.
struct PixelSums {
    std::int64_t n = 0, x = 0, y = 0;

    void add(int at_x, int at_y) {
        ++n;
        x += at_x;
        y += at_y;
    }
    void add(const Run &run) {
        const std::int64_t length = run.end - run.begin;
        n += length;
        x += (run.begin + run.end - 1) * length / 2;
        y += run.y * length;
    }
};

class GeodesicSearch {
  public:
    void prepare(int width, int height);

    /// The pixels of `zone` that the last rounds of the search reach, which starts at `seeds`.
    PixelSums farthest(const Runs &zone, const Runs &seeds);

  private:
    /// Runs all rounds; returns the last one that reached a pixel, 0 for none.
    std::int32_t search();

    BitGrid zone_, reached_;
    struct Place {
        std::int16_t x, y;
    };
    std::vector<Place> places_;       // pixels in the order in which they were reached
    std::vector<std::int32_t> ends_;  // number of pixels that were reached, by round
};

}  // namespace trocar::detail
