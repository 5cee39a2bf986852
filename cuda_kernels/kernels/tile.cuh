// Class probabilities of one tile of the map, with margins, in shared memory.
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
  const SCALAR* scores;        // [images, CLASSES, height, width]
  const unsigned char* valid;  // [images, height, width]; null: every pixel is valid
  int height, width;

  INLINE long long area() const { return static_cast<long long>(height) * width; }

  // Address of class 0 of a pixel; null if the pixel is outside the image or not valid.
  INLINE const SCALAR* pixel(int image, int row, int column) const {
    if (row < 0 || row >= height || column < 0 || column >= width) return nullptr;
    const long long index = static_cast<long long>(row) * width + column;
    if (valid && !valid[image * area() + index]) return nullptr;
    return scores + image * CLASSES * area() + index;
  }
};

// Softmax of one pixel: the constructor reads the maximum and the sum, `of` gives one class.
struct Softmax {
  Real largest = 0, inverse = 1;

  INLINE Softmax(const SCALAR* pixel, long long area) {
#if FROM_LOGITS
    largest = portable::load(pixel[0]);
    for (int c = 1; c < CLASSES; ++c) {
      const Real value = portable::load(pixel[c * area]);
      largest = value > largest ? value : largest;
    }
    Real sum = 0;
    for (int c = 0; c < CLASSES; ++c)
      sum += portable::exponential(portable::load(pixel[c * area]) - largest);
    inverse = Real(1) / sum;
#else
    (void)pixel;
    (void)area;
#endif
  }

  INLINE Real of(SCALAR value) const {
#if FROM_LOGITS
    return portable::exponential(portable::load(value) - largest) * inverse;
#else
    return portable::load(value);
#endif
  }
};

// A tile of 2^shift columns and `rows` rows. Shared memory holds it with its four margins.
struct Tiling {
  int shift, rows, top, bottom, left, right;

  INLINE int columns() const { return 1 << shift; }
  INLINE int pitch() const { return left + columns() + right; }
  INLINE int tile_size() const { return (top + rows + bottom) * pitch(); }
  INLINE int tiles_x(int width) const { return (width + columns() - 1) >> shift; }
  INLINE int tiles_y(int height) const { return (height + rows - 1) / rows; }

  // True if the margins contain the neighbours at this offset.
  INLINE bool near(int dy, int dx) const {
    return -dy <= top && dy <= bottom && -dx <= left && dx <= right;
  }
};

// Fill `values` for the tile whose first pixel is (row0, column0): planes of tile_size() numbers
// that begin `stride` numbers apart. Pixels that are outside or not valid are zero, and so are
// planes from CLASSES on. The caller places the barriers.
INLINE void load_tile(const Map& map, const Tiling& tiling, int image, int row0, int column0,
                      int planes, Real* values, int stride) {
  const int tile_size = tiling.tile_size(), pitch = tiling.pitch();
  for (int index = threadIdx.x; index < tile_size; index += blockDim.x) {
    const int row = row0 - tiling.top + index / pitch;
    const int column = column0 - tiling.left + index % pitch;
    const SCALAR* pixel = map.pixel(image, row, column);
    if (pixel) {
      const long long area = map.area();
#if FROM_LOGITS && CLASSES <= 16
      // Up to 16 classes fit into registers, so memory is read once.
      Real p[CLASSES];
      Real largest = portable::load(pixel[0]), sum = 0;
#pragma unroll
      for (int c = 0; c < CLASSES; ++c) {
        p[c] = portable::load(pixel[c * area]);
        largest = p[c] > largest ? p[c] : largest;
      }
#pragma unroll
      for (int c = 0; c < CLASSES; ++c) sum += p[c] = portable::exponential(p[c] - largest);
      const Real inverse = Real(1) / sum;
#pragma unroll
      for (int c = 0; c < CLASSES; ++c) values[c * stride + index] = p[c] * inverse;
#else
      const Softmax softmax(pixel, area);
      for (int c = 0; c < CLASSES; ++c) values[c * stride + index] = softmax.of(pixel[c * area]);
#endif
    }
    for (int c = pixel ? CLASSES : 0; c < planes; ++c) values[c * stride + index] = 0;
  }
}
