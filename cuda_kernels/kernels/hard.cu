// Co-occurrence of integer labels: counts[image, offset, a, b] over all pairs inside the image.
//
// Compile with -DLABEL=<integer type>. Integers are summed, so the result is the same in any order.
//
// Launch: grid (parts of the image, slices of the matrices, images), block of 256 threads (any
// multiple of 32), shared memory 4 * copies * offsets_per_slice * rows * level_count bytes, at most
// 48 KiB. A slice is `rows` rows of the matrices of `offsets_per_slice` offsets, as many as fit
// into shared memory. It exists in `copies` copies, so that neighbouring warps add to different
// copies.
//
// A thread processes runs of 16 pixels of one row: one vector load per run, and one atomic addition
// for every change of the bin within the run. Neighbouring labels are mostly equal, so changes are
// rare.
#include "portable.cuh"

namespace {

constexpr int kRun = 16;

struct Levels {
  int count;
  int has_ignored;
  long long ignored;
};

// The level of a label, or -1 if its pixel belongs to no pair.
INLINE int level_of(LABEL label, const Levels& levels) {
  const long long value = static_cast<long long>(label);
  const bool inside = value >= 0 && value < levels.count;
  return inside && !(levels.has_ignored && value == levels.ignored) ? static_cast<int>(value) : -1;
}

// Load a run of labels, as vectors if the address is aligned. Only the first `valid` are read.
INLINE void load_run(const LABEL* source, int valid, LABEL* run) {
  if (valid == kRun && reinterpret_cast<unsigned long long>(source) % 16 == 0) {
    union {
      portable::Vector16 vectors[kRun * sizeof(LABEL) / 16];
      LABEL labels[kRun];
    } loaded;
#pragma unroll
    for (int part = 0; part < static_cast<int>(kRun * sizeof(LABEL) / 16); ++part)
      loaded.vectors[part] = reinterpret_cast<const portable::Vector16*>(source)[part];
#pragma unroll
    for (int index = 0; index < kRun; ++index) run[index] = loaded.labels[index];
  } else {
#pragma unroll
    for (int index = 0; index < kRun; ++index)
      run[index] = index < valid ? source[index] : static_cast<LABEL>(0);
  }
}

}  // namespace

KERNEL hard_counts(const LABEL* __restrict__ labels, const int* __restrict__ offsets,
                   int* __restrict__ counts, int height, int width, int offset_count,
                   int level_count, int has_ignored, long long ignored, int rows,
                   int offsets_per_slice, int copies) {
  DYNAMIC_SHARED(shared);
  int* histogram = reinterpret_cast<int*>(shared);
  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  const int image = static_cast<int>(blockIdx.z);
  const Levels levels{level_count, has_ignored, ignored};

  const int bands = (level_count + rows - 1) / rows;
  const int first_row = static_cast<int>(blockIdx.y) % bands * rows;
  const int first_offset = static_cast<int>(blockIdx.y) / bands * offsets_per_slice;
  const int slice_offsets = min(offsets_per_slice, offset_count - first_offset);
  const int bins = offsets_per_slice * rows * level_count;

  for (int bin = thread; bin < bins * copies; bin += threads) histogram[bin] = 0;
  __syncthreads();

  int* copy_of_warp = histogram + thread / 32 % copies * bins;
  const LABEL* plane = labels + static_cast<long long>(image) * height * width;
  const int runs_per_row = (width + kRun - 1) / kRun;
  const long long runs = static_cast<long long>(height) * runs_per_row;
  const long long stride = static_cast<long long>(gridDim.x) * threads;
  for (long long run = static_cast<long long>(blockIdx.x) * threads + thread; run < runs;
       run += stride) {
    const int y = static_cast<int>(run / runs_per_row);
    const int x = static_cast<int>(run % runs_per_row) * kRun;
    LABEL loaded[kRun];
    load_run(plane + static_cast<long long>(y) * width + x, min(kRun, width - x), loaded);
    int first[kRun];
#pragma unroll
    for (int index = 0; index < kRun; ++index) {
      const int level = x + index < width ? level_of(loaded[index], levels) - first_row : -1;
      first[index] = level < rows ? level : -1;
    }
    for (int offset = 0; offset < slice_offsets; ++offset) {
      const int dy = offsets[2 * (first_offset + offset)];
      const int dx = offsets[2 * (first_offset + offset) + 1];
      // Compare before adding: an offset may have any size, and the sum could overflow.
      if (dy >= height - y || dy < -y) continue;
      const LABEL* neighbours = plane + static_cast<long long>(y + dy) * width;
      int* matrix = copy_of_warp + offset * rows * level_count;
      int bin = -1, length = 0;
#pragma unroll
      for (int index = 0; index < kRun; ++index) {
        const int column = x + index;
        if (first[index] < 0 || dx >= width - column || dx < -column) continue;
        const int second = level_of(__ldg(neighbours + column + dx), levels);
        if (second < 0) continue;
        const int pair = first[index] * level_count + second;
        if (pair != bin) {
          if (length) atomicAdd(matrix + bin, length);
          bin = pair;
          length = 0;
        }
        ++length;
      }
      if (length) atomicAdd(matrix + bin, length);
    }
  }
  __syncthreads();

  const int slice_rows = min(rows, level_count - first_row);
  for (int bin = thread; bin < slice_offsets * rows * level_count; bin += threads) {
    const int offset = bin / (rows * level_count);
    const int row = bin / level_count % rows;
    if (row >= slice_rows) continue;
    int total = 0;
    for (int copy = 0; copy < copies; ++copy) total += histogram[copy * bins + bin];
    if (total == 0) continue;
    const long long matrix = static_cast<long long>(image) * offset_count + first_offset + offset;
    atomicAdd(counts + (matrix * level_count + first_row + row) * level_count + bin % level_count,
              total);
  }
}
EXPORT(hard_counts)
