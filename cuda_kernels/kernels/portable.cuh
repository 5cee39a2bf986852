// Common definitions for nvcc, NVRTC and the host compiler; every kernel source includes this
// first.
//
// The host compiler gets CUDA's vocabulary from host/shim.h. Sixteen-bit floats are handled as
// bits, because NVRTC comes without CUDA's headers.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define LAUNCH_BOUNDS(...) __launch_bounds__(__VA_ARGS__)
#define EXPORT(kernel)
#else
#include "host/shim.h"
#endif

#define KERNEL extern "C" __global__ void
#define INLINE __device__ __forceinline__

namespace portable {

struct alignas(16) Vector16 {
  unsigned int words[4];
};
struct Half {
  unsigned short bits;
};
struct Bfloat16 {
  unsigned short bits;
};

INLINE unsigned int bits_of(float value) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  return __float_as_uint(value);
#else
  return host::bits_of(value);
#endif
}

INLINE float float_of(unsigned int bits) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  return __uint_as_float(bits);
#else
  return host::float_of(bits);
#endif
}

// Convert a stored number to the type that is computed with.
INLINE float load(float value) { return value; }
INLINE double load(double value) { return value; }
INLINE float load(unsigned char value) { return static_cast<float>(value); }
INLINE float load(Bfloat16 value) { return float_of(static_cast<unsigned int>(value.bits) << 16); }
INLINE float load(Half value) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
#else
  return host::float_of_half(value.bits);
#endif
}

// Convert a computed number to the stored type, rounding to nearest.
INLINE void store(float& target, float value) { target = value; }
INLINE void store(double& target, double value) { target = value; }
INLINE void store(Bfloat16& target, float value) {
  const unsigned int bits = bits_of(value);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  // Ties to even; a NaN stays a NaN.
  const unsigned int rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  target.bits = static_cast<unsigned short>((nan ? bits | 0x400000u : rounded) >> 16);
}
INLINE void store(Half& target, float value) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(target.bits) : "f"(value));
#else
  target.bits = host::half_of_float(value);
#endif
}

INLINE float exponential(float value) { return expf(value); }
INLINE double exponential(double value) { return exp(value); }
INLINE float logarithm(float value) { return logf(value); }
INLINE double logarithm(double value) { return log(value); }

// Sum over the 32 lanes of a warp, in lane 0. All lanes must call it.
template <typename Number>
INLINE Number warp_sum(Number value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(0xffffffffu, value, step);
  return value;
}

}  // namespace portable
