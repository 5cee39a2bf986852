// Results in the caller's memory. The caller may have been built with an older version of the
// structs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "backend.hpp"
#include "frame.hpp"
#include "trocar/trocar.h"

namespace trocar::detail {

/// Element i of an array whose elements are `array->size` bytes apart.
template <class Struct>
Struct *element(Struct *array, std::size_t i) {
    using Byte = std::conditional_t<std::is_const_v<Struct>, const char, char>;
    return i == 0 ? array
                  : reinterpret_cast<Struct *>(reinterpret_cast<Byte *>(array) + i * array->size);
}

/// Throws Error with TROCAR_ERROR_ARGUMENT.
void check_result(const trocar_result *result);

/// The caller's struct in this library's version, with its outputs cleared.
trocar_result result_from(const trocar_result *given);

/// Sets what a frame counts as, where the caller's version of the struct has it.
void give_body(trocar_result *given, trocar_body body);

/// What a frame counts as; not judged where the caller's version of the struct has no such member.
std::int32_t body_of(const trocar_result *given);

/// Makes a filled result one that shows nothing: no label, no instrument.
void show_nothing(trocar_result *given);

/// Copies the members that the caller's version of the struct has.
void give_back(const trocar_result &result, trocar_result *given);

void give_instruments(const std::vector<trocar_instrument> &instruments, trocar_result &result);

/// Copies one frame's labels, enlarged to the frame's size if the result requests it; always sets
/// its label sizes. Throws if the buffer is too small.
void give_labels(const Tensor &labels, std::size_t index, const trocar_frame &frame,
                 trocar_result &result);

/// Copies a map of the labels' size, `width` times `height` bytes, to the caller's instrument map,
/// enlarged to the frame's size if the result requests it. Throws if the buffer is too small.
void give_instrument_map(const std::uint8_t *map, int width, int height, const trocar_frame &frame,
                         trocar_result &result);

/// The mask of one instrument of a result. Throws Error with TROCAR_ERROR_ARGUMENT.
void give_mask(const trocar_result *given, std::uint32_t index, std::uint8_t *mask,
               std::size_t bytes);

/// Copies one frame's part of an output as floats; does nothing if `out` is NULL.
void copy_floats(const Tensor &tensor, std::size_t index, float *out, std::size_t capacity,
                 const char *name);

}  // namespace trocar::detail
