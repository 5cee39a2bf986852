// The 8-connected regions of a label map, of all groups in one pass over its rows (section 2).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "connected_components.hpp"

namespace trocar::detail {

/// A point in frame pixels.
struct Point {
    double x = 0;
    double y = 0;
};

/// A label map and the size of its pixels in the frame.
struct Grid {
    const std::uint8_t *labels = nullptr;
    std::ptrdiff_t stride = 0;
    int width = 0;
    int height = 0;
    double sx = 1;
    double sy = 1;

    std::uint8_t label(Pixel pixel) const { return labels[pixel.y * stride + pixel.x]; }
    double x_of(Pixel pixel) const { return (pixel.x + 0.5) * sx; }
    double y_of(Pixel pixel) const { return (pixel.y + 0.5) * sy; }
};

/// The mean of `n` pixels in the frame, from the sums of their columns and rows.
inline Point mean_point(const Grid &grid, std::int64_t n, std::int64_t x, std::int64_t y) {
    const auto count = static_cast<double>(n);
    return {(static_cast<double>(x) / count + 0.5) * grid.sx,
            (static_cast<double>(y) / count + 0.5) * grid.sy};
}

/// Group of each label value; -1 for values that are not an instrument.
using GroupOf = std::array<std::int16_t, 256>;

class RegionFinder {
  public:
    void prepare(int width, int height);
    /// Finds all regions of at least `min_pixels` pixels, the `max_regions` largest ones if there
    /// are more and it is not 0; returns their number.
    std::size_t find(const Grid &grid, const GroupOf &group_of, std::int64_t min_pixels,
                     std::int64_t max_regions);
    /// Group of a region.
    int group(std::size_t region) const { return regions_[region].group; }
    /// Pixels of a region.
    void pixels(std::size_t region, const Grid &grid, Pixels &out) const;

  private:
    struct Run {
        std::int16_t y, begin, end, group;
    };
    struct Region {
        std::int32_t first;  // index into order_
        std::int32_t last;
        int group;
        std::int64_t pixels;
    };

    void find_runs(const Grid &grid, const GroupOf &group_of);
    /// Joins the runs of two rows; they begin at `above` and at `current`.
    void join_rows(std::size_t above, std::size_t current);
    void sort_runs_by_region(std::int64_t min_pixels);
    void keep_largest(std::size_t count);

    DisjointSets sets_;
    std::vector<Run> runs_;
    std::vector<std::int64_t> sizes_;  // pixels of the region, by root
    std::vector<std::int32_t> next_;   // index in order_ of a root's next run, -1: too small
    std::vector<std::int32_t> order_;  // indices of runs, region by region
    std::vector<Region> regions_;
};

}  // namespace trocar::detail
