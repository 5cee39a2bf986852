// The tips of an instrument: one, or two if its jaws are open (section 6).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "geodesic.hpp"
#include "region.hpp"

namespace trocar::detail {

class TipFinder {
  public:
    void prepare(int width, int height);

    /// Finds 0, 1 or 2 tips, ordered by y, then x; returns their number.
    /// `candidates`: pixels that may be tips. `start`: where the region begins.
    /// `area`: of the region, in square frame pixels.
    int find(const Grid &grid, const Runs &candidates, Point start, double area,
             std::array<Point, 2> &tips);

  private:
    /// Lengths in frame pixels that decide what a jaw and what an end is.
    struct Lengths {
        double far;      // distance of the farthest candidate from the start
        double unit;     // longer side of a label pixel
        double width;    // mean width of the region
        double depth;    // of the zone in which circles are tried
        double min_jaw;  // of the shorter jaw
    };

    /// A run of candidates. From `begin` to `middle` the squared distance from the start falls,
    /// from there to `end` it rises: rounding keeps the order.
    struct Span {
        Run run;
        std::int16_t middle;
        double yy;       // squared height above the start
        double longest;  // largest squared distance
    };

    double square(int x, double yy) const {
        const double dx = grid_.x_of(x) - start_.x;
        return dx * dx + yy;
    }
    /// The span without pixels whose squared distance is below `least`: those before `first` and
    /// those from `second` on.
    void cut(const Span &span, double least, int &first, int &second) const;
    /// Leaves the pixels of `spans_` with a squared distance of at least `least` in `out`.
    void take_outside(double least, Runs &out) const;
    /// Largest squared distance of a run.
    double longest_of(const Run &run) const;

    /// Leaves the candidates in `spans_`; returns the largest squared distance.
    double measure_distances(const Runs &candidates);
    /// Leaves the jaws in `ends_` if a circle cuts the far end into two parts.
    bool find_open_jaws(const Lengths &lengths);
    /// The mean of the geodesic farthest candidates.
    Point geodesic_end(const Lengths &lengths);
    /// The mean of those pixels of a jaw that are at most `cap` nearer than its farthest.
    Point end_of_jaw(const Runs &jaw, double cap) const;
    Point mean_of(const PixelSums &sums) const;
    Span span_of(const Run &run) const;

    Grid grid_;
    Point start_;
    std::vector<Span> spans_;
    Runs outside_, zone_, seeds_;  // candidates outside a circle
    std::array<Runs, 2> ends_;     // the jaws
    RunComponents components_;
    std::vector<std::int32_t> roots_;
    std::vector<std::int64_t> sizes_;  // number of pixels, by root
    std::vector<double> longest_;      // largest squared distance, by root
    GeodesicSearch geodesic_;
};

}  // namespace trocar::detail
