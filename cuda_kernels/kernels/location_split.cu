// Splits regions that several shafts enter among these shafts (docs/location.md, section 3).
//
// Launch: one block for each region, of any multiple of 32 threads, 16 bytes of shared memory.
//
// A breadth-first search in rounds. `owners` has the round in its upper half and the key of the part
// in its lower half, so the smallest value is the right one: the earliest round, and of one round
// the smallest key. Every pixel enters the queue once, so the work of a region is linear in its
// pixels. The order in the queue depends on the threads, the result does not.
#include "location.cuh"

using namespace location;

// Columns of a request, a row of 64-bit integers for each region.
enum Request { kOfRegion, kTop, kLeft, kBottom, kRight, kQueue, kFirstSeed, kSeeds, kRequest };

// `seeds` has the root of a shaft and the key of its part in each row, in order of the roots.
KERNEL location_split(const int* __restrict__ parents, const long long* __restrict__ requests,
                      const long long* __restrict__ seeds, unsigned long long* __restrict__ owners,
                      int* __restrict__ queues, int height, int width) {
  DYNAMIC_SHARED(shared);
  int* count = reinterpret_cast<int*>(shared);
  const long long* request = requests + static_cast<long long>(blockIdx.x) * kRequest;
  const long long pixels = static_cast<long long>(height) * width;
  const int* shafts = parents + 2 * pixels;
  const int region = static_cast<int>(request[kOfRegion]);
  const int top = static_cast<int>(request[kTop]), left = static_cast<int>(request[kLeft]);
  const int rows = static_cast<int>(request[kBottom]) - top;
  const int columns = static_cast<int>(request[kRight]) - left;
  const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  int* queue = queues + request[kQueue];

  if (thread == 0) *count = 0;
  __syncthreads();
  for (int at = thread; at < rows * columns; at += threads) {
    const int pixel = (top + at / columns) * width + left + at % columns;
    if (parents[pixel] != region || shafts[pixel] < 0) continue;
    for (long long s = request[kFirstSeed]; s < request[kFirstSeed] + request[kSeeds]; ++s) {
      if (seeds[2 * s] != shafts[pixel]) continue;
      owners[pixel] = static_cast<unsigned long long>(seeds[2 * s + 1]);
      queue[atomicAdd(count, 1)] = pixel;
    }
  }
  int begin = 0;
  for (unsigned long long round = 1;; ++round) {
    __syncthreads();
    const int end = *count;
    __syncthreads();
    if (begin == end) break;
    for (int at = begin + thread; at < end; at += threads) {
      const int pixel = queue[at], y = pixel / width, x = pixel % width;
      const unsigned long long key = shared_load(owners + pixel) & 0xffffffffull;
      for (int dy = -1; dy <= 1; ++dy) {
        for (int dx = -1; dx <= 1; ++dx) {
          if (y + dy < 0 || y + dy >= height || x + dx < 0 || x + dx >= width) continue;
          const int next = pixel + dy * width + dx;
          if (parents[next] != region) continue;
          if (atomicMin(owners + next, round << 32 | key) == ~0ull)
            queue[atomicAdd(count, 1)] = next;
        }
      }
    }
    begin = end;
  }
}
EXPORT(location_split)
