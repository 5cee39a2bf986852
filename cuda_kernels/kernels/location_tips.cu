// Start and tips of instruments (docs/location.md, sections 5 and 6).
//
// Launch: one block for each instrument, of any multiple of 32 threads, sizeof(Shared) bytes of
// shared memory: 128.
//
// A block goes through the box of its instrument, then only through the members: the candidates near
// the farthest one. Circles cut them into parts: the members outside a circle are those outside a
// larger one and some more, so the union-find of one circle goes on at the next. Without open jaws a
// breadth-first search finds the geodesic end. The results are integers, and the start.
#include "location.cuh"

using namespace location;

namespace {

constexpr int kTip = 2, kElseTip = 4, kGroupBits = 16;
constexpr int kMinTips = 4, kMinJaw = 4, kCircles = 8;

// Columns of a request, a row of doubles for each instrument.
enum Request {
  kTop, kLeft, kBottom, kRight,
  kQueue,      // place of its pixels in the queues
  kEntry,      // root of the border part that is its entry, -1 for none
  kKinds,      // kinds of tip parts that its group has
  kHasStart,   // 1: the start is known, 0: it is the outer end of the axis
  kStartX, kStartY,
  kAxisX, kAxisY,
  kCentreX, kCentreY,
  kArea, kUnit,
  kFragments,  // 1: it was joined of several
  kRequest
};

// Columns of a result, a row of 64-bit integers for each instrument. A tip is the number of pixels
// and the sums of their columns and rows.
enum Result { kTips, kFirstTip, kSecondTip = 4, kFromX = 7, kFromY, kResult };

struct Shared {
  long long low, high;
  long long sums[6];
  int first_low, first_high, members, frontier, tips, else_tips, zone, reached;
};

// The maps that all instruments share; they have no pixel in common.
struct Maps {
  const unsigned char* labels;
  const int* lookup;
  const int* parents;
  const int* borders;
  const int* owners;  // at a root: number of the instrument * 256 + of the fragment, -1 for none
  int* tags;          // (number of the instrument + 1) * 16 + first circle that a member is outside
  int* sets;
  int* sizes;
  long long* reaches;
  int* marks;  // jaw of a member, then the round of the search that reached it
  int height, width;
};

struct Point {
  double x, y;
};

INLINE double square(const Point& a, const Point& b) {
  const double dx = a.x - b.x, dy = a.y - b.y;
  return times(dx, dx) + times(dy, dy);
}

INLINE int owner_of(const Maps& maps, int pixel) {
  const int root = maps.parents[pixel];
  return root < 0 ? -1 : maps.owners[root];
}

struct Box {
  int top, left, columns, places;
};

INLINE Box box_of(const double* request) {
  const int top = static_cast<int>(request[kTop]), left = static_cast<int>(request[kLeft]);
  const int columns = static_cast<int>(request[kRight]) - left;
  return {top, left, columns, (static_cast<int>(request[kBottom]) - top) * columns};
}

// Calls `visit` with every pixel of an instrument and its fragment, in raster order for a thread.
template <typename Visit>
INLINE void each_pixel(const Maps& maps, const Box& box, int own, const Visit& visit) {
  for (int at = static_cast<int>(threadIdx.x); at < box.places;
       at += static_cast<int>(blockDim.x)) {
    const int pixel =
        (box.top + at / box.columns) * maps.width + box.left + at % box.columns;
    const int owner = owner_of(maps, pixel);
    if (owner >= 0 && owner / 256 == own) visit(pixel, owner % 256);
  }
}

// Calls `visit` with every member and the first circle that it is outside of.
template <typename Visit>
INLINE void each_member(const Maps& maps, const int* members, int count, const Visit& visit) {
  for (int at = static_cast<int>(threadIdx.x); at < count; at += static_cast<int>(blockDim.x))
    visit(members[at], shared_load(maps.tags + members[at]) % 16);
}

// Calls `visit` with the neighbours of a pixel that are members outside of circle `most` or nearer.
template <typename Visit>
INLINE void each_member_beside(const Maps& maps, int pixel, int tag, int most, bool diagonal,
                               const Visit& visit) {
  const int y = pixel / maps.width, x = pixel % maps.width;
  for (int dy = -1; dy <= 1; ++dy) {
    for (int dx = -1; dx <= 1; ++dx) {
      if ((dy == 0 && dx == 0) || (!diagonal && dy != 0 && dx != 0)) continue;
      if (y + dy < 0 || y + dy >= maps.height || x + dx < 0 || x + dx >= maps.width) continue;
      const int next = pixel + dy * maps.width + dx;
      const int other = shared_load(maps.tags + next);
      if (other / 16 == tag && other % 16 <= most) visit(next);
    }
  }
}

}  // namespace

KERNEL location_tips(const unsigned char* __restrict__ labels, const int* __restrict__ lookup,
                     const double* __restrict__ numbers, const int* __restrict__ parents,
                     const int* __restrict__ owners, const double* __restrict__ requests,
                     int* __restrict__ tags, int* __restrict__ sets, int* __restrict__ sizes,
                     long long* __restrict__ reaches, int* __restrict__ marks,
                     int* __restrict__ queues, int* __restrict__ frontiers,
                     long long* __restrict__ results, int height, int width) {
  DYNAMIC_SHARED(memory);
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const long long pixels = static_cast<long long>(height) * width;
  const Maps maps{labels, lookup, parents, parents + pixels, owners, tags,
                  sets,   sizes,  reaches, marks,            height, width};
  const Places places = places_of(numbers, height, width);
  const int own = static_cast<int>(blockIdx.x), tag = own + 1;
  const double* request = requests + static_cast<long long>(own) * kRequest;
  long long* result = results + static_cast<long long>(own) * kResult;
  const int thread = static_cast<int>(threadIdx.x);
  const Box box = box_of(request);
  const long long queue_at = static_cast<long long>(request[kQueue]);
  int* members = queues + queue_at;
  int* frontier = frontiers + queue_at;

  const auto point_of = [&](int pixel) {
    return Point{places.x[pixel % width], places.y[pixel / width]};
  };
  const auto kinds_of = [&](int pixel) { return lookup[labels[pixel]] >> kGroupBits; };

  if (thread == 0) {
    shared.low = 0x7fffffffffffffffLL;
    shared.high = -0x7fffffffffffffffLL;
    for (long long& sum : shared.sums) sum = 0;
    shared.first_low = shared.first_high = 0x7fffffff;
    shared.members = shared.frontier = shared.tips = shared.else_tips = 0;
    shared.zone = shared.reached = 0;
    for (int column = 0; column < kResult; ++column) result[column] = 0;
  }
  __syncthreads();

  // The start: the entry, or the end of the axis that is farther from the centre of the view.
  Point start{request[kStartX], request[kStartY]};
  if (request[kHasStart] == 0.0) {
    long long low = 0x7fffffffffffffffLL, high = -0x7fffffffffffffffLL;
    int first_low = 0x7fffffff, first_high = 0x7fffffff;
    each_pixel(maps, box, own, [&](int pixel, int) {
      const Point at = point_of(pixel);
      const long long along =
          ordered(times(at.x, request[kAxisX]) + times(at.y, request[kAxisY]));
      if (along < low) low = along, first_low = pixel;
      if (along > high) high = along, first_high = pixel;
    });
    atomicMin(&shared.low, low);
    atomicMax(&shared.high, high);
    __syncthreads();
    if (low == shared.low) atomicMin(&shared.first_low, first_low);
    if (high == shared.high) atomicMin(&shared.first_high, first_high);
    __syncthreads();
    const Point centre{request[kCentreX], request[kCentreY]};
    const Point low_end = point_of(shared.first_low), high_end = point_of(shared.first_high);
    start = square(high_end, centre) > square(low_end, centre) ? high_end : low_end;
    __syncthreads();
    if (thread == 0) {
      shared.high = -0x7fffffffffffffffLL;
      shared.first_high = 0x7fffffff;
    }
  }
  if (thread == 0) {
    result[kFromX] = location::bits_of(start.x);
    result[kFromY] = location::bits_of(start.y);
  }

  // The candidates: tip parts if there are enough pixels, else all pixels but those of the entry.
  const int kinds = static_cast<int>(request[kKinds]);
  if (kinds) {
    int tips = 0, else_tips = 0;
    each_pixel(maps, box, own, [&](int pixel, int) {
      tips += (kinds_of(pixel) & kTip) != 0;
      else_tips += (kinds_of(pixel) & kElseTip) != 0;
    });
    atomicAdd(&shared.tips, tips);
    atomicAdd(&shared.else_tips, else_tips);
  }
  __syncthreads();
  const int wanted = kinds & kTip && shared.tips >= kMinTips             ? kTip
                     : kinds & kElseTip && shared.else_tips >= kMinTips ? kElseTip
                                                                        : 0;
  const int entry = static_cast<int>(request[kEntry]);
  const auto is_candidate = [&](int pixel) {
    return wanted ? (kinds_of(pixel) & wanted) != 0 : entry < 0 || maps.borders[pixel] != entry;
  };
  long long reach = -1;
  int farthest = 0x7fffffff;
  each_pixel(maps, box, own, [&](int pixel, int) {
    if (!is_candidate(pixel)) return;
    const long long here = ordered(square(point_of(pixel), start));
    if (here > reach) reach = here, farthest = pixel;
  });
  atomicMax(&shared.high, reach);
  __syncthreads();
  if (reach >= 0 && reach == shared.high) atomicMin(&shared.first_high, farthest);
  __syncthreads();
  if (shared.high < 0) return;  // no candidates
  const double far = root_of(unordered(shared.high)), unit = request[kUnit];
  if (far <= 2 * unit) return;
  const int only = request[kFragments] != 0.0 ? owner_of(maps, shared.first_high) % 256 : 0;
  const double width_of = request[kArea] / far;
  const double depth = min(4 * width_of, 0.5 * far);
  const double min_jaw = max(2 * unit, times(0.3, width_of));
  const auto cut_at = [&](int circle) { return far - times(depth, circle) / kCircles; };

  // The members: candidates outside of the last circle, each with the first one it is outside of.
  each_pixel(maps, box, own, [&](int pixel, int fragment) {
    if (!is_candidate(pixel) || (only && fragment != only)) return;
    const double here = square(point_of(pixel), start);
    int circle = 1;
    while (circle <= kCircles && here < times(cut_at(circle), cut_at(circle))) ++circle;
    if (circle > kCircles) return;
    shared_store(tags + pixel, tag * 16 + circle);
    sets[pixel] = pixel;
    marks[pixel] = 0;
    members[atomicAdd(&shared.members, 1)] = pixel;
  });
  __syncthreads();
  const int count = shared.members;
  // Open jaws: the circle at which the second longest part is longest.
  double longest = 0.0, jaw_reach[2] = {0.0, 0.0};
  for (int circle = 1; circle <= kCircles; ++circle) {
    const double cut = cut_at(circle);
    each_member(maps, members, count, [&](int pixel, int first) {
      if (first > circle) return;
      sizes[pixel] = 0;
      reaches[pixel] = 0;
      if (first == circle)
        each_member_beside(maps, pixel, tag, circle, true,
                           [&](int next) { unite(sets, pixel, next); });
    });
    if (thread == 0) {
      shared.low = shared.high = -1;
      shared.first_low = shared.first_high = 0x7fffffff;
    }
    __syncthreads();
    each_member(maps, members, count, [&](int pixel, int first) {
      if (first > circle) return;
      const int root = find(sets, pixel);
      atomicAdd(sizes + root, 1);
      atomicMax(reaches + root, ordered(square(point_of(pixel), start)));
    });
    __syncthreads();
    // The two longest parts, of equal ones the first: lengths, then roots, one after the other.
    for (int rank = 0; rank < 2; ++rank) {
      long long* length = rank ? &shared.low : &shared.high;
      int* root = rank ? &shared.first_low : &shared.first_high;
      const int before = rank ? shared.first_high : -1;
      for (int step = 0; step < 2; ++step) {
        each_member(maps, members, count, [&](int pixel, int first) {
          if (first > circle || sets[pixel] != pixel || sizes[pixel] < kMinJaw) return;
          if (pixel == before) return;
          const long long here = ordered(root_of(unordered(reaches[pixel])) - cut);
          if (step == 0) {
            atomicMax(length, here);
          } else if (here == *length) {
            atomicMin(root, pixel);
          }
        });
        __syncthreads();
      }
    }
    const int jaws[2] = {shared.first_high, shared.first_low};
    const double second = unordered(shared.low);
    const bool is_better = shared.low >= 0 && second >= min_jaw && second > longest;
    if (is_better) {
      longest = second;
      for (int jaw = 0; jaw < 2; ++jaw) jaw_reach[jaw] = root_of(unordered(reaches[jaws[jaw]]));
      each_member(maps, members, count, [&](int pixel, int first) {
        const int root = first > circle ? -1 : find(sets, pixel);
        marks[pixel] = root == jaws[0] ? 1 : root == jaws[1] ? 2 : 0;
      });
    }
    __syncthreads();
  }

  if (longest > 0.0) {
    const double cap = max(2 * unit, times(0.15, width_of));
    each_member(maps, members, count, [&](int pixel, int) {
      const int jaw = marks[pixel] - 1;
      if (jaw < 0) return;
      const double from = jaw_reach[jaw] - cap;
      if (square(point_of(pixel), start) < times(from, from)) return;
      add(shared.sums + 3 * jaw, 1);
      add(shared.sums + 3 * jaw + 1, pixel % width);
      add(shared.sums + 3 * jaw + 2, pixel / width);
    });
    __syncthreads();
    if (thread == 0) {
      result[kTips] = 2;
      for (int part = 0; part < 6; ++part) result[kFirstTip + part] = shared.sums[part];
    }
    return;
  }

  // The geodesic end: what a walk from the near side of the zone reaches last.
  const double from = far - min(2 * width_of, 0.5 * far);
  const double least = times(from, from);
  if (thread == 0) shared.low = 0x7fffffffffffffffLL;
  __syncthreads();
  each_member(maps, members, count, [&](int pixel, int) {
    const double here = square(point_of(pixel), start);
    if (here < least) return;
    atomicAdd(&shared.zone, 1);
    atomicMin(&shared.low, ordered(here));
  });
  __syncthreads();
  const double near = root_of(unordered(shared.low)) + 2 * unit;
  each_member(maps, members, count, [&](int pixel, int) {
    const double here = square(point_of(pixel), start);
    const bool is_seed = here >= least && here < times(near, near);
    marks[pixel] = here < least ? -2 : is_seed ? 0 : -1;
    if (is_seed) frontier[atomicAdd(&shared.frontier, 1)] = pixel;
  });
  int last = 0, begin = 0, before = 0;  // `before`: where the round before the last one begins
  for (int round = 1;; ++round) {
    __syncthreads();
    const int end = shared.frontier;
    __syncthreads();
    if (round > 1 && end > begin) last = round - 1;
    // The round before was one of eight neighbours and reached nothing.
    if (round % 2 == 0 && end == begin) break;
    // A round of eight neighbours goes on from the two before: that of four left out the diagonals.
    for (int at = (round % 2 ? before : begin) + thread; at < end; at += static_cast<int>(blockDim.x)) {
      each_member_beside(maps, frontier[at], tag, kCircles, round % 2 == 1, [&](int next) {
        if (atomicCAS(marks + next, -1, round) == -1)
          frontier[atomicAdd(&shared.frontier, 1)] = next;
      });
    }
    before = begin;
    begin = end;
  }
  const long long share = 3ll * shared.zone / (10ll * (last + 2));
  const long long newest = last - max(2ll, share);
  each_member(maps, members, count, [&](int pixel, int) {
    const int reached = marks[pixel];
    if (last == 0 ? reached == -2 : reached <= max(0ll, newest)) return;
    add(shared.sums, 1);
    add(shared.sums + 1, pixel % width);
    add(shared.sums + 2, pixel / width);
  });
  __syncthreads();
  if (thread == 0) {
    result[kTips] = 1;
    for (int part = 0; part < 3; ++part) result[kFirstTip + part] = shared.sums[part];
  }
}
EXPORT(location_tips)
