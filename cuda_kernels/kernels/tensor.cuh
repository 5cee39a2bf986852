// Matrix products of a warp on tensor cores in TF32, from sm_80 up; host/tensor.h emulates them.
//
// TF32 has the range of float32 and ten bits of fraction, so it holds every Half and Bfloat16
// exactly.
#pragma once

#include "portable.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "TF32 needs sm_80 or later"
#endif

namespace tensor {

// One product has 16 rows, 8 columns and a depth of 8. A lane holds these elements, with
// group = lane / 4 and member = lane % 4 (PTX ISA, mma.m16n8k8 with .tf32):
//   left[i]:   row group + 8 (i % 2), depth member + 4 (i / 2)
//   right[i]:  depth member + 4 i, column group
//   sums[i]:   row group + 8 (i / 2), column 2 member + i % 2
constexpr int kRows = 16, kColumns = 8, kDepth = 8;

// Round to nearest, ties away from zero; the low 13 bits of the result are zero.
INLINE float rounded(float value) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  unsigned int bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return portable::float_of(bits);
#else
  return host::rounded_to_tf32(value);
#endif
}

// sums += left * right; the operands must be rounded already. All lanes must call it together.
INLINE void multiply_add(float (&sums)[4], const float (&left)[4], const float (&right)[2]) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(portable::bits_of(left[0])), "r"(portable::bits_of(left[1])),
        "r"(portable::bits_of(left[2])), "r"(portable::bits_of(left[3])),
        "r"(portable::bits_of(right[0])), "r"(portable::bits_of(right[1])));
#else
  host::multiply_add_tf32(sums, left, right);
#endif
}

}  // namespace tensor
