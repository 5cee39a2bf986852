// Gradients of the co-occurrence of class probabilities, back to the probabilities or logits.
//
// Compile flags: see tile.cuh. With M the gradient of G of one offset d,
//   dp(x) = sum over d of M p(x + d) + M^T p(x - d),   dz = p (dp - <p, dp>) for logits z.
// Every pixel gathers its own gradient: no atomics, and p is computed again instead of stored.
//
// An offset has two directions: direction 2 n is M and x + d, direction 2 n + 1 is M^T and x - d.
// Shared memory holds the matrices of `batch` directions at a time. Within a matrix, the class of
// the gradient is the fastest index.
//
// Launch, in whole warps of at most 256 threads a block:
//   soft_backward      grid (parts of the tiles, images), one thread per pixel of a tile;
//                      shared: sizeof(Real) * (batch * kMatrix + CLASSES * tile_size) bytes
//   argmax_labels      grid (parts of the pixels, images); no shared memory
//   straight_backward  grid (parts of the pixels, images);
//                      shared: sizeof(Real) * batch * kMatrix bytes
#include "tile.cuh"

namespace {

// An odd stride between the rows of a matrix puts the rows of different labels in different banks.
constexpr int kRowStride = CLASSES | 1;
constexpr int kMatrix = CLASSES * kRowStride;
constexpr int kMaxThreads = 256;
// A multiprocessor has 65536 registers, so 4 blocks of 256 threads limit a thread to 64 registers.
// Without this limit, NVRTC 13.0 gives soft_backward 80 to 123 registers for 8 classes in float and
// 95 to 127 for 16 classes (sm_75 to sm_120), which allows 2 or 3 blocks. With the limit, up to 16
// classes spill at most 4 bytes; 24 classes would spill up to 48 bytes, and 32 classes up to 452.
// benchmarks/results/kernel_resources.md has the table.
constexpr int kMinBlocksPerSm = sizeof(Real) == 4 && CLASSES <= 16 ? 4 : 1;

// matrices[direction][j][i] = weight of class j of the neighbour in the gradient of class i.
INLINE void load_matrices(const Real* grad, int image, int offset_count, int first, int batch,
                          Real* matrices) {
  const int cells = CLASSES * CLASSES;
  for (int cell = threadIdx.x; cell < batch * cells; cell += blockDim.x) {
    const int direction = first + cell / cells;
    if (direction >= 2 * offset_count) break;
    const int i = cell % cells / CLASSES, j = cell % CLASSES;
    const Real value = grad[(static_cast<long long>(image) * offset_count + direction / 2) * cells +
                            i * CLASSES + j];
    Real* matrix = matrices + cell / cells * kMatrix;
    if (direction % 2 == 0) {
      matrix[j * kRowStride + i] = value;  // dp_i += M[i][j] p_j(x + d)
    } else {
      matrix[i * kRowStride + j] = value;  // dp_j += M[i][j] p_i(x - d)
    }
  }
}

// Move (row, column) to the neighbour in one direction; false if it is outside the image.
INLINE bool to_neighbour(const int* offsets, int direction, int height, int width, int& row,
                         int& column) {
  const int sign = direction % 2 == 0 ? 1 : -1;
  const int dy = sign * offsets[direction / 2 * 2], dx = sign * offsets[direction / 2 * 2 + 1];
  // Compare before adding: an offset may have any size, and the sum could overflow.
  if (dy >= height - row || dy < -row || dx >= width - column || dx < -column) return false;
  row += dy;
  column += dx;
  return true;
}

// Matrices of all directions, loaded into shared memory batch by batch.
struct Matrices {
  const int* offsets;
  const Real* grad;
  Real* shared;
  int image, offset_count, batch;

  INLINE int directions() const { return 2 * offset_count; }
  INLINE bool single_pass() const { return directions() <= batch; }

  // Call once before the first pixel.
  INLINE void load_if_single_pass() const {
    if (single_pass()) load_matrices(grad, image, offset_count, 0, batch, shared);
  }

  // Call visit(matrix, row, column) for each neighbour of one pixel that is inside the image. All
  // threads of a block must call this together, those with active = false too: it has barriers.
  template <typename Visit>
  INLINE void for_each_neighbour(bool active, int row, int column, int height, int width,
                                 Visit visit) const {
    for (int first = 0; first < directions(); first += batch) {
      if (!single_pass()) {
        __syncthreads();  // until every thread has used the matrices before
        load_matrices(grad, image, offset_count, first, batch, shared);
      }
      __syncthreads();
      if (!active) continue;
      for (int direction = first; direction < min(first + batch, directions()); ++direction) {
        int neighbour_row = row, neighbour_column = column;
        if (to_neighbour(offsets, direction, height, width, neighbour_row, neighbour_column))
          visit(shared + (direction - first) * kMatrix, neighbour_row, neighbour_column);
      }
    }
  }
};

// Apply the gradient of the softmax and write the gradient of one pixel.
INLINE void store_gradient(const Real* sums, const Real* p, SCALAR* target, long long area) {
#if FROM_LOGITS
  Real dot = 0;
#pragma unroll
  for (int c = 0; c < CLASSES; ++c) dot += p[c] * sums[c];
#pragma unroll
  for (int c = 0; c < CLASSES; ++c) portable::store(target[c * area], p[c] * (sums[c] - dot));
#else
  (void)p;
#pragma unroll
  for (int c = 0; c < CLASSES; ++c) portable::store(target[c * area], sums[c]);
#endif
}

INLINE void store_zeros(SCALAR* target, long long area) {
#pragma unroll
  for (int c = 0; c < CLASSES; ++c) portable::store(target[c * area], Real(0));
}

}  // namespace

KERNEL LAUNCH_BOUNDS(kMaxThreads, kMinBlocksPerSm)
    soft_backward(const SCALAR* __restrict__ scores, const unsigned char* __restrict__ valid,
                  const int* __restrict__ offsets, const Real* __restrict__ grad,
                  SCALAR* __restrict__ result, int height, int width, int offset_count, int batch,
                  int shift, int rows, int top, int bottom, int left, int right) {
  DYNAMIC_SHARED(shared);
  Real* values = reinterpret_cast<Real*>(shared) + batch * kMatrix;
  const Map map{scores, valid, height, width};
  const Tiling tiling{shift, rows, top, bottom, left, right};
  const int image = static_cast<int>(blockIdx.y);
  const Matrices matrices{offsets, grad,         reinterpret_cast<Real*>(shared),
                          image,   offset_count, batch};
  const int tile_size = tiling.tile_size(), pitch = tiling.pitch();
  const int row_in_tile = static_cast<int>(threadIdx.x) >> shift;
  const int column_in_tile = static_cast<int>(threadIdx.x) & (tiling.columns() - 1);
  const int index = (row_in_tile + top) * pitch + column_in_tile + left;
  matrices.load_if_single_pass();

  const int tiles_x = tiling.tiles_x(width);
  const int tiles = tiles_x * tiling.tiles_y(height);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int row0 = tile / tiles_x * rows, column0 = tile % tiles_x << shift;
    __syncthreads();  // until every thread has used the tile before
    load_tile(map, tiling, image, row0, column0, CLASSES, values, tile_size);
    const int row = row0 + row_in_tile, column = column0 + column_in_tile;
    const bool inside = row < height && column < width;
    const bool counts = inside && map.pixel(image, row, column);
    Real sums[CLASSES];
#pragma unroll
    for (int c = 0; c < CLASSES; ++c) sums[c] = 0;

    matrices.for_each_neighbour(
        counts, row, column, height, width,
        [&](const Real* matrix, int neighbour_row, int neighbour_column) {
          if (tiling.near(neighbour_row - row, neighbour_column - column)) {
            // Not via dy and dx: that order of additions costs a spilled register on sm_80 to
            // sm_89.
            const Real* neighbour =
                values + index + (neighbour_row - row) * pitch + neighbour_column - column;
            for (int j = 0; j < CLASSES; ++j) {
              const Real p = neighbour[j * tile_size];
#pragma unroll
              for (int i = 0; i < CLASSES; ++i) sums[i] += matrix[j * kRowStride + i] * p;
            }
          } else {
            const SCALAR* neighbour = map.pixel(image, neighbour_row, neighbour_column);
            if (!neighbour) return;
            const Softmax softmax(neighbour, map.area());
            for (int j = 0; j < CLASSES; ++j) {
              const Real p = softmax.of(neighbour[j * map.area()]);
#pragma unroll
              for (int i = 0; i < CLASSES; ++i) sums[i] += matrix[j * kRowStride + i] * p;
            }
          }
        });
    if (!inside) continue;
    SCALAR* target =
        result + image * CLASSES * map.area() + static_cast<long long>(row) * width + column;
    if (!counts) {
      store_zeros(target, map.area());
      continue;
    }
    Real p[CLASSES];
#pragma unroll
    for (int c = 0; c < CLASSES; ++c) p[c] = values[c * tile_size + index];
    store_gradient(sums, p, target, map.area());
  }
}
EXPORT(soft_backward)

// The class with the largest score, 255 where the pixel is not valid.
KERNEL argmax_labels(const SCALAR* __restrict__ scores, const unsigned char* __restrict__ valid,
                     unsigned char* __restrict__ labels, int height, int width) {
  const Map map{scores, valid, height, width};
  const int image = static_cast<int>(blockIdx.y);
  const long long area = map.area(), stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
       index < area; index += stride) {
    int best = 255;
    if (!valid || valid[image * area + index]) {
      const SCALAR* pixel = scores + image * CLASSES * area + index;
      best = 0;
      Real largest = portable::load(pixel[0]);
      for (int c = 1; c < CLASSES; ++c) {
        const Real value = portable::load(pixel[c * area]);
        // The first of equal scores, and NaN above every number, as in torch.argmax.
        const bool larger = value > largest || (value != value && largest == largest);
        best = larger ? c : best;
        largest = larger ? value : largest;
      }
    }
    labels[image * area + index] = static_cast<unsigned char>(best);
  }
}
EXPORT(argmax_labels)

// Straight-through: p of a neighbour is one-hot, so M p is one row of the stored matrix.
KERNEL LAUNCH_BOUNDS(kMaxThreads, kMinBlocksPerSm)
    straight_backward(const SCALAR* __restrict__ scores, const unsigned char* __restrict__ labels,
                      const int* __restrict__ offsets, const Real* __restrict__ grad,
                      SCALAR* __restrict__ result, int height, int width, int offset_count,
                      int batch) {
  DYNAMIC_SHARED(shared);
  const int image = static_cast<int>(blockIdx.y);
  const Map map{scores, nullptr, height, width};
  const Matrices matrices{offsets, grad,         reinterpret_cast<Real*>(shared),
                          image,   offset_count, batch};
  const long long area = map.area();
  const unsigned char* plane = labels + image * area;
  matrices.load_if_single_pass();

  // All threads of a block make the same number of turns, because a turn has barriers.
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long start = static_cast<long long>(blockIdx.x) * blockDim.x; start < area;
       start += stride) {
    const long long index = start + threadIdx.x;
    const bool inside = index < area;
    const bool counts = inside && plane[index] != 255;
    const int row = inside ? static_cast<int>(index / width) : 0;
    const int column = inside ? static_cast<int>(index % width) : 0;
    Real sums[CLASSES];
#pragma unroll
    for (int c = 0; c < CLASSES; ++c) sums[c] = 0;

    matrices.for_each_neighbour(
        counts, row, column, height, width,
        [&](const Real* matrix, int neighbour_row, int neighbour_column) {
          const int label =
              __ldg(plane + static_cast<long long>(neighbour_row) * width + neighbour_column);
          if (label == 255) return;
          const Real* weights = matrix + label * kRowStride;
#pragma unroll
          for (int i = 0; i < CLASSES; ++i) sums[i] += weights[i];
        });
    if (!inside) continue;
    SCALAR* target = result + image * CLASSES * area + index;
    if (!counts) {
      store_zeros(target, area);
      continue;
    }
    const SCALAR* pixel = scores + image * CLASSES * area + index;
    const Softmax softmax(pixel, area);
    Real p[CLASSES];
#pragma unroll
    for (int c = 0; c < CLASSES; ++c) p[c] = softmax.of(pixel[c * area]);
    store_gradient(sums, p, target, area);
  }
}
EXPORT(straight_backward)
