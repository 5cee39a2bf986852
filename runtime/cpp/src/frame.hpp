// Converts the caller's frames into tightly packed RGB.
#pragma once

#include <cstdint>
#include <vector>

#include "trocar/trocar.h"

namespace trocar::detail {

inline constexpr int max_frame_side = 32768;

/// The caller's struct, which may be of an older version, in this library's version.
trocar_frame frame_from(const trocar_frame *given);

/// Throws Error with TROCAR_ERROR_ARGUMENT for a size or a view that no frame has.
void check_size_and_view(const trocar_frame &frame);

/// Throws Error with TROCAR_ERROR_ARGUMENT for a frame that cannot be read.
void check_frame(const trocar_frame &frame);

/// Whether the frame is tightly packed RGB, which the model takes without a copy.
bool is_packed_rgb(const trocar_frame &frame);

/// Copies a checked frame's pixels into `bytes`, which grows but never shrinks, and returns the
/// frame of the copy: tightly packed, top row first.
trocar_frame packed_copy(const trocar_frame &frame, std::vector<std::uint8_t> &bytes);

/// Writes height * width * 3 bytes.
void write_rgb(const trocar_frame &frame, std::uint8_t *out);

/// The planes of an NV12 frame, and how far their rows lie apart.
struct Plane {
    const std::uint8_t *data;
    std::ptrdiff_t stride;
    std::ptrdiff_t row;   // bytes of a row without padding
    std::ptrdiff_t rows;  // how many

    bool is_packed() const { return stride == row; }
    std::size_t bytes() const { return static_cast<std::size_t>(row * rows); }
    /// Writes the rows without padding, `bytes()` bytes.
    void write(std::uint8_t *out) const;
};
Plane luma_of(const trocar_frame &frame);
Plane chroma_of(const trocar_frame &frame);

/// Writes the 3 * 4 numbers that make RGB 0..255 of (Y, U, V, 1), as contract/media/nv12.py does.
void write_colour(std::int32_t yuv, float *out);

}  // namespace trocar::detail
