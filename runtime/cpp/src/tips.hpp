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
    /// Leaves the candidates that a walk through the far end reaches last in `jaws_[0]`.
    void walk(const Grid &grid, double far, double reach, double unit);
    /// Gives the claims of one round; neighbours: 8 or 4.
    void step(const Grid &grid, int neighbours, std::int32_t round);
    /// Leaves in `members` those that are at most `cap` nearer than the farthest of them.
    void keep_end(std::vector<std::int32_t> &members, double cap) const;
    Point mean_of_members(const Grid &grid, const std::vector<std::int32_t> &members) const;

    std::vector<double> squares_;  // distance from the start, squared, of each candidate
    Pixels cut_off_;
    std::vector<std::int32_t> indices_, roots_, sizes_, jaws_[2];
    std::vector<double> largest_;
    std::vector<std::int32_t> rounds_;  // of every pixel of the map: see walk()
    std::vector<Pixel> front_, older_, claimed_;
};

}  // namespace trocar::detail
