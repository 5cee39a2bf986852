// What is no instrument is not one: nothing outside the view, no strips (sections 0 and 3b).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "region.hpp"
#include "trocar/trocar.h"

namespace trocar::detail {

/// Writes a copy of the labels with 0 outside the field of view of `frame`; rows without gaps.
void clear_outside_view(const std::uint8_t *labels, std::ptrdiff_t stride, int width, int height,
                        const trocar_frame &frame, std::vector<std::uint8_t> &out);

/// Whether a pixel lies deeper in the frame, and in its field of view, than `depth`.
bool is_deep(const Grid &grid, const Pixels &pixels, double depth, const trocar_frame &frame);

}  // namespace trocar::detail
