// The mean confidence of an instrument's pixels (section 4).
#pragma once

#include <cstdint>

#include "runs.hpp"

namespace trocar::detail {

/// Confidence in the graph's type, tightly packed: one pointer is set, or none.
struct Confidence {
    const std::uint16_t *half = nullptr;
    const float *single = nullptr;
    const std::uint8_t *byte = nullptr;
};

/// Mean confidence of the pixels of a map `width` wide, 0..1; 1 without a confidence map.
double mean_confidence(const Confidence &confidence, const Runs &runs, int width);

}  // namespace trocar::detail
