// Class probabilities of a tile of the map with its halo, in shared memory.
//
// Compile with -DSCALAR=<float, double, portable::Half or portable::Bfloat16>, -DCLASSES=<1 to 64>
// and -DFROM_LOGITS=<0 or 1>.
#pragma once

#include "portable.cuh"

template <typename Scalar>
struct Sum {
  using Type = float;
};
template <>
struct Sum<double> {
  using Type = double;
};
using Real = Sum<SCALAR>::Type;

struct Map {
  const SCALAR* x;             // [images, CLASSES, height, width]
  const unsigned char* valid;  // [images, height, width], or null: all are
  int height, width;

  INLINE long long area() const { return static_cast<long long>(height) * width; }

  // Address of class 0 of a pixel, null where it is outside the image or not valid.
  INLINE const SCALAR* pixel(int image, int y, int x_) const {
    if (y < 0 || y >= height || x_ < 0 || x_ >= width) return nullptr;
    const long long place = static_cast<long long>(y) * width + x_;
    if (valid && !valid[image * area() + place]) return nullptr;
    return x + image * CLASSES * area() + place;
  }
};

// Softmax of one pixel in two passes: the largest and the sum first, then any class on demand.
struct Softmax {
  Real largest = 0, inverse = 1;

  INLINE Softmax(const SCALAR* pixel, long long area) {
#if FROM_LOGITS
    largest = portable::widened(pixel[0]);
    for (int c = 1; c < CLASSES; ++c) {
      const Real value = portable::widened(pixel[c * area]);
      largest = value > largest ? value : largest;
    }
    Real sum = 0;
    for (int c = 0; c < CLASSES; ++c)
      sum += portable::exponential(portable::widened(pixel[c * area]) - largest);
    inverse = Real(1) / sum;
#else
    (void)pixel;
    (void)area;
#endif
  }

  INLINE Real of(SCALAR value) const {
#if FROM_LOGITS
    return portable::exponential(portable::widened(value) - largest) * inverse;
#else
    return portable::widened(value);
#endif
  }
};

// A tile of 2^shift columns and `rows` rows, and the margins around it that shared memory holds.
struct Tiling {
  int shift, rows, top, bottom, left, right;

  INLINE int columns() const { return 1 << shift; }
  INLINE int pitch() const { return left + columns() + right; }
  INLINE int held_rows() const { return top + rows + bottom; }
  INLINE int held() const { return held_rows() * pitch(); }
  INLINE int across(int width) const { return (width + columns() - 1) >> shift; }
  INLINE int down(int height) const { return (height + rows - 1) / rows; }

  // Does the margin hold the partners at this offset?
  INLINE bool near(int dy, int dx) const {
    return -dy <= top && dy <= bottom && -dx <= left && dx <= right;
  }
};

// Fill `values`, planes of `held` pixels that begin `stride` numbers apart, for the tile whose first
// pixel is (y0, x0). Pixels outside and invalid ones are zero, and so are planes beyond CLASSES.
// Barriers are the caller's.
INLINE void load_tile(const Map& map, const Tiling& tiling, int image, int y0, int x0, int planes,
                      Real* values, int stride) {
  const int held = tiling.held(), pitch = tiling.pitch();
  for (int place = threadIdx.x; place < held; place += blockDim.x) {
    const int y = y0 - tiling.top + place / pitch, x = x0 - tiling.left + place % pitch;
    const SCALAR* pixel = map.pixel(image, y, x);
    if (pixel) {
      const long long area = map.area();
#if FROM_LOGITS && CLASSES <= 16
      // Few classes stay in registers, and memory is read once.
      Real p[CLASSES];
      Real largest = portable::widened(pixel[0]), sum = 0;
#pragma unroll
      for (int c = 0; c < CLASSES; ++c) {
        p[c] = portable::widened(pixel[c * area]);
        largest = p[c] > largest ? p[c] : largest;
      }
#pragma unroll
      for (int c = 0; c < CLASSES; ++c) sum += p[c] = portable::exponential(p[c] - largest);
      const Real inverse = Real(1) / sum;
#pragma unroll
      for (int c = 0; c < CLASSES; ++c) values[c * stride + place] = p[c] * inverse;
#else
      const Softmax softmax(pixel, area);
      for (int c = 0; c < CLASSES; ++c) values[c * stride + place] = softmax.of(pixel[c * area]);
#endif
    }
    for (int c = pixel ? CLASSES : 0; c < planes; ++c) values[c * stride + place] = 0;
  }
}
