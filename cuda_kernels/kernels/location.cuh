// What the kernels that locate instruments share: exact arithmetic, atomics, and union-find.
//
// docs/location.md states the numbers bit for bit: sums are sums of integers, and the rest is IEEE
// double without fused multiply-add. So products that are added go through `times`, which no
// compiler fuses.
#pragma once

#include "portable.cuh"

namespace location {

constexpr int kSegment = 32;  // pixels of one row that a thread of a map kernel goes through
constexpr int kFields = 16;   // numbers of a record; see Field

// Columns of the table of components, a row of 64-bit integers each. Row 0 is the header.
enum Field {
  kRoot,    // first pixel, as row * width + column
  kPlane,   // 0: regions, 1: parts of their border, 2: shafts
  kKey,     // number of the group, or of the part of a split region
  kRegion,  // root of the region that the component lies in
  kPixels,
  kSumX,
  kSumY,
  kSumXX,
  kSumXY,
  kSumYY,
  kMinX,
  kMaxX,
  kMaxY,
  kConfidence,    // sum; float16 values in units of 2^-24
  kBorderPixels,  // pixels on the border of the view
  kDeepest,       // largest depth, a double as `ordered` makes it an integer
};

// Columns of the header.
enum Header { kCount, kNotFinite };

// Parts of the doubles that describe where pixels lie; each list but the last three numbers has a
// value for every column, then one for every row.
struct Places {
  const double* x;      // centres of the columns in frame pixels
  const double* y;      // of the rows
  const double* view_x; // squared distance of the columns from the centre of the view
  const double* view_y; // of the rows
  const double* depth_x;
  const double* depth_y;
  double radius;
  double radius_squared;
  double border_squared;  // squared radius from which on a pixel is on the view's border
};

INLINE Places places_of(const double* numbers, int height, int width) {
  const double* last = numbers + 3 * (width + height);
  return {numbers,
          numbers + width,
          numbers + width + height,
          numbers + 2 * width + height,
          numbers + 2 * (width + height),
          numbers + 3 * width + 2 * height,
          last[0],
          last[1],
          last[2]};
}

INLINE double times(double left, double right) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  return __dmul_rn(left, right);
#else
  return left * right;
#endif
}

INLINE double root_of(double value) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  return __dsqrt_rn(value);
#else
  return std::sqrt(value);
#endif
}

INLINE long long bits_of(double value) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  return __double_as_longlong(value);
#else
  long long bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

INLINE double double_of(long long bits) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  return __longlong_as_double(bits);
#else
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

// An integer with the order of the doubles; its own inverse.
INLINE long long ordered(double value) {
  const long long bits = bits_of(value);
  return bits < 0 ? bits ^ 0x7fffffffffffffffLL : bits;
}
INLINE double unordered(long long bits) {
  return double_of(bits < 0 ? bits ^ 0x7fffffffffffffffLL : bits);
}

// Read and write what other threads may write at the same time.
template <typename Number>
INLINE Number shared_load(const Number* source) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  return *static_cast<const volatile Number*>(source);
#else
  return __atomic_load_n(source, __ATOMIC_RELAXED);
#endif
}
template <typename Number>
INLINE void shared_store(Number* target, Number value) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  *static_cast<volatile Number*>(target) = value;
#else
  __atomic_store_n(target, value, __ATOMIC_RELAXED);
#endif
}

// Two's complement: sums of signed numbers may be added as unsigned ones.
INLINE void add(long long* target, long long value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(target), static_cast<unsigned long long>(value));
}

// Union-find: a parent is never larger than its child, so the root is a set's first pixel (Playne
// and Hawick, "A new algorithm for parallel connected-component labelling on GPUs", 2018).
INLINE int find(const int* parents, int pixel) {
  int parent = shared_load(parents + pixel);
  while (parent != pixel) {
    pixel = parent;
    parent = shared_load(parents + pixel);
  }
  return pixel;
}

INLINE void unite(int* parents, int one, int other) {
  for (;;) {
    one = find(parents, one);
    other = find(parents, other);
    if (one == other) return;
    const int larger = max(one, other), smaller = min(one, other);
    const int before = atomicMin(parents + larger, smaller);
    if (before == larger) return;
    // Another thread joined the larger one elsewhere: that set and the smaller one are one set.
    one = before;
    other = smaller;
  }
}

}  // namespace location
