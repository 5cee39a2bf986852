// Co-occurrence of class probabilities on tensor cores: the same sums as soft_forward.cu, for many
// classes, from sm_80 up.
//
// Compile flags: see tile.cuh; SCALAR may not be double. Every probability is rounded to TF32, with
// a relative error of at most 1/2048, when the tile is loaded; sums are float32. G of an offset is
// a matrix product over the pixels: classes of x by pixels, times pixels by classes of x + d.
//
// Launch: grid (parts of the tiles, groups of tasks, images), in whole warps of at most 256 threads
// a block, shared memory 4 * max(CLASSES * plane_stride(tile_size), warps * kRows * kColumns)
// bytes: up to 48 KiB for 32 classes, up to 96 KiB for more. A task is one offset and one block of
// at most 32 x 32 entries of its matrix. sum_parts of soft_forward.cu adds the parts. No atomics:
// every run gives the same bits.
#include "tensor.cuh"
#include "tile.cuh"

namespace {

static_assert(sizeof(Real) == 4, "tensor cores do not multiply double in TF32");

constexpr int kBlocks = (CLASSES + 31) / 32;
constexpr int kSide = (CLASSES + kBlocks - 1) / kBlocks;
constexpr int kTilesX = (kSide + tensor::kColumns - 1) / tensor::kColumns;
constexpr int kTilesY = (kSide + tensor::kRows - 1) / tensor::kRows;
constexpr int kRows = kTilesY * tensor::kRows, kColumns = kTilesX * tensor::kColumns;

// Classes that only fill a block repeat the last class; their sums are not read.
INLINE int plane(int c) { return c < CLASSES ? c : CLASSES - 1; }

// Neighbouring planes begin 4 banks apart (of 32), so that reading 8 planes by 4 pixels has no bank
// conflict.
INLINE int plane_stride(int tile_size) { return (tile_size + 3) / 8 * 8 + 4; }

}  // namespace

KERNEL LAUNCH_BOUNDS(256)
    soft_forward_tensor(const SCALAR* __restrict__ scores, const unsigned char* __restrict__ valid,
                        const int* __restrict__ offsets, float* __restrict__ parts, int height,
                        int width, int offset_count, int tasks, int shift, int rows, int top,
                        int bottom, int left, int right) {
  DYNAMIC_SHARED(shared);
  float* values = reinterpret_cast<float*>(shared);
  const Map map{scores, valid, height, width};
  const Tiling tiling{shift, rows, top, bottom, left, right};
  const int image = static_cast<int>(blockIdx.z);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int group = lane / 4, member = lane % 4;
  const int warps_per_task = static_cast<int>(blockDim.x) / 32 / tasks;
  const int task = static_cast<int>(blockIdx.y) * tasks + warp % tasks;
  const int offset = task / (kBlocks * kBlocks);
  const bool busy = offset < offset_count && warp / tasks < warps_per_task;
  const int first_i = task / kBlocks % kBlocks * kRows, first_j = task % kBlocks * kColumns;
  const int dy = busy ? offsets[2 * offset] : 0, dx = busy ? offsets[2 * offset + 1] : 0;
  const bool near = tiling.near(dy, dx);
  const int tile_size = tiling.tile_size(), pitch = tiling.pitch();
  const int stride = plane_stride(tile_size);
  const int pixels = rows << shift;

  float sums[kTilesY][kTilesX][4];
#pragma unroll
  for (int m = 0; m < kTilesY; ++m)
#pragma unroll
    for (int n = 0; n < kTilesX; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[m][n][i] = 0;

  const int tiles_x = tiling.tiles_x(width);
  const int tiles = tiles_x * tiling.tiles_y(height);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int row0 = tile / tiles_x * rows, column0 = tile % tiles_x << shift;
    __syncthreads();  // until every thread has used the tile before
    load_tile(map, tiling, image, row0, column0, CLASSES, values, stride);
    // A thread rounds the numbers that it has written itself, so no barrier is needed here.
    for (int index = threadIdx.x; index < tile_size; index += blockDim.x)
      for (int c = 0; c < CLASSES; ++c)
        values[c * stride + index] = tensor::rounded(values[c * stride + index]);
    __syncthreads();
    if (!busy) continue;

    // Tensor cores truncate when they add. Their sums cover one tile; ordinary additions sum the
    // tiles.
    float products[kTilesY][kTilesX][4];
#pragma unroll
    for (int m = 0; m < kTilesY; ++m)
#pragma unroll
      for (int n = 0; n < kTilesX; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) products[m][n][i] = 0;

    for (int first = warp / tasks * tensor::kDepth; first < pixels;
         first += warps_per_task * tensor::kDepth) {
      float left_operand[kTilesY][4], right_operand[kTilesX][2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int pixel = first + member + 4 * half;
        // A narrow tile may end within the 8 pixels of a product.
        const bool in_tile = pixel < pixels;
        const int row_in_tile = pixel >> shift, column_in_tile = pixel & (tiling.columns() - 1);
        const int index = (row_in_tile + top) * pitch + column_in_tile + left;
#pragma unroll
        for (int m = 0; m < kTilesY; ++m)
#pragma unroll
          for (int lower = 0; lower < 2; ++lower) {
            const int c = plane(first_i + m * tensor::kRows + 8 * lower + group);
            left_operand[m][lower + 2 * half] = in_tile ? values[c * stride + index] : 0.0f;
          }
        if (near) {
#pragma unroll
          for (int n = 0; n < kTilesX; ++n) {
            const int c = plane(first_j + n * tensor::kColumns + group);
            right_operand[n][half] = in_tile ? values[c * stride + index + dy * pitch + dx] : 0.0f;
          }
        } else {
          const int row = row0 + row_in_tile, column = column0 + column_in_tile;
          // Compare before adding: an offset may have any size, and the sum could overflow.
          const bool inside = in_tile && dy < height - row && dx < width - column;
          const SCALAR* source = inside ? map.pixel(image, row + dy, column + dx) : nullptr;
#pragma unroll
          for (int n = 0; n < kTilesX; ++n) right_operand[n][half] = 0;
          if (source) {
            const Softmax softmax(source, map.area());
#pragma unroll
            for (int n = 0; n < kTilesX; ++n) {
              const int c = plane(first_j + n * tensor::kColumns + group);
              right_operand[n][half] = tensor::rounded(softmax.of(source[c * map.area()]));
            }
          }
        }
      }
      __syncwarp();  // the lanes may have diverged above; a product needs all of them together
#pragma unroll
      for (int m = 0; m < kTilesY; ++m)
#pragma unroll
        for (int n = 0; n < kTilesX; ++n)
          tensor::multiply_add(products[m][n], left_operand[m], right_operand[n]);
    }
#pragma unroll
    for (int m = 0; m < kTilesY; ++m)
#pragma unroll
      for (int n = 0; n < kTilesX; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] += products[m][n][i];
  }

  // From here on, the memory of the tile holds the sums of the warps.
  __syncthreads();
  constexpr int kCells = kRows * kColumns;
#pragma unroll
  for (int m = 0; m < kTilesY; ++m)
#pragma unroll
    for (int n = 0; n < kTilesX; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = m * tensor::kRows + group + i / 2 * 8;
        const int c = n * tensor::kColumns + member * 2 + i % 2;
        values[warp * kCells + r * kColumns + c] = sums[m][n][i];
      }
  __syncthreads();
  for (int cell = threadIdx.x; cell < tasks * kCells; cell += blockDim.x) {
    const int t = static_cast<int>(blockIdx.y) * tasks + cell / kCells;
    const int o = t / (kBlocks * kBlocks);
    const int i = t / kBlocks % kBlocks * kRows + cell % kCells / kColumns;
    const int j = t % kBlocks * kColumns + cell % kColumns;
    if (o >= offset_count || i >= CLASSES || j >= CLASSES) continue;
    float total = 0;
    for (int part = 0; part < warps_per_task; ++part) total += values[part * tasks * kCells + cell];
    const long long part = static_cast<long long>(image) * gridDim.x + blockIdx.x;
    parts[((part * offset_count + o) * CLASSES + i) * CLASSES + j] = total;
  }
}
EXPORT(soft_forward_tensor)
