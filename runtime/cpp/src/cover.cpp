#include "cover.hpp"

#include <algorithm>
#include <cstring>

#include "frame.hpp"
#include "resize.hpp"

namespace trocar::detail {

namespace {

constexpr int grid = 12;     // cells along the longer side: all that is left are their means
constexpr int smallest = 8;  // pixels along the side of a cell, at least

int cells(int side, int longer) {
    return std::max(1, std::min(grid * side / longer, side / smallest));
}

int channels_of(std::int32_t format) {
    switch (format) {
        case TROCAR_RGB:
        case TROCAR_BGR:
            return 3;
        case TROCAR_RGBA:
        case TROCAR_BGRA:
            return 4;
        default:
            return 1;
    }
}

void fill(const WritablePixels &plane, std::uint8_t value) {
    const std::size_t bytes =
        static_cast<std::size_t>(plane.width) * static_cast<std::size_t>(plane.channels);
    for (int y = 0; y < plane.height; ++y) std::memset(plane.data + plane.stride * y, value, bytes);
}

void blur(const WritablePixels &plane, int wide, int high) {
    thread_local ResizeMemory memory;
    memory.cells.resize(static_cast<std::size_t>(wide * high * plane.channels));
    const std::ptrdiff_t row = std::ptrdiff_t{wide} * plane.channels;
    const WritablePixels means{memory.cells.data(), wide, high, plane.channels, row};
    resize_area({plane.data, plane.width, plane.height, plane.channels, plane.stride}, means,
                memory);
    resize_linear({means.data, wide, high, plane.channels, row}, plane, memory);
}

/// A shape may stand in the transparency too.
void make_opaque(const WritablePixels &plane) {
    for (int y = 0; y < plane.height; ++y) {
        std::uint8_t *row = plane.data + plane.stride * y;
        for (int x = 0; x < plane.width; ++x) row[4 * x + 3] = 255;
    }
}

}  // namespace

void cover(const trocar_frame &frame, std::int32_t privacy) {
    if (privacy == TROCAR_PRIVACY_OFF) return;
    // The interface says that they are written.
    const int channels = channels_of(frame.format);
    const std::ptrdiff_t stride =
        frame.stride == 0 ? std::ptrdiff_t{channels} * frame.width : frame.stride;
    const WritablePixels plane{const_cast<std::uint8_t *>(frame.data), frame.width, frame.height,
                               channels, stride};
    const int longer = std::max(frame.width, frame.height);
    const int wide = cells(frame.width, longer);
    const int high = cells(frame.height, longer);
    const bool blurs = privacy == TROCAR_PRIVACY_BLUR;
    const bool is_limited = frame.yuv == TROCAR_BT709_LIMITED ||
                            frame.yuv == TROCAR_BT601_LIMITED || frame.yuv == TROCAR_BT2020_LIMITED;
    const bool is_nv12 = frame.format == TROCAR_NV12;
    if (blurs)
        blur(plane, wide, high);
    else
        fill(plane, is_nv12 && is_limited ? 16 : 0);
    if (channels == 4) make_opaque(plane);
    if (!is_nv12) return;
    const Plane chroma = chroma_of(frame);
    const WritablePixels colour{const_cast<std::uint8_t *>(chroma.data),
                                static_cast<int>(chroma.row / 2), static_cast<int>(chroma.rows), 2,
                                chroma.stride};
    if (blurs)
        blur(colour, std::min(wide, colour.width), std::min(high, colour.height));
    else
        fill(colour, 128);
}

}  // namespace trocar::detail
