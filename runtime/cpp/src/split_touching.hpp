// Splits a region of touching instruments if a part mask shows their shafts (section 3).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "connected_components.hpp"
#include "region.hpp"

namespace trocar::detail {

/// Whether a label value is of a part.
using IsPart = std::array<bool, 256>;

class TouchingSplitter {
  public:
    void prepare(int width, int height);

    /// Splits a region; returns the number of parts, or 0 or 1 if the region is not split.
    /// `on_border[i]`: whether pixel i of the region lies on the border.
    /// `min_pixels`: smallest shaft.
    std::size_t split(const Grid &grid, const Pixels &region, const std::vector<char> &on_border,
                      const IsPart &is_shaft, std::int64_t min_pixels,
                      ConnectedComponents &components);

    /// Pixels of part `number`, from 0, of the region that was split last.
    void part(std::size_t number, const Pixels &region, Pixels &out) const;

  private:
    /// Leaves the shaft's number, from 1, of each entering shaft in `numbers_`, by root.
    std::int32_t number_entering_shafts(std::int64_t min_pixels);
    /// Leaves the number of the shaft that gets each pixel of the region in `owners_`.
    void assign_pixels(const Grid &grid, const Pixels &region);
    /// One round: assigns the unassigned neighbours of `front_` and leaves them in `next_`.
    void assign_neighbours(const Grid &grid);

    Pixels shafts_;
    std::vector<char> shaft_on_border_;
    std::vector<std::int32_t> roots_, sizes_, numbers_;
    std::vector<std::int32_t> owner_map_;  // of every pixel of the map: see assign_pixels()
    std::vector<std::int32_t> owners_;     // of every pixel of the region: 1, 2, …
    std::vector<Pixel> front_, next_;
};

}  // namespace trocar::detail
