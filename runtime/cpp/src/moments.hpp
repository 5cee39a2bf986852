// Moments of a set of pixels: exact integers, and the principal axis (section 4).
#pragma once

#include <cstdint>

#include "region.hpp"

namespace trocar::detail {

/// Raw moments and bounding box of a set of pixels.
struct Moments {
    std::int64_t n = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    int left = 0, right = 0, top = 0, bottom = 0;  // half open
};

/// `runs` must not be empty.
Moments moments_of(const Runs &runs);

/// Moments of two sets of pixels together.
Moments sum_of(const Moments &a, const Moments &b);

struct PrincipalAxis {
    Point direction;        // unit vector of the larger variance, to the right or down
    double variance_ratio;  // smaller to larger, 0..1
    double larger;          // variance
    double xx, yy, xy;      // variances and covariance
};

PrincipalAxis principal_axis(const Grid &grid, const Moments &moments);

/// Length of a bar with this larger variance, in frame pixels (section 3a).
double length_of(const Grid &grid, const PrincipalAxis &axis);

}  // namespace trocar::detail
