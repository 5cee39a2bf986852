// Co-occurrence of class probabilities on tensor cores: the same sums as soft_forward.cu, for many
// classes, from sm_80 up.
//
// Compile flags: see tile.cuh; SCALAR may not be double. Every probability is rounded to TF32 (one
// part in 2048 at most) as it enters the tile; sums are float32. G of an offset is a matrix product
// over the pixels: classes of x by pixels, times pixels by classes of x + d.
//
// Launch soft_forward_tensor as soft_forward is: grid (shares of the tiles, groups of tasks,
// images). A task is one offset and one block of at most 32 x 32 entries of its matrix. The parts
// are added by sum_parts of soft_forward.cu. No atomics: the same bits from run to run.
#include "tensor.cuh"
#include "tile.cuh"

namespace {

static_assert(sizeof(Real) == 4, "tensor cores take no double here");

constexpr int kBlocks = (CLASSES + 31) / 32;
constexpr int kSide = (CLASSES + kBlocks - 1) / kBlocks;
constexpr int kAcross = (kSide + tensor::kColumns - 1) / tensor::kColumns;
constexpr int kDown = (kSide + tensor::kRows - 1) / tensor::kRows;
constexpr int kRows = kDown * tensor::kRows, kColumns = kAcross * tensor::kColumns;

// Classes that are there only to fill a block repeat the last one; nobody reads their sums.
INLINE int plane(int c) { return c < CLASSES ? c : CLASSES - 1; }

// Planes lie 4 banks apart from each other (of 32), so that 8 planes by 4 pixels meet no conflict.
INLINE int plane_stride(int held) { return (held + 3) / 8 * 8 + 4; }

}  // namespace

KERNEL LAUNCH_BOUNDS(256)
    soft_forward_tensor(const SCALAR* __restrict__ x, const unsigned char* __restrict__ valid,
                        const int* __restrict__ offsets, float* __restrict__ parts, int height,
                        int width, int offset_count, int tasks, int shift, int rows, int top,
                        int bottom, int left, int right) {
  DYNAMIC_SHARED(shared);
  float* values = reinterpret_cast<float*>(shared);
  const Map map{x, valid, height, width};
  const Tiling tiling{shift, rows, top, bottom, left, right};
  const int image = static_cast<int>(blockIdx.z);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int group = lane / 4, member = lane % 4;
  const int shares = static_cast<int>(blockDim.x) / 32 / tasks;  // warps that share one task
  const int task = static_cast<int>(blockIdx.y) * tasks + warp % tasks;
  const int offset = task / (kBlocks * kBlocks);
  const bool busy = offset < offset_count && warp / tasks < shares;
  const int row = task / kBlocks % kBlocks * kRows, column = task % kBlocks * kColumns;
  const int dy = busy ? offsets[2 * offset] : 0, dx = busy ? offsets[2 * offset + 1] : 0;
  const bool near = tiling.near(dy, dx);
  const int held = tiling.held(), pitch = tiling.pitch(), stride = plane_stride(held);
  const int pixels = rows << shift;

  float sums[kDown][kAcross][4];
#pragma unroll
  for (int m = 0; m < kDown; ++m)
#pragma unroll
    for (int n = 0; n < kAcross; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[m][n][i] = 0;

  const int across = tiling.across(width);
  const int tiles = across * tiling.down(height);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int y0 = tile / across * rows, x0 = tile % across << shift;
    __syncthreads();  // nobody still reads the tile before
    load_tile(map, tiling, image, y0, x0, CLASSES, values, stride);
    // Every thread rounds what it has written itself, so no barrier lies between.
    for (int place = threadIdx.x; place < held; place += blockDim.x)
      for (int c = 0; c < CLASSES; ++c)
        values[c * stride + place] = tensor::rounded(values[c * stride + place]);
    __syncthreads();
    if (!busy) continue;

    // Tensor cores cut off where they add: one tile at a time, the tiles by ordinary additions.
    float products[kDown][kAcross][4];
#pragma unroll
    for (int m = 0; m < kDown; ++m)
#pragma unroll
      for (int n = 0; n < kAcross; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) products[m][n][i] = 0;

    for (int first = warp / tasks * tensor::kDepth; first < pixels;
         first += shares * tensor::kDepth) {
      float own[kDown][4], partner[kAcross][2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int pixel = first + member + 4 * half;
        const bool there = pixel < pixels;  // a narrow tile may end within a step
        const int y = pixel >> shift, column_in_tile = pixel & (tiling.columns() - 1);
        const int place = (y + top) * pitch + column_in_tile + left;
#pragma unroll
        for (int m = 0; m < kDown; ++m)
#pragma unroll
          for (int lower = 0; lower < 2; ++lower) {
            const int c = plane(row + m * tensor::kRows + 8 * lower + group);
            own[m][lower + 2 * half] = there ? values[c * stride + place] : 0.0f;
          }
        if (near) {
#pragma unroll
          for (int n = 0; n < kAcross; ++n) {
            const int c = plane(column + n * tensor::kColumns + group);
            partner[n][half] = there ? values[c * stride + place + dy * pitch + dx] : 0.0f;
          }
        } else {
          const int here_y = y0 + y, here_x = x0 + column_in_tile;
          // Compare before adding: an offset may be of any size.
          const bool inside = there && dy < height - here_y && dx < width - here_x;
          const SCALAR* far = inside ? map.pixel(image, here_y + dy, here_x + dx) : nullptr;
#pragma unroll
          for (int n = 0; n < kAcross; ++n) partner[n][half] = 0;
          if (far) {
            const Softmax softmax(far, map.area());
#pragma unroll
            for (int n = 0; n < kAcross; ++n) {
              const int c = plane(column + n * tensor::kColumns + group);
              partner[n][half] = tensor::rounded(softmax.of(far[c * map.area()]));
            }
          }
        }
      }
      __syncwarp();  // the lanes may have parted above, and the products need them together
#pragma unroll
      for (int m = 0; m < kDown; ++m)
#pragma unroll
        for (int n = 0; n < kAcross; ++n)
          tensor::multiply_add(products[m][n], own[m], partner[n]);
    }
#pragma unroll
    for (int m = 0; m < kDown; ++m)
#pragma unroll
      for (int n = 0; n < kAcross; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] += products[m][n][i];
  }

  // The tile is no longer needed: its memory takes the sums of the warps.
  __syncthreads();
  constexpr int kCells = kRows * kColumns;
#pragma unroll
  for (int m = 0; m < kDown; ++m)
#pragma unroll
    for (int n = 0; n < kAcross; ++n)
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
    for (int share = 0; share < shares; ++share) total += values[share * tasks * kCells + cell];
    const long long part = static_cast<long long>(image) * gridDim.x + blockIdx.x;
    parts[((part * offset_count + o) * CLASSES + i) * CLASSES + j] = total;
  }
}
EXPORT(soft_forward_tensor)
