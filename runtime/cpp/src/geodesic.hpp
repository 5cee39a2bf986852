// The geodesic farthest pixels: those that a search inside a set of pixels reaches last (section
// 6).
#pragma once

#include <cstdint>
#include <vector>

#include "region.hpp"

namespace trocar::detail {

class GeodesicSearch {
  public:
    void prepare(int width, int height);

    /// Leaves in `members`, indices of `pixels`, those that the last rounds of the search reach.
    /// The search starts at the members whose `is_seed`, at the same position, is not 0.
    void keep_farthest(const Grid &grid, const Pixels &pixels, const std::vector<char> &is_seed,
                       std::vector<std::int32_t> &members);

  private:
    /// Runs all rounds; returns the last one that reached a pixel, 0 for none.
    std::int32_t search(const Grid &grid);
    /// Leaves in `reached_` what round `round` reaches through `neighbours` (8 or 4) neighbours.
    void run_round(const Grid &grid, int neighbours, std::int32_t round);

    std::vector<std::int32_t> round_of_;  // of every pixel of the map; else one of the two below
    std::vector<Pixel> front_, older_, reached_;
};

}  // namespace trocar::detail
