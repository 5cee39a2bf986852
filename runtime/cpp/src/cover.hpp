// Covers frames so that nobody and nothing in them can be recognised, as runtime/privacy/cover.py.
#pragma once

#include <cstdint>

#include "trocar/trocar.h"

namespace trocar::detail {

/// Blurs or blacks the caller's pixels. Whatever `privacy` is, but OFF and BLUR, is black. The
/// frame was checked.
void cover(const trocar_frame &frame, std::int32_t privacy);

}  // namespace trocar::detail
