// Tensor cores for the host compiler: the lanes of a warp show each other their fragments.
//
// Which element a lane holds follows the PTX ISA, written down here a second time and the other
// way round (from element to lane), so that a slip in a kernel is a wrong result.
#pragma once

namespace host {

// Ties go away from zero, as cvt.rna does; infinities and NaN stay.
inline float rounded_to_tf32(float value) {
  const unsigned bits = bits_of(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return float_of((bits + 0x1000u) & ~0x1fffu);
}

// What the device makes of an operand: its low 13 bits are not looked at.
inline double tf32(float value) { return float_of(bits_of(value) & ~0x1fffu); }

inline void multiply_add_tf32(float (&sums)[4], const float (&left)[4], const float (&right)[2]) {
  const unsigned self = thread_index(), lane = self % kWarp;
  Fragment* warp = block().fragments.data() + (self - lane);
  std::copy(left, left + 4, warp[lane].left);
  std::copy(right, right + 2, warp[lane].right);
  warp_barrier();
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
    // Products are exact in double; the device adds in float32, in an order of its own.
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
