// Pictures enlarged and reduced as OpenCV does it on 8 bits, equal to the last bit: Python and C
// show a classifier the same picture, and cover a frame in the same way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace trocar::detail {

/// Interleaved bytes in rows that are `stride` bytes apart.
template <class Byte>
struct Raster {
    Byte *data = nullptr;
    int width = 0;
    int height = 0;
    int channels = 0;
    std::ptrdiff_t stride = 0;
};

using Pixels = Raster<const std::uint8_t>;
using WritablePixels = Raster<std::uint8_t>;

/// Memory of a resize, kept from call to call.
struct ResizeMemory {
    std::vector<int> first, second, weights;
    std::vector<int> above, below;
    std::vector<float> row, sum;
    std::vector<std::uint32_t> whole;
    std::vector<std::uint8_t> cells;
};

/// cv2.resize with INTER_LINEAR; both have the same number of channels.
void resize_linear(const Pixels &from, const WritablePixels &to, ResizeMemory &memory);

/// cv2.resize with INTER_AREA to a size that is not larger on either side, nor half of it on both.
void resize_area(const Pixels &from, const WritablePixels &to, ResizeMemory &memory);

}  // namespace trocar::detail
