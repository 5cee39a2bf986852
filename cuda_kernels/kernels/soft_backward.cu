// Gradients of the co-occurrence of class probabilities, back to the probabilities or logits.
//
// Compile flags: see tile.cuh. With M the gradient of G of one offset d,
//   dp(x) = sum over d of M p(x + d) + M^T p(x - d),   dz = p (dp - <p, dp>) for logits z.
// Every pixel gathers its own gradient: no atomics, and p is computed again instead of stored.
// An offset has two arms, forth (M) and back (M^T). Shared memory holds the matrices of `batch`
// arms at a time, stored so that the class of the gradient runs fastest.
#include "tile.cuh"

namespace {

// An odd step between the rows of the matrices sends different labels to different banks.
constexpr int kStep = CLASSES | 1;
constexpr int kMatrix = CLASSES * kStep;
// Blocks that a multiprocessor should hold at once: what the registers of the sums leave room for.
constexpr int kResident = sizeof(Real) == 4 && CLASSES <= 16 ? 4 : 1;

// matrices[arm][j][i] = what class j of the partner adds to the gradient of class i.
INLINE void load_matrices(const Real* grad, int image, int offset_count, int first, int batch,
                          Real* matrices) {
  const int cells = CLASSES * CLASSES;
  for (int cell = threadIdx.x; cell < batch * cells; cell += blockDim.x) {
    const int arm = first + cell / cells;
    if (arm >= 2 * offset_count) break;
    const int row = cell % cells / CLASSES, column = cell % CLASSES;
    const Real value = grad[(static_cast<long long>(image) * offset_count + arm / 2) * cells +
                            row * CLASSES + column];
    Real* matrix = matrices + cell / cells * kMatrix;
    if (arm % 2 == 0) {
      matrix[column * kStep + row] = value;  // forth: dp_i += M[i][j] p_j(x + d)
    } else {
      matrix[row * kStep + column] = value;  // back: dp_j += M[i][j] p_i(x - d)
    }
  }
}

// The partner's place for one arm; false where it is outside. Offsets may be of any size.
INLINE bool partner_of(const int* offsets, int arm, int height, int width, int& y, int& x) {
  const int sign = arm % 2 == 0 ? 1 : -1;
  const int dy = sign * offsets[arm / 2 * 2], dx = sign * offsets[arm / 2 * 2 + 1];
  if (dy >= height - y || dy < -y || dx >= width - x || dx < -x) return false;
  y += dy;
  x += dx;
  return true;
}

// Undo the softmax and write the gradient of one pixel.
INLINE void store(Real* sums, const Real* p, SCALAR* target, long long area) {
#if FROM_LOGITS
  Real dot = 0;
#pragma unroll
  for (int c = 0; c < CLASSES; ++c) dot += p[c] * sums[c];
#pragma unroll
  for (int c = 0; c < CLASSES; ++c) portable::narrow(target[c * area], p[c] * (sums[c] - dot));
#else
  (void)p;
#pragma unroll
  for (int c = 0; c < CLASSES; ++c) portable::narrow(target[c * area], sums[c]);
#endif
}

}  // namespace

// Launch: grid (shares of the tiles, images); a tile has as many pixels as the block has threads.
KERNEL LAUNCH_BOUNDS(256, kResident)
    soft_backward(const SCALAR* __restrict__ x, const unsigned char* __restrict__ valid,
                  const int* __restrict__ offsets, const Real* __restrict__ grad,
                  SCALAR* __restrict__ result, int height, int width, int offset_count, int batch,
                  int shift, int rows, int top, int bottom, int left, int right) {
  DYNAMIC_SHARED(shared);
  Real* matrices = reinterpret_cast<Real*>(shared);
  Real* values = matrices + batch * kMatrix;
  const Map map{x, valid, height, width};
  const Tiling tiling{shift, rows, top, bottom, left, right};
  const int image = static_cast<int>(blockIdx.y);
  const int held = tiling.held(), pitch = tiling.pitch();
  const int own_y = static_cast<int>(threadIdx.x) >> shift;
  const int own_x = static_cast<int>(threadIdx.x) & (tiling.columns() - 1);
  const int place = (own_y + top) * pitch + own_x + left;
  const int arms = 2 * offset_count;
  const bool once = arms <= batch;
  if (once) load_matrices(grad, image, offset_count, 0, batch, matrices);

  const int across = tiling.across(width);
  const int tiles = across * tiling.down(height);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int y0 = tile / across * rows, x0 = tile % across << shift;
    __syncthreads();  // nobody still reads the tile before
    load_tile(map, tiling, image, y0, x0, CLASSES, values, tiling.held());
    const int y = y0 + own_y, x_ = x0 + own_x;
    const bool inside = y < height && x_ < width;
    const SCALAR* own = inside ? map.pixel(image, y, x_) : nullptr;
    Real sums[CLASSES];
#pragma unroll
    for (int c = 0; c < CLASSES; ++c) sums[c] = 0;

    for (int first = 0; first < arms; first += batch) {
      if (!once) {
        __syncthreads();  // nobody still reads the matrices before
        load_matrices(grad, image, offset_count, first, batch, matrices);
      }
      __syncthreads();
      if (!own) continue;
      for (int arm = first; arm < min(first + batch, arms); ++arm) {
        int there_y = y, there_x = x_;
        if (!partner_of(offsets, arm, height, width, there_y, there_x)) continue;
        const Real* matrix = matrices + (arm - first) * kMatrix;
        if (tiling.near(there_y - y, there_x - x_)) {
          const Real* partner = values + place + (there_y - y) * pitch + there_x - x_;
          for (int j = 0; j < CLASSES; ++j) {
            const Real p = partner[j * held];
#pragma unroll
            for (int i = 0; i < CLASSES; ++i) sums[i] += matrix[j * kStep + i] * p;
          }
        } else {
          const SCALAR* far = map.pixel(image, there_y, there_x);
          if (!far) continue;
          const Softmax softmax(far, map.area());
          for (int j = 0; j < CLASSES; ++j) {
            const Real p = softmax.of(far[j * map.area()]);
#pragma unroll
            for (int i = 0; i < CLASSES; ++i) sums[i] += matrix[j * kStep + i] * p;
          }
        }
      }
    }
    if (!inside) continue;
    SCALAR* target = result + image * CLASSES * map.area() + static_cast<long long>(y) * width + x_;
    Real p[CLASSES];
#pragma unroll
    for (int c = 0; c < CLASSES; ++c) p[c] = values[c * held + place];  // 0 where not valid
    if (!own) {
#pragma unroll
      for (int c = 0; c < CLASSES; ++c) portable::narrow(target[c * map.area()], Real(0));
    } else {
      store(sums, p, target, map.area());
    }
  }
}
EXPORT(soft_backward)

// The class of largest score, 255 where not valid; grid (shares of the pixels, images).
KERNEL argmax_labels(const SCALAR* __restrict__ x, const unsigned char* __restrict__ valid,
                     unsigned char* __restrict__ labels, int height, int width) {
  const Map map{x, valid, height, width};
  const int image = static_cast<int>(blockIdx.y);
  const long long area = map.area(), stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long place = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
       place < area; place += stride) {
    int best = 255;
    if (!valid || valid[image * area + place]) {
      const SCALAR* pixel = x + image * CLASSES * area + place;
      best = 0;
      Real largest = portable::widened(pixel[0]);
      for (int c = 1; c < CLASSES; ++c) {
        const Real value = portable::widened(pixel[c * area]);
        // The first of equals, and a NaN above all, as torch.argmax has it.
        const bool more = value > largest || (value != value && largest == largest);
        best = more ? c : best;
        largest = more ? value : largest;
      }
    }
    labels[image * area + place] = static_cast<unsigned char>(best);
  }
}
EXPORT(argmax_labels)

// Straight-through: p of the partners is one-hot, so a matrix product is the look-up of a row.
// Launch: grid (shares of the pixels, images); the loop over pixels is the same for all threads.
KERNEL LAUNCH_BOUNDS(256, kResident)
    straight_backward(const SCALAR* __restrict__ x, const unsigned char* __restrict__ labels,
                      const int* __restrict__ offsets, const Real* __restrict__ grad,
                      SCALAR* __restrict__ result, int height, int width, int offset_count,
                      int batch) {
  DYNAMIC_SHARED(shared);
  Real* matrices = reinterpret_cast<Real*>(shared);
  const int image = static_cast<int>(blockIdx.y);
  const Map map{x, nullptr, height, width};
  const long long area = map.area();
  const unsigned char* plane = labels + image * area;
  const int arms = 2 * offset_count;
  const bool once = arms <= batch;
  if (once) load_matrices(grad, image, offset_count, 0, batch, matrices);

  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long start = static_cast<long long>(blockIdx.x) * blockDim.x; start < area;
       start += stride) {
    const long long place = start + threadIdx.x;
    const bool inside = place < area;
    const bool counts = inside && plane[place] != 255;
    const int y = inside ? static_cast<int>(place / width) : 0;
    const int x_ = inside ? static_cast<int>(place % width) : 0;
    Real sums[CLASSES];
#pragma unroll
    for (int c = 0; c < CLASSES; ++c) sums[c] = 0;
    for (int first = 0; first < arms; first += batch) {
      if (!once) {
        __syncthreads();  // nobody still reads the matrices before
        load_matrices(grad, image, offset_count, first, batch, matrices);
      }
      __syncthreads();
      if (!counts) continue;
      for (int arm = first; arm < min(first + batch, arms); ++arm) {
        int there_y = y, there_x = x_;
        if (!partner_of(offsets, arm, height, width, there_y, there_x)) continue;
        const int label = __ldg(plane + static_cast<long long>(there_y) * width + there_x);
        if (label == 255) continue;
        const Real* row = matrices + (arm - first) * kMatrix + label * kStep;
#pragma unroll
        for (int i = 0; i < CLASSES; ++i) sums[i] += row[i];
      }
    }
    if (!inside) continue;
    SCALAR* target = result + image * CLASSES * area + place;
    if (!counts) {
#pragma unroll
      for (int c = 0; c < CLASSES; ++c) portable::narrow(target[c * area], Real(0));
      continue;
    }
    const SCALAR* pixel = x + image * CLASSES * area + place;
    const Softmax softmax(pixel, area);
    Real p[CLASSES];
#pragma unroll
    for (int c = 0; c < CLASSES; ++c) p[c] = softmax.of(pixel[c * area]);
    store(sums, p, target, area);
  }
}
EXPORT(straight_backward)
