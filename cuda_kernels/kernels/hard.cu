// Co-occurrence of integer labels: counts[image, offset, a, b] over all pairs inside the image.
//
// Compile with -DLABEL=<integer type>. Integers are summed, so the result is the same in any order.
//
// Launch: grid (shares of the image, slices of the matrices, images), any number of whole warps.
// A slice is `rows` rows of the matrices of `offsets_per_slice` offsets: what fits into shared
// memory, in `copies` copies that neighbouring warps use in turn.
// Each thread takes runs of 16 pixels of one row: one vector load, and one atomic for every change
// of the bin within the run, which is rare in label maps.
#include "portable.cuh"

namespace {

constexpr int kRun = 16;

struct Levels {
  int count;
  int has_ignored;
  long long ignored;
};

// A level, or -1 for what belongs to no pair.
INLINE int level_of(LABEL label, const Levels& levels) {
  const long long value = static_cast<long long>(label);
  const bool inside = value >= 0 && value < levels.count;
  return inside && !(levels.has_ignored && value == levels.ignored) ? static_cast<int>(value) : -1;
}

// Loads 16 labels from an address, as vectors where it is aligned; `valid` of them are there.
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
    for (int place = 0; place < kRun; ++place) run[place] = loaded.labels[place];
  } else {
#pragma unroll
    for (int place = 0; place < kRun; ++place) run[place] = place < valid ? source[place] : static_cast<LABEL>(0);
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
  const int self = static_cast<int>(threadIdx.x);
  const int image = static_cast<int>(blockIdx.z);
  const Levels levels{level_count, has_ignored, ignored};

  const int bands = (level_count + rows - 1) / rows;
  const int first_row = static_cast<int>(blockIdx.y) % bands * rows;
  const int first_offset = static_cast<int>(blockIdx.y) / bands * offsets_per_slice;
  const int own_offsets = min(offsets_per_slice, offset_count - first_offset);
  const int bins = offsets_per_slice * rows * level_count;

  for (int bin = self; bin < bins * copies; bin += threads) histogram[bin] = 0;
  __syncthreads();

  int* own = histogram + self / 32 % copies * bins;
  const LABEL* plane = labels + static_cast<long long>(image) * height * width;
  const int runs_per_row = (width + kRun - 1) / kRun;
  const long long runs = static_cast<long long>(height) * runs_per_row;
  const long long stride = static_cast<long long>(gridDim.x) * threads;
  for (long long run = static_cast<long long>(blockIdx.x) * threads + self; run < runs;
       run += stride) {
    const int y = static_cast<int>(run / runs_per_row);
    const int x = static_cast<int>(run % runs_per_row) * kRun;
    LABEL loaded[kRun];
    load_run(plane + static_cast<long long>(y) * width + x, min(kRun, width - x), loaded);
    int first[kRun];
#pragma unroll
    for (int place = 0; place < kRun; ++place) {
      const int level = x + place < width ? level_of(loaded[place], levels) - first_row : -1;
      first[place] = level < rows ? level : -1;
    }
    for (int position = 0; position < own_offsets; ++position) {
      const int dy = offsets[2 * (first_offset + position)];
      const int dx = offsets[2 * (first_offset + position) + 1];
      // Offsets may be of any size: compare before adding, nothing overflows.
      if (dy >= height - y || dy < -y) continue;
      const LABEL* partners = plane + static_cast<long long>(y + dy) * width;
      int* matrix = own + position * rows * level_count;
      int bin = -1, length = 0;
#pragma unroll
      for (int place = 0; place < kRun; ++place) {
        const int column = x + place;
        if (first[place] < 0 || dx >= width - column || dx < -column) continue;
        const int second = level_of(__ldg(partners + column + dx), levels);
        if (second < 0) continue;
        const int found = first[place] * level_count + second;
        if (found != bin) {
          if (length) atomicAdd(matrix + bin, length);
          bin = found;
          length = 0;
        }
        ++length;
      }
      if (length) atomicAdd(matrix + bin, length);
    }
  }
  __syncthreads();

  const int own_rows = min(rows, level_count - first_row);
  for (int bin = self; bin < own_offsets * rows * level_count; bin += threads) {
    const int position = bin / (rows * level_count);
    const int row = bin / level_count % rows;
    if (row >= own_rows) continue;
    int total = 0;
    for (int copy = 0; copy < copies; ++copy) total += histogram[copy * bins + bin];
    if (total == 0) continue;
    const long long matrix = static_cast<long long>(image) * offset_count + first_offset + position;
    atomicAdd(counts + (matrix * level_count + first_row + row) * level_count + bin % level_count,
              total);
  }
}
EXPORT(hard_counts)
