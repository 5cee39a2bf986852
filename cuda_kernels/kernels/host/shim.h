// CUDA's vocabulary for the host compiler, so that the kernels run, and are checked, on a CPU.
//
// The threads of one block are fibers (default: quick, and in a fixed order that a test can
// reverse) or real threads (-DHOST_THREADS: for ThreadSanitizer). Blocks run one after another.
// Shared memory is allocated with its exact size and filled with 0xCD, so that a read before a
// write is a wrong result, a race a report, and a step beyond the end an AddressSanitizer error.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define LAUNCH_BOUNDS(...)
#define DYNAMIC_SHARED(name) unsigned char* name = host::block().shared.get()

namespace host {

struct Index {
  unsigned x, y, z;
};

// What a lane brings to a product on tensor cores; see host_tensor.h.
struct Fragment {
  float left[4], right[2];
};

struct Block {
  Index grid{}, index{}, size{};
  std::unique_ptr<unsigned char[]> shared;
  std::vector<std::uint64_t> exchange;  // what the lanes of a warp show each other
  std::vector<Fragment> fragments;
};

constexpr unsigned kWarp = 32;

inline Block& block() {
  static Block one;
  return one;
}

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "kernel emulation: %s\n", what);
  std::abort();
}

inline unsigned bits_of(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float float_of(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float float_of_half(unsigned short bits) {
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
}

inline unsigned short half_of_float(float value) {
  const unsigned sign = (bits_of(value) >> 16) & 0x8000u;
  const float size = std::fabs(value);
  if (std::isnan(value)) return static_cast<unsigned short>(sign | 0x7e00u);
  if (size >= 65520.0f) return static_cast<unsigned short>(sign | 0x7c00u);
  // nearbyint rounds to nearest, ties to even; below 2^-14 halves are evenly spaced by 2^-24.
  if (size < std::ldexp(1.0f, -14)) {
    return static_cast<unsigned short>(
        sign | static_cast<unsigned>(std::nearbyint(std::ldexp(size, 24))));
  }
  int exponent = 0;
  const float fraction = std::frexp(size, &exponent);  // 0.5 to 1
  const auto steps = static_cast<unsigned>(std::nearbyint(std::ldexp(fraction, 11)));
  // 1024 to 2048 steps; the sum lets a carry out of the fraction run into the exponent.
  return static_cast<unsigned short>(
      sign | ((static_cast<unsigned>(exponent + 14) << 10) + steps - 1024u));
}

unsigned thread_index();
void block_barrier();
void warp_barrier();

}  // namespace host

#define threadIdx (host::Index{host::thread_index(), 0, 0})
#define blockIdx (host::block().index)
#define blockDim (host::block().size)
#define gridDim (host::block().grid)

inline void __syncthreads() { host::block_barrier(); }
inline void __syncwarp() { host::warp_barrier(); }

template <typename Number>
Number __shfl_down_sync(unsigned, Number value, unsigned step) {
  static_assert(sizeof(Number) <= sizeof(std::uint64_t), "a lane shows at most eight bytes");
  const unsigned self = host::thread_index();
  auto& slots = host::block().exchange;
  std::memcpy(&slots[self], &value, sizeof value);
  host::warp_barrier();
  const unsigned other = self % host::kWarp + step < host::kWarp ? self + step : self;
  std::memcpy(&value, &slots[other], sizeof value);
  host::warp_barrier();
  return value;
}

template <typename Number>
Number atomicAdd(Number* target, Number value) {
  return __atomic_fetch_add(target, value, __ATOMIC_RELAXED);
}

using std::exp;
using std::log;
using std::max;
using std::min;

template <typename Number>
Number __ldg(const Number* source) {
  return *source;
}

#include "host_run.h"
#include "host_tensor.h"
