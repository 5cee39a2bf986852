// State of the emulated block and conversions of floats; everything else in host/ includes this.
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

namespace host {

struct Index {
  unsigned x, y, z;
};

// Operands that one lane gives to a matrix product on tensor cores; see tensor.h.
struct Fragment {
  float left[4], right[2];
};

struct Block {
  Index grid{}, index{}, size{};
  std::unique_ptr<unsigned char[]> shared;
  std::vector<std::uint64_t> exchange;  // one value per thread, for shuffles
  std::vector<Fragment> fragments;      // one per thread, for matrix products
};

constexpr unsigned kWarp = 32;

// Blocks run one after another, so one object is enough.
inline Block& block() {
  static Block instance;
  return instance;
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
    return static_cast<unsigned short>(sign |
                                       static_cast<unsigned>(std::nearbyint(std::ldexp(size, 24))));
  }
  int exponent = 0;
  const float fraction = std::frexp(size, &exponent);  // 0.5 to 1
  const auto steps = static_cast<unsigned>(std::nearbyint(std::ldexp(fraction, 11)));
  // 1024 to 2048 steps; the sum lets a carry out of the fraction run into the exponent.
  return static_cast<unsigned short>(
      sign | ((static_cast<unsigned>(exponent + 14) << 10) + steps - 1024u));
}

}  // namespace host
