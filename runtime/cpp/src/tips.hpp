// The tips of an instrument: one, or two if its jaws are open (section 6).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "connected_components.hpp"
#include "geodesic.hpp"
#include "region.hpp"

namespace trocar::detail {

class TipFinder {
  public:
    void prepare(int width, int height);

    /// Finds 0, 1 or 2 tips, ordered by y, then x; returns their number.
    /// `candidates`: pixels that may be tips; those far from the farthest one are removed.
    /// `start`: where the region begins. `area`: of the region, in square frame pixels.
    int find(const Grid &grid, Pixels &candidates, Point start, double area,
             ConnectedComponents &components, std::array<Point, 2> &tips);

  private:
    /// Lengths in frame pixels that decide what a jaw and what an end is.
    struct Lengths {
        double far;      // distance of the farthest candidate from the start
        double unit;     // longer side of a label pixel
        double width;    // mean width of the region
        double depth;    // of the zone in which circles are tried
        double min_jaw;  // of the shorter jaw
    };

    /// Squared distances of all candidates from the start; returns the largest.
    double measure_distances(const Grid &grid, const Pixels &candidates, Point start);
    /// Removes the candidates that are nearer than the square root of `min_square`.
    void keep_far_end(Pixels &candidates, double min_square);
    /// Leaves the jaws in `ends_` if a circle cuts the far end into two parts.
    bool find_open_jaws(const Pixels &candidates, const Lengths &lengths,
                        ConnectedComponents &components);
    /// Leaves the candidates outside a circle in `outside_` and their components in `roots_`.
    void cut_with_circle(const Pixels &candidates, double radius, ConnectedComponents &components);
    /// Leaves the geodesic farthest candidates in `ends_[0]`.
    void find_geodesic_end(const Grid &grid, const Pixels &candidates, const Lengths &lengths);
    /// Removes the members that are more than `cap` nearer than the farthest of them.
    void keep_end_of_jaw(std::vector<std::int32_t> &members, double cap) const;

    std::vector<double> squares_;        // squared distance from the start of each candidate
    std::vector<std::int32_t> ends_[2];  // indices of the candidates at each end

    // Of the candidates outside a circle:
    Pixels outside_;
    std::vector<std::int32_t> indices_;  // in the candidates
    std::vector<std::int32_t> roots_;
    std::vector<std::int32_t> sizes_;     // number of pixels, by root
    std::vector<double> largest_square_;  // by root

    GeodesicSearch geodesic_;
    std::vector<char> is_seed_;
};

}  // namespace trocar::detail
