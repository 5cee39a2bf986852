// Co-occurrence of class probabilities: G[image, offset, i, j] = sum over x of p_i(x) p_j(x + d).
//
// Compile flags: see tile.cuh. No atomics: every block writes its own part, and sum_parts adds the
// parts in a fixed order, so that every run gives the same bits.
//
// Launch, in whole warps of at most 256 threads a block:
//   soft_forward  grid (parts of the tiles, groups of tasks, images);
//                 shared: sizeof(Real) * max(kPlanes * tile_size, warps * kSide * kSide) bytes
//   sum_parts     grid (parts of the cells, images); no shared memory
//
// A task is one offset and one block of kSide x kSide entries of its matrix. A thread keeps these
// entries in registers over all its pixels. `tasks` tasks use the same tile: warp w works on task
// w % tasks, and the warps of one task divide the pixels among them. Up to 8 classes and `tasks`
// offsets are one group, and the map is read once.
#include "tile.cuh"

namespace {

constexpr int kBlocks = (CLASSES + 7) / 8;
constexpr int kSide = (CLASSES + kBlocks - 1) / kBlocks;
constexpr int kPlanes = kBlocks * kSide;

}  // namespace

KERNEL LAUNCH_BOUNDS(256)
    soft_forward(const SCALAR* __restrict__ scores, const unsigned char* __restrict__ valid,
                 const int* __restrict__ offsets, Real* __restrict__ parts, int height, int width,
                 int offset_count, int tasks, int shift, int rows, int top, int bottom, int left,
                 int right) {
  DYNAMIC_SHARED(shared);
  Real* values = reinterpret_cast<Real*>(shared);
  const Map map{scores, valid, height, width};
  const Tiling tiling{shift, rows, top, bottom, left, right};
  const int image = static_cast<int>(blockIdx.z);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warps_per_task = static_cast<int>(blockDim.x) / 32 / tasks;
  const int task = static_cast<int>(blockIdx.y) * tasks + warp % tasks;
  const int offset = task / (kBlocks * kBlocks);
  const bool busy = offset < offset_count && warp / tasks < warps_per_task;
  const int first_i = task / kBlocks % kBlocks * kSide, first_j = task % kBlocks * kSide;
  const int dy = busy ? offsets[2 * offset] : 0, dx = busy ? offsets[2 * offset + 1] : 0;
  const bool near = tiling.near(dy, dx);
  const int tile_size = tiling.tile_size(), pitch = tiling.pitch();

  Real sums[kSide][kSide];
#pragma unroll
  for (int i = 0; i < kSide; ++i)
#pragma unroll
    for (int j = 0; j < kSide; ++j) sums[i][j] = 0;

  const int tiles_x = tiling.tiles_x(width);
  const int tiles = tiles_x * tiling.tiles_y(height);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int row0 = tile / tiles_x * rows, column0 = tile % tiles_x << shift;
    __syncthreads();  // until every thread has used the tile before
    load_tile(map, tiling, image, row0, column0, kPlanes, values, tile_size);
    __syncthreads();
    if (!busy) continue;
    for (int pixel = warp / tasks * 32 + lane; pixel < rows << shift;
         pixel += warps_per_task * 32) {
      const int row_in_tile = pixel >> shift, column_in_tile = pixel & (tiling.columns() - 1);
      const int index = (row_in_tile + top) * pitch + column_in_tile + left;
      Real neighbour[kSide];
      if (near) {
#pragma unroll
        for (int j = 0; j < kSide; ++j)
          neighbour[j] = values[(first_j + j) * tile_size + index + dy * pitch + dx];
      } else {
        const int row = row0 + row_in_tile, column = column0 + column_in_tile;
        // Compare before adding: an offset may have any size, and the sum could overflow.
        const bool inside = dy < height - row && dx < width - column;
        const SCALAR* source = inside ? map.pixel(image, row + dy, column + dx) : nullptr;
        if (!source) continue;
        const Softmax softmax(source, map.area());
#pragma unroll
        for (int j = 0; j < kSide; ++j)
          neighbour[j] =
              first_j + j < CLASSES ? softmax.of(source[(first_j + j) * map.area()]) : Real(0);
      }
#pragma unroll
      for (int i = 0; i < kSide; ++i) {
        const Real p = values[(first_i + i) * tile_size + index];
#pragma unroll
        for (int j = 0; j < kSide; ++j) sums[i][j] += p * neighbour[j];
      }
    }
  }

  // From here on, the memory of the tile holds the sums of the warps.
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kSide; ++i)
#pragma unroll
    for (int j = 0; j < kSide; ++j) {
      const Real total = portable::warp_sum(sums[i][j]);
      if (lane == 0) values[(warp * kSide + i) * kSide + j] = total;
    }
  __syncthreads();
  constexpr int kCells = kSide * kSide;
  for (int cell = threadIdx.x; cell < tasks * kCells; cell += blockDim.x) {
    const int t = static_cast<int>(blockIdx.y) * tasks + cell / kCells;
    const int o = t / (kBlocks * kBlocks);
    const int i = t / kBlocks % kBlocks * kSide + cell % kCells / kSide;
    const int j = t % kBlocks * kSide + cell % kSide;
    if (o >= offset_count || i >= CLASSES || j >= CLASSES) continue;
    Real total = 0;
    for (int part = 0; part < warps_per_task; ++part) total += values[part * tasks * kCells + cell];
    const long long part = static_cast<long long>(image) * gridDim.x + blockIdx.x;
    parts[((part * offset_count + o) * CLASSES + i) * CLASSES + j] = total;
  }
}
EXPORT(soft_forward)

// Sum [images, parts, cells] over the parts.
KERNEL sum_parts(const Real* __restrict__ parts, Real* __restrict__ result, int part_count,
                 int cells) {
  const int cell = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (cell >= cells) return;
  const Real* first = parts + static_cast<long long>(blockIdx.y) * part_count * cells + cell;
  Real total = 0;
  for (int part = 0; part < part_count; ++part)
    total += first[static_cast<long long>(part) * cells];
  result[static_cast<long long>(blockIdx.y) * cells + cell] = total;
}
EXPORT(sum_parts)
