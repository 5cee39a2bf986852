// The 8-connected regions of a label map, of all groups in one pass over its rows (section 2).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "runs.hpp"

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

    const std::uint8_t *row(int y) const { return labels + y * stride; }
    double x_of(int x) const { return (x + 0.5) * sx; }
    double y_of(int y) const { return (y + 0.5) * sy; }
};

/// The mean of `n` pixels in the frame, from the sums of their columns and rows.
inline Point mean_point(const Grid &grid, std::int64_t n, std::int64_t x, std::int64_t y) {
    const auto count = static_cast<double>(n);
    return {(static_cast<double>(x) / count + 0.5) * grid.sx,
            (static_cast<double>(y) / count + 0.5) * grid.sy};
}

/// The border of the frame and of the field of view (section 2).
///
/// In exact arithmetic the pixels of a row that are inside the view are one run, and rounding keeps
/// the order of the distances: so what is outside of a run is its beginning and its end.
class Border {
  public:
    Border() = default;
    /// The border of the frame alone, `width` label pixels wide.
    Border(const Grid &grid, int width) : grid_(grid), width_(width) {}
    /// That of a view too: pixels as far from its centre as this.
    void add_view(Point centre, double square) {
        centre_ = centre;
        square_ = square;
        has_view_ = true;
    }
    /// Whether a pixel of the run is on the border.
    bool touches(const Run &run) const;
    /// Adds the pixels of a run that are on the border to `out`.
    void add_border(const Run &run, Runs &out) const;

  private:
    bool is_outside(int x, double yy) const {
        const double dx = grid_.x_of(x) - centre_.x;
        return dx * dx + yy >= square_;
    }
    double squared_height(int y) const {
        const double dy = grid_.y_of(y) - centre_.y;
        return dy * dy;
    }

    Grid grid_;
    int width_ = 0;
    Point centre_;
    double square_ = 0;
    bool has_view_ = false;
};

/// Whether a label value is of a part.
using IsPart = std::array<bool, 256>;

/// Leaves in `out` those pixels of the runs whose label is of a part.
void take_part(const Grid &grid, const Runs &runs, const IsPart &is_part, Runs &out);

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
    /// Leaves the runs of a region in `out`; their number is 0.
    void runs(std::size_t region, Runs &out) const;

  private:
    struct Region {
        std::int32_t first;  // index into order_
        std::int32_t last;
        int group;
        std::int64_t pixels;
    };

    void find_runs(const Grid &grid, const GroupOf &group_of);
    void sort_runs_by_region(std::int64_t min_pixels);
    void keep_largest(std::size_t count);

    RunComponents components_;
    Runs runs_;                        // their number is their group
    std::vector<std::int32_t> roots_;  // of runs_
    std::vector<std::int64_t> sizes_;  // pixels of the region, by root
    std::vector<std::int32_t> next_;   // index in order_ of a root's next run, -1: too small
    std::vector<std::int32_t> order_;  // indices of runs, region by region
    std::vector<Region> regions_;
};

}  // namespace trocar::detail
