// Co-occurrence of class probabilities: G[image, offset, i, j] = sum over x of p_i(x) p_j(x + d).
//
// Compile flags: see tile.cuh. No atomics: every block writes its own part and sum_parts adds the
// parts in their order, so that results are the same, bit for bit, from run to run.
//
// Launch soft_forward: grid (shares of the tiles, groups of tasks, images). A task is one offset
// and one block of kSide x kSide entries of its matrix, which a thread keeps in registers over all
// its pixels. `tasks` tasks share a tile: warp w works at task w % tasks, and the warps of one task
// share the pixels. One group, hence one read of the map, does for C <= 8 and up to `tasks` offsets.
#include "tile.cuh"

namespace {

constexpr int kBlocks = (CLASSES + 7) / 8;
constexpr int kSide = (CLASSES + kBlocks - 1) / kBlocks;
constexpr int kPlanes = kBlocks * kSide;

}  // namespace

KERNEL LAUNCH_BOUNDS(256)
    soft_forward(const SCALAR* __restrict__ x, const unsigned char* __restrict__ valid,
                 const int* __restrict__ offsets, Real* __restrict__ parts, int height, int width,
                 int offset_count, int tasks, int shift, int rows, int top, int bottom, int left,
                 int right) {
  DYNAMIC_SHARED(shared);
  Real* values = reinterpret_cast<Real*>(shared);
  const Map map{x, valid, height, width};
  const Tiling tiling{shift, rows, top, bottom, left, right};
  const int image = static_cast<int>(blockIdx.z);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int shares = static_cast<int>(blockDim.x) / 32 / tasks;  // warps that share one task
  const int task = static_cast<int>(blockIdx.y) * tasks + warp % tasks;
  const int offset = task / (kBlocks * kBlocks);
  const bool busy = offset < offset_count && warp / tasks < shares;
  const int row = task / kBlocks % kBlocks * kSide, column = task % kBlocks * kSide;
  const int dy = busy ? offsets[2 * offset] : 0, dx = busy ? offsets[2 * offset + 1] : 0;
  const bool near = tiling.near(dy, dx);
  const int held = tiling.held(), pitch = tiling.pitch();

  Real sums[kSide][kSide];
#pragma unroll
  for (int i = 0; i < kSide; ++i)
#pragma unroll
    for (int j = 0; j < kSide; ++j) sums[i][j] = 0;

  const int across = tiling.across(width);
  const int tiles = across * tiling.down(height);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int y0 = tile / across * rows, x0 = tile % across << shift;
    __syncthreads();  // nobody still reads the tile before
    load_tile(map, tiling, image, y0, x0, kPlanes, values, held);
    __syncthreads();
    if (!busy) continue;
    for (int pixel = warp / tasks * 32 + lane; pixel < rows << shift; pixel += shares * 32) {
      const int y = pixel >> shift, column_in_tile = pixel & (tiling.columns() - 1);
      const int place = (y + top) * pitch + column_in_tile + left;
      Real partner[kSide];
      if (near) {
#pragma unroll
        for (int j = 0; j < kSide; ++j)
          partner[j] = values[(column + j) * held + place + dy * pitch + dx];
      } else {
        const int here_y = y0 + y, here_x = x0 + column_in_tile;
        // Compare before adding: an offset may be of any size.
        const bool inside = dy < height - here_y && dx < width - here_x;
        const SCALAR* far = inside ? map.pixel(image, here_y + dy, here_x + dx) : nullptr;
        if (!far) continue;
        const Softmax softmax(far, map.area());
#pragma unroll
        for (int j = 0; j < kSide; ++j)
          partner[j] =
              column + j < CLASSES ? softmax.of(far[(column + j) * map.area()]) : Real(0);
      }
#pragma unroll
      for (int i = 0; i < kSide; ++i) {
        const Real own = values[(row + i) * held + place];
#pragma unroll
        for (int j = 0; j < kSide; ++j) sums[i][j] += own * partner[j];
      }
    }
  }

  // The tile is no longer needed: its memory takes the sums of the warps.
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
    for (int share = 0; share < shares; ++share) total += values[share * tasks * kCells + cell];
    const long long part = static_cast<long long>(image) * gridDim.x + blockIdx.x;
    parts[((part * offset_count + o) * CLASSES + i) * CLASSES + j] = total;
  }
}
EXPORT(soft_forward)

// Add up [images, parts, cells] over the parts; grid (blocks of cells, images).
KERNEL sum_parts(const Real* __restrict__ parts, Real* __restrict__ result, int part_count,
                 int cells) {
  const int cell = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (cell >= cells) return;
  const Real* first = parts + static_cast<long long>(blockIdx.y) * part_count * cells + cell;
  Real total = 0;
  for (int part = 0; part < part_count; ++part) total += first[static_cast<long long>(part) * cells];
  result[static_cast<long long>(blockIdx.y) * cells + cell] = total;
}
EXPORT(sum_parts)
