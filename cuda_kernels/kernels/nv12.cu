// The network's image of an NV12 picture: both planes are resized and their colours converted.
//
// Compile with -DIMAGE=<float, portable::Half or portable::Bfloat16>.
//
// Launch: any grid of one dimension, a block of any multiple of 32 threads, no shared memory. A
// thread writes the three channels of one pixel, then goes on if there are fewer threads. A pixel
// reads four values of luma and four pairs of chroma, whatever the size of the picture; nothing is
// stored between the planes and the image.
//
// It computes what the graph for NV12 computes (export/graph/nv12.py): linear resizing of each plane
// with half_pixel coordinates and without antialiasing, matrix, clamp to 0..255. Coordinates are
// those of ONNX's Resize in float32. `numbers` has the matrix, three rows of four (Y, U, V, 1), then
// scale and shift of each channel, e.g. of a normalisation; 1 and 0 for the graph's own image.
#include "portable.cuh"

namespace {

// The two neighbours of a coordinate along one side of a plane, and the weight of the second.
struct Pair {
  int first, second;
  float weight;
};

INLINE Pair pair_at(int place, int from, int to) {
  const float scale = static_cast<float>(to) / static_cast<float>(from);
  float at = (static_cast<float>(place) + 0.5f) / scale - 0.5f;
  at = min(max(at, 0.0f), static_cast<float>(from - 1));
  const int first = static_cast<int>(at);
  return {first, min(first + 1, from - 1), at - static_cast<float>(first)};
}

INLINE float mixed(float first, float second, float weight) {
  return first * (1.0f - weight) + second * weight;
}

// The value of one channel of a plane; `step` bytes lie between two pixels of a row.
INLINE float value_at(const unsigned char* plane, long long pitch, int step, const Pair& y,
                      const Pair& x) {
  const unsigned char* upper = plane + y.first * pitch;
  const unsigned char* lower = plane + y.second * pitch;
  return mixed(mixed(portable::load(upper[x.first * step]), portable::load(upper[x.second * step]),
                     x.weight),
               mixed(portable::load(lower[x.first * step]), portable::load(lower[x.second * step]),
                     x.weight),
               y.weight);
}

}  // namespace

KERNEL nv12_image(const unsigned char* __restrict__ luma, const unsigned char* __restrict__ chroma,
                  const float* __restrict__ numbers, IMAGE* __restrict__ image, int luma_pitch,
                  int chroma_pitch, int height, int width, int rows, int columns) {
  const int pixels = rows * columns;
  const int chroma_height = (height + 1) / 2, chroma_width = (width + 1) / 2;
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; at < pixels;
       at += stride) {
    const int row = static_cast<int>(at / columns), column = static_cast<int>(at % columns);
    const Pair y = pair_at(row, chroma_height, rows), x = pair_at(column, chroma_width, columns);
    const float light = value_at(luma, luma_pitch, 1, pair_at(row, height, rows),
                                 pair_at(column, width, columns));
    const float u = value_at(chroma, chroma_pitch, 2, y, x);
    const float v = value_at(chroma + 1, chroma_pitch, 2, y, x);
    for (int channel = 0; channel < 3; ++channel) {
      const float* factors = numbers + 4 * channel;
      const float value = factors[0] * light + factors[1] * u + factors[2] * v + factors[3];
      portable::store(image[static_cast<long long>(channel) * pixels + at],
                      min(max(value, 0.0f), 255.0f) * numbers[12 + channel] + numbers[15 + channel]);
    }
  }
}
EXPORT(nv12_image)
