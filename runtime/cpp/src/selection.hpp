// What is no instrument is not one: nothing outside the view, no strips (sections 0 and 3b).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "moments.hpp"
#include "region.hpp"
#include "trocar/trocar.h"

namespace trocar::detail {

/// Writes a copy of the labels with 0 outside the field of view of `frame`; rows without gaps.
void clear_outside_view(const std::uint8_t *labels, std::ptrdiff_t stride, int width, int height,
                        const trocar_frame &frame, std::vector<std::uint8_t> &out);

/// Whether a region lies along the border of the frame or of its field of view, at most `most`
/// deep.
bool is_strip(const Grid &grid, const Runs &runs, const Moments &moments, double most,
              const trocar_frame &frame);

}  // namespace trocar::detail
