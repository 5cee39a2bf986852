// Takes touching instruments apart where their shafts are known (section 3).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "clusters.hpp"
#include "regions.hpp"

namespace trocar::detail {

/// Which label values are of a part.
using IsPart = std::array<bool, 256>;

class Separator {
  public:
    void prepare(int width, int height);

    /// Counts the shafts that enter: 0 or 1 where the region stays whole.
    /// `on_border` says of each pixel of the region whether it lies on the border.
    std::size_t find(const Grid &grid, const Pixels &region, const std::vector<char> &on_border,
                     const IsPart &shaft, std::int64_t least, Clusters &clusters);

    /// Pixels of piece `number`, from 0.
    void piece(std::size_t number, const Pixels &region, Pixels &out) const;

  private:
    void grow(const Grid &grid, const Pixels &region);

    Pixels shafts_;
    std::vector<char> shaft_border_;
    std::vector<std::int32_t> roots_, sizes_, numbers_;
    std::vector<std::int32_t> owner_;  // of every pixel of the map: see grow()
    std::vector<std::int32_t> owned_;  // of every pixel of the region: 1, 2, …
    std::vector<Pixel> front_, next_;
};

}  // namespace trocar::detail
