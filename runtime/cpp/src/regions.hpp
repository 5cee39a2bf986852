// The 8-connected regions of a whole label map, all groups of classes in one pass over its rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "clusters.hpp"

namespace trocar::detail {

/// A label map and what its pixels measure in the frame.
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

/// Group of each label value; -1 for what is no instrument.
using GroupOf = std::array<std::int16_t, 256>;

class Regions {
  public:
    void prepare(int width, int height);
    /// Finds all regions of at least `least` pixels; returns how many.
    std::size_t find(const Grid &grid, const GroupOf &group_of, std::int64_t least);
    /// Group of a region.
    int group(std::size_t region) const { return kept_[region].group; }
    /// Pixels of a region.
    void pixels(std::size_t region, const Grid &grid, Pixels &out) const;

  private:
    struct Run {
        std::int16_t y, begin, end, group;
    };
    struct Kept {
        std::int32_t first;  // index into order_
        std::int32_t last;
        int group;
    };

    void join_rows(std::size_t above, std::size_t own);

    Forest forest_;
    std::vector<Run> runs_;
    std::vector<std::int64_t> sizes_;   // pixels of the region, by root
    std::vector<std::int32_t> places_;  // where the next run of a root goes, -1: too small
    std::vector<std::int32_t> order_;   // runs of the kept regions, region by region
    std::vector<Kept> kept_;
};

}  // namespace trocar::detail
