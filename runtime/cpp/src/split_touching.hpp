// Splits a region of touching instruments if a part mask shows their shafts (section 3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bit_grid.hpp"
#include "region.hpp"

namespace trocar::detail {

class TouchingSplitter {
  public:
    void prepare(int width, int height);

    /// Splits a region; returns the number of parts, or 0 or 1 if the region is not split.
    /// `min_pixels`: smallest shaft.
    std::size_t split(const Grid &grid, const Runs &region, const Border &border,
                      const IsPart &is_shaft, std::int64_t min_pixels);

    /// Leaves the runs of part `number`, from 0, of the region that was split last in `out`.
    void part(std::size_t number, Runs &out) const;

  private:
    /// Sets the number of each entering shaft, from 1, in `shafts_`, 0 for others; returns the
    /// number of entering shafts.
    std::int32_t number_entering_shafts(const Border &border, std::int64_t min_pixels);
    /// Leaves the region in `parts_`: its runs have the number of the shaft that gets them.
    void assign_pixels(const Grid &grid, const Runs &region);
    /// Gives each pixel that a round reached the smallest number among its neighbours.
    void assign_reached(int pitch);

    struct Claim {
        std::int32_t at;  // index in owner_map_
        std::int32_t number;
    };

    RunComponents components_;
    Runs shafts_;
    std::vector<std::int32_t> roots_, numbers_;
    std::vector<std::int64_t> sizes_;
    // Of every pixel of the map, with one more on each side: the number of its shaft, 0 for none.
    std::vector<std::int32_t> owner_map_;
    BitGrid region_, assigned_;
    std::vector<Claim> reached_;
    Runs parts_;
};

}  // namespace trocar::detail
