// Emulates matrix products on tensor cores: the lanes of a warp exchange their fragments.
//
// Which element belongs to which lane follows the PTX ISA. tensor.cuh maps lanes to elements; this
// file maps elements to lanes, so that an error in a kernel's mapping gives a wrong result.
#pragma once

#include "run.h"

namespace host {

// Ties go away from zero, as cvt.rna does; infinities and NaN stay.
inline float rounded_to_tf32(float value) {
  const unsigned bits = bits_of(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return float_of((bits + 0x1000u) & ~0x1fffu);
}

// An operand as the device reads it: the low 13 bits are ignored.
inline double tf32(float value) { return float_of(bits_of(value) & ~0x1fffu); }

inline void multiply_add_tf32(float (&sums)[4], const float (&left)[4], const float (&right)[2]) {
  const unsigned thread = thread_index(), lane = thread % kWarp;
  Fragment* warp = block().fragments.data() + (thread - lane);
  std::copy(left, left + 4, warp[lane].left);
  std::copy(right, right + 2, warp[lane].right);
  warp_barrier();
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
    // Products are exact in double. The device adds in float32, in an undocumented order.
    double total = sums[i];
    for (unsigned depth = 0; depth < 8; ++depth) {
      const float a = warp[row % 8 * 4 + depth % 4].left[row / 8 + depth / 4 * 2];
      const float b = warp[column * 4 + depth % 4].right[depth / 4];
      total += tf32(a) * tf32(b);
    }
    sums[i] = static_cast<float>(total);
  }
  warp_barrier();
}

}  // namespace host
