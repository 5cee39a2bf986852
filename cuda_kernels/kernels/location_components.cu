// Regions of a label map, the parts of their border, and their shafts, as a table of integers.
//
// Compile with -DCONFIDENCE=<unsigned char, portable::Half or float>.
//
// Kernels, in order: location_keys, location_link, location_flatten, location_number,
// location_measure. Three maps ("planes") go through the same steps: the regions, their border
// pixels, and their shaft pixels. Components are 8-connected pixels of one key. A record is the same
// for any order of the threads, but the order of the records is not: the host sorts them by root.
//
// Launch: grid (any, planes), a block of any multiple of 32 threads, no shared memory. A thread goes
// on with further pixels or segments if there are fewer threads. Atomic additions of integers alone,
// one for a run of equal pixels of a segment.
#include "location.cuh"

using namespace location;

namespace {

constexpr int kShaft = 1;  // kinds of a class, beside the group's number in the lookup table
constexpr int kGroupBits = 16;

struct Span {
  long long first, stride;
};

INLINE Span own_span() {
  return {static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x,
          static_cast<long long>(gridDim.x) * blockDim.x};
}

INLINE float stored(unsigned char value) { return portable::load(value); }
INLINE float stored(portable::Half value) { return portable::load(value); }
INLINE float stored(float value) {
  // Location rounds confidences to float16 (docs/location.md, section 4).
  portable::Half half;
  portable::store(half, value);
  return portable::load(half);
}

INLINE long long exact(unsigned char value) { return value; }
template <typename Number>
INLINE long long exact(Number value) {
  return static_cast<long long>(stored(value) * 16777216.0f);  // float16: multiples of 2^-24
}

INLINE bool is_finite(float value) { return (portable::bits_of(value) & 0x7f800000u) != 0x7f800000u; }

}  // namespace

// Writes the keys of the planes and a set of its own for every pixel that has a key. `lookup` has
// the group, from 1, and the kinds of every class; `cleared` gets the labels inside the view.
KERNEL location_keys(const unsigned char* __restrict__ labels, const int* __restrict__ lookup,
                     const double* __restrict__ numbers, unsigned char* __restrict__ cleared,
                     int* __restrict__ keys, int* __restrict__ parents, int* __restrict__ areas,
                     int height, int width, int border, int has_view, int mask_outside) {
  const Places places = places_of(numbers, height, width);
  const int pixels = height * width;
  const int plane = static_cast<int>(blockIdx.y);
  const Span span = own_span();
  for (long long at = span.first; at < pixels; at += span.stride) {
    const int pixel = static_cast<int>(at);
    const int y = pixel / width, x = pixel % width;
    const double from_centre = has_view ? places.view_x[x] + places.view_y[y] : 0.0;
    const bool outside = has_view && mask_outside && from_centre > places.radius_squared;
    const int label = outside ? 0 : labels[pixel];
    const int entry = lookup[label];
    bool counts = true;
    if (plane == 0) cleared[pixel] = static_cast<unsigned char>(label);
    if (plane == 1) {
      counts = x < border || x >= width - border || y < border || y >= height - border ||
               (has_view && from_centre >= places.border_squared);
    }
    if (plane == 2) counts = (entry >> kGroupBits) & kShaft;
    const int key = counts ? entry & ((1 << kGroupBits) - 1) : 0;
    const long long place = static_cast<long long>(plane) * pixels + pixel;
    keys[place] = key;
    parents[place] = key ? pixel : -1;
    areas[place] = 0;
  }
}
EXPORT(location_keys)

// Gives the pixels of split regions the keys of their parts, in both planes, and starts anew.
KERNEL location_rekey(const unsigned long long* __restrict__ owners, int* __restrict__ keys,
                      int* __restrict__ parents, int* __restrict__ areas, int pixels) {
  const Span span = own_span();
  for (long long pixel = span.first; pixel < pixels; pixel += span.stride) {
    const unsigned long long owner = owners[pixel];
    for (int plane = 0; plane < 2; ++plane) {
      const long long place = plane * static_cast<long long>(pixels) + pixel;
      if (keys[place] && owner != ~0ull) keys[place] = static_cast<int>(owner & 0xffffffffull);
      parents[place] = keys[place] ? static_cast<int>(pixel) : -1;
      areas[place] = 0;
    }
  }
}
EXPORT(location_rekey)

// Joins every pixel with those of its eight neighbours that come before it.
KERNEL location_link(const int* __restrict__ keys, int* __restrict__ parents, int height,
                     int width) {
  const int pixels = height * width;
  const int* own = keys + static_cast<long long>(blockIdx.y) * pixels;
  int* sets = parents + static_cast<long long>(blockIdx.y) * pixels;
  const Span span = own_span();
  for (long long at = span.first; at < pixels; at += span.stride) {
    const int pixel = static_cast<int>(at), key = own[pixel];
    if (!key) continue;
    const int y = pixel / width, x = pixel % width;
    const auto same = [&](int dy, int dx) {
      return y + dy >= 0 && x + dx >= 0 && x + dx < width && own[pixel + dy * width + dx] == key;
    };
    // The pixel above touches the three others, and the left one that above it: their own threads
    // join them.
    if (same(-1, 0)) {
      unite(sets, pixel, pixel - width);
      continue;
    }
    if (same(-1, 1)) unite(sets, pixel, pixel - width + 1);
    if (same(0, -1)) {
      unite(sets, pixel, pixel - 1);
    } else if (same(-1, -1)) {
      unite(sets, pixel, pixel - width - 1);
    }
  }
}
EXPORT(location_link)

// Replaces every parent by the root, and counts the pixels of each root.
KERNEL location_flatten(int* __restrict__ parents, int* __restrict__ areas, int height, int width) {
  const long long plane = static_cast<long long>(blockIdx.y) * height * width;
  int* sets = parents + plane;
  const int per_row = (width + kSegment - 1) / kSegment;
  const Span span = own_span();
  for (long long at = span.first; at < static_cast<long long>(height) * per_row;
       at += span.stride) {
    const int y = static_cast<int>(at / per_row), begin = static_cast<int>(at % per_row) * kSegment;
    const int end = min(begin + kSegment, width);
    int root = -1, length = 0;
    for (int x = begin; x < end; ++x) {
      const int pixel = y * width + x;
      int own = -1;
      if (shared_load(sets + pixel) >= 0) {
        own = find(sets, pixel);
        shared_store(sets + pixel, own);
      }
      if (own != root) {
        if (root >= 0) atomicAdd(areas + plane + root, length);
        root = own;
        length = 0;
      }
      ++length;
    }
    if (root >= 0) atomicAdd(areas + plane + root, length);
  }
}
EXPORT(location_flatten)

// Gives a row of the table to every component that counts: to regions and shafts of `least` pixels
// or more, and to parts of the border of such regions. The header counts them, also those beyond
// the table's `capacity`, for which the host makes a larger table.
KERNEL location_number(const int* __restrict__ keys, const int* __restrict__ parents,
                       const int* __restrict__ areas, int* __restrict__ slots,
                       long long* __restrict__ table, int least, int capacity, int pixels) {
  const int plane = static_cast<int>(blockIdx.y);
  const long long first = static_cast<long long>(plane) * pixels;
  const Span span = own_span();
  for (long long at = span.first; at < pixels; at += span.stride) {
    const int pixel = static_cast<int>(at);
    if (parents[first + pixel] != pixel) continue;
    const int region = parents[pixel];
    int slot = -1;
    if (areas[region] >= least && (plane == 1 || areas[first + pixel] >= least)) {
      const int row = static_cast<int>(atomicAdd(
          reinterpret_cast<unsigned long long*>(table + kCount), 1ull));
      if (row < capacity) {
        slot = row + 1;  // row 0 is the header
        long long* record = table + static_cast<long long>(slot) * kFields;
        for (int field = 0; field < kFields; ++field) record[field] = 0;
        record[kRoot] = pixel;
        record[kPlane] = plane;
        record[kKey] = keys[first + pixel];
        record[kRegion] = region;
        record[kPixels] = areas[first + pixel];
        record[kMinX] = pixels;
        record[kMaxX] = record[kMaxY] = -1;
        record[kDeepest] = ordered(-1e300);
      }
    }
    slots[first + pixel] = slot;
  }
}
EXPORT(location_number)

// Adds up what the records say of their pixels: a run of one component in one segment at a time.
KERNEL location_measure(const int* __restrict__ keys, const int* __restrict__ parents,
                        const int* __restrict__ slots, const CONFIDENCE* __restrict__ confidence,
                        const double* __restrict__ numbers, long long* __restrict__ table,
                        int height, int width, int has_view) {
  const Places places = places_of(numbers, height, width);
  const int plane = static_cast<int>(blockIdx.y), pixels = height * width;
  const long long first = static_cast<long long>(plane) * pixels;
  const int per_row = (width + kSegment - 1) / kSegment;
  const Span span = own_span();
  for (long long at = span.first; at < static_cast<long long>(height) * per_row;
       at += span.stride) {
    const int y = static_cast<int>(at / per_row);
    const int begin = static_cast<int>(at % per_row) * kSegment;
    const int end = min(begin + kSegment, width);
    for (int x = begin; x < end;) {
      const int root = parents[first + y * width + x];
      const int slot = root < 0 ? -1 : slots[first + root];
      const int start = x;
      long long on_border = 0, sum = 0;
      double deepest = -1e300;
      for (; x < end && parents[first + y * width + x] == root; ++x) {
        const int pixel = y * width + x;
        if (plane == 0 && confidence) {
          if (!is_finite(stored(confidence[pixel])))
            shared_store(table + kNotFinite, 1ll);
          else
            sum += exact(confidence[pixel]);
        }
        if (plane != 1) on_border += keys[pixels + pixel] != 0;
        if (plane == 0 && slot >= 0) {
          double depth = min(places.depth_x[x], places.depth_y[y]);
          if (has_view)
            depth = min(depth, places.radius - root_of(places.view_x[x] + places.view_y[y]));
          deepest = max(deepest, depth);
        }
      }
      if (slot < 0) continue;
      // Sums of x and of x squared over start..x-1, and of y and y squared.
      const long long n = x - start, from = start, to = x;
      const long long sum_x = (from + to - 1) * n / 2;
      long long* record = table + static_cast<long long>(slot) * kFields;
      add(record + kSumX, sum_x);
      add(record + kSumY, n * y);
      if (plane == 1) continue;
      add(record + kBorderPixels, on_border);
      if (plane == 2) continue;
      add(record + kSumXX, ((to - 1) * to * (2 * to - 1) - (from - 1) * from * (2 * from - 1)) / 6);
      add(record + kSumXY, sum_x * y);
      add(record + kSumYY, n * y * y);
      add(record + kConfidence, sum);
      atomicMin(record + kMinX, from);
      atomicMax(record + kMaxX, to - 1);
      atomicMax(record + kMaxY, static_cast<long long>(y));
      atomicMax(record + kDeepest, ordered(deepest));
    }
  }
}
EXPORT(location_measure)
