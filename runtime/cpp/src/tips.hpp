// Where an instrument ends: one tip, or two when its jaws stand open (section 6).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "clusters.hpp"
#include "regions.hpp"

namespace trocar::detail {

struct Point {
    double x = 0;
    double y = 0;
};

class TipFinder {
  public:
    void prepare(int width, int height);

    /// Candidates for tips, to be filled before `find`; their order is raster order.
    Pixels candidates;

    /// Gives 0, 1 or 2 tips, ordered by y, then x.
    int find(const Grid &grid, Point start, double area, Clusters &clusters,
             std::array<Point, 2> &tips);

  private:
    bool find_jaws(double far, double depth, double least, Clusters &clusters);
    Point end_of(const Grid &grid, const std::vector<std::int32_t> &members) const;

    std::vector<double> squares_;  // distance from the start, squared, of each candidate
    Pixels cut_off_;
    std::vector<std::int32_t> indices_, roots_, sizes_, jaws_[2];
    std::vector<double> largest_;
};

}  // namespace trocar::detail
