// CUDA's vocabulary for the host compiler, so that the kernels run, and are tested, on a CPU.
//
// The threads of one block are fibers (default: fast, in a fixed order that a test can reverse) or
// real threads (-DHOST_THREADS, for ThreadSanitizer). Blocks run one after another. Shared memory
// has its exact size and starts as 0xCD: a read before a write gives a wrong result, a race gives a
// ThreadSanitizer report, and an access beyond the end gives an AddressSanitizer error.
#pragma once

#include "run.h"
#include "tensor.h"

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define LAUNCH_BOUNDS(...)
#define DYNAMIC_SHARED(name) unsigned char* name = host::block().shared.get()
#define EXPORT(kernel)                             \
  static host::Registration kernel##_registration( \
      #kernel, [](void** arguments) { host::call(kernel, arguments); });

#define threadIdx (host::Index{host::thread_index(), 0, 0})
#define blockIdx (host::block().index)
#define blockDim (host::block().size)
#define gridDim (host::block().grid)

inline void __syncthreads() { host::block_barrier(); }
inline void __syncwarp() { host::warp_barrier(); }

template <typename Number>
Number __shfl_down_sync(unsigned, Number value, unsigned step) {
  static_assert(sizeof(Number) <= sizeof(std::uint64_t), "a shuffle moves at most eight bytes");
  const unsigned thread = host::thread_index();
  auto& slots = host::block().exchange;
  std::memcpy(&slots[thread], &value, sizeof value);
  host::warp_barrier();
  const unsigned source = thread % host::kWarp + step < host::kWarp ? thread + step : thread;
  std::memcpy(&value, &slots[source], sizeof value);
  host::warp_barrier();
  return value;
}

template <typename Number>
Number atomicAdd(Number* target, Number value) {
  return __atomic_fetch_add(target, value, __ATOMIC_RELAXED);
}

// Returns the value before, as CUDA's do.
template <typename Number>
Number atomicMin(Number* target, Number value) {
  Number before = __atomic_load_n(target, __ATOMIC_RELAXED);
  while (value < before && !__atomic_compare_exchange_n(target, &before, value, false,
                                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return before;
}

template <typename Number>
Number atomicMax(Number* target, Number value) {
  Number before = __atomic_load_n(target, __ATOMIC_RELAXED);
  while (before < value && !__atomic_compare_exchange_n(target, &before, value, false,
                                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return before;
}

template <typename Number>
Number atomicCAS(Number* target, Number expected, Number value) {
  __atomic_compare_exchange_n(target, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

using std::exp;
using std::log;
using std::max;
using std::min;

template <typename Number>
Number __ldg(const Number* source) {
  return *source;
}
