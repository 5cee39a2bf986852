// Entropy of co-occurrence matrices and its gradient.
//
// Compile with -DCOUNT=<int, float or double>; sums are in float, or in double for double.
//
// Launch: grid (offsets, images), block of 256 threads (any multiple of 32), shared memory
// sizeof(Real) * warps bytes, one sum per warp.
//
// With P = G / S, where G is made symmetric first if asked, and L the logarithm of max(P, 1e-8):
//   E = -sum P L        dE/dG[a, b] = (h[a, b] - sum P h) / S,  h = -L - [P > 1e-8]
#include "portable.cuh"

using portable::warp_sum;

namespace {

template <typename Count>
struct Sum {
  using Type = float;
};
template <>
struct Sum<double> {
  using Type = double;
};
using Real = Sum<COUNT>::Type;

INLINE Real entry(const COUNT* matrix, int side, int symmetric, int cell) {
  const Real value = static_cast<Real>(matrix[cell]);
  return symmetric ? value + static_cast<Real>(matrix[cell % side * side + cell / side]) : value;
}

INLINE Real log_of(Real p) { return portable::logarithm(p > Real(1e-8) ? p : Real(1e-8)); }

INLINE Real slope(Real p) { return -log_of(p) - (p > Real(1e-8) ? Real(1) : Real(0)); }

// Sum over the block: every thread gets it, and the order of the additions is fixed.
INLINE Real block_sum(Real value, Real* sums) {
  const int warps = static_cast<int>(blockDim.x) / 32;
  value = warp_sum(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  Real total = 0;
  for (int warp = 0; warp < warps; ++warp) total += sums[warp];
  return total;
}

}  // namespace

KERNEL entropy_forward(const COUNT* __restrict__ counts, Real* __restrict__ entropies, int side,
                       int symmetric) {
  DYNAMIC_SHARED(shared);
  Real* sums = reinterpret_cast<Real*>(shared);
  const int cells = side * side;
  const int index = static_cast<int>(blockIdx.y * gridDim.x + blockIdx.x);
  const COUNT* matrix = counts + static_cast<long long>(index) * cells;
  Real sum = 0;
  for (int cell = threadIdx.x; cell < cells; cell += blockDim.x)
    sum += entry(matrix, side, symmetric, cell);
  const Real total = block_sum(sum, sums);
  Real entropy = 0;
  if (!(total <= 0)) {  // true for NaN, so that a NaN reaches the result
    for (int cell = threadIdx.x; cell < cells; cell += blockDim.x) {
      const Real p = entry(matrix, side, symmetric, cell) / total;
      entropy -= p * log_of(p);
    }
  }
  entropy = block_sum(entropy, sums);
  if (threadIdx.x == 0) entropies[index] = entropy;
}
EXPORT(entropy_forward)

// grad: [images], the gradient of the mean over the offsets; result: [images, offsets, side, side].
KERNEL entropy_backward(const COUNT* __restrict__ counts, const Real* __restrict__ grad,
                        Real* __restrict__ result, int side, int symmetric) {
  DYNAMIC_SHARED(shared);
  Real* sums = reinterpret_cast<Real*>(shared);
  const int cells = side * side;
  const long long start = static_cast<long long>(blockIdx.y * gridDim.x + blockIdx.x) * cells;
  const COUNT* matrix = counts + start;
  Real sum = 0;
  for (int cell = threadIdx.x; cell < cells; cell += blockDim.x)
    sum += entry(matrix, side, symmetric, cell);
  const Real total = block_sum(sum, sums);
  const Real scale = total > 0 ? Real(1) / total : Real(0);
  Real product = 0;
  for (int cell = threadIdx.x; cell < cells; cell += blockDim.x) {
    const Real p = entry(matrix, side, symmetric, cell) * scale;
    product += p * slope(p);
  }
  const Real mean = block_sum(product, sums);
  const Real factor =
      grad[blockIdx.y] * scale * (symmetric ? Real(2) : Real(1)) / static_cast<Real>(gridDim.x);
  for (int cell = threadIdx.x; cell < cells; cell += blockDim.x) {
    const Real p = entry(matrix, side, symmetric, cell) * scale;
    result[start + cell] = total > 0 ? factor * (slope(p) - mean) : Real(0);
  }
}
EXPORT(entropy_backward)
