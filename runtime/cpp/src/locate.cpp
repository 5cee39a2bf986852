#include "locate.hpp"

#include <algorithm>
#include <cmath>

#include "moments.hpp"

namespace trocar::detail {

namespace {

constexpr double max_variance_ratio = 0.5;
constexpr std::int64_t min_tip_pixels = 4;
constexpr double degrees = 180.0 / 3.141592653589793238462643383279502884;

double squared_distance(Point a, Point b) {
    const double dx = a.x - b.x;
    const double dy = a.y - b.y;
    return dx * dx + dy * dy;
}

Point point_of(const Grid &grid, int x, int y) { return {grid.x_of(x), grid.y_of(y)}; }

/// Box, centroid, area and score (section 4).
void set_plain_measures(const LabelMap &map, const Moments &moments, double score,
                        trocar_instrument &instrument) {
    const Grid &grid = map.grid;
    instrument.score = score;
    instrument.box[0] = moments.left * grid.sx;
    instrument.box[1] = moments.top * grid.sy;
    instrument.box[2] = moments.right * grid.sx;
    instrument.box[3] = moments.bottom * grid.sy;
    const Point centroid = mean_point(grid, moments.n, moments.x, moments.y);
    instrument.centroid[0] = centroid.x;
    instrument.centroid[1] = centroid.y;
    instrument.area = static_cast<double>(moments.n) * grid.sx * grid.sy;
}

/// Finds the largest component of the border pixels, of equal ones the first; leaves it in
/// `scratch.entry` and its mean in `entry` (section 5).
bool find_entry(const LabelMap &map, LocateScratch &scratch, Point &entry) {
    scratch.border.clear();
    scratch.entry.clear();
    for (const Run &run : scratch.part) map.border.add_border(run, scratch.border);
    if (scratch.border.empty()) return false;
    scratch.components.find(scratch.border, scratch.roots);
    scratch.sizes.assign(scratch.border.size(), 0);
    for (std::size_t i = 0; i < scratch.border.size(); ++i)
        scratch.sizes[static_cast<std::size_t>(scratch.roots[i])] +=
            scratch.border[i].end - scratch.border[i].begin;
    const auto largest = static_cast<std::int32_t>(
        std::max_element(scratch.sizes.begin(), scratch.sizes.end()) - scratch.sizes.begin());
    PixelSums sums;
    for (std::size_t i = 0; i < scratch.border.size(); ++i) {
        if (scratch.roots[i] != largest) continue;
        sums.add(scratch.border[i]);
        scratch.entry.push_back(scratch.border[i]);
    }
    entry = mean_point(map.grid, sums.n, sums.x, sums.y);
    return true;
}

/// The end of the axis that lies farther from the centre of the view (section 5).
Point outer_end(const LabelMap &map, const Runs &runs, Point axis) {
    const Grid &grid = map.grid;
    const auto projection = [&](int x, int y) {
        return grid.x_of(x) * axis.x + grid.y_of(y) * axis.y;
    };
    Point low;
    const Run *high_run = nullptr;
    double lowest = HUGE_VAL;
    double highest = -HUGE_VAL;
    // The axis points right: the smallest projection of a run is its first pixel's, the largest
    // its last one's.
    for (const Run &run : runs) {
        const double first = projection(run.begin, run.y);
        const double last = projection(run.end - 1, run.y);
        if (first < lowest) {
            lowest = first;
            low = point_of(grid, run.begin, run.y);
        }
        if (last > highest) {
            highest = last;
            high_run = &run;
        }
    }
    int x = high_run->end - 1;
    while (x > high_run->begin && projection(x - 1, high_run->y) == highest) --x;
    const Point high = point_of(grid, x, high_run->y);
    return squared_distance(high, map.centre) > squared_distance(low, map.centre) ? high : low;
}

/// The pixels of `runs` that are not in `without`, whose runs each lie in one of them.
void subtract(const Runs &runs, const Runs &without, Runs &out) {
    out.clear();
    std::size_t next = 0;
    for (const Run &run : runs) {
        Run rest = run;
        for (; next < without.size() && without[next].y == run.y && without[next].begin < run.end;
             ++next) {
            rest.end = without[next].begin;
            if (rest.begin < rest.end) append(out, rest);
            rest.begin = without[next].end;
        }
        rest.end = run.end;
        if (rest.begin < rest.end) append(out, rest);
    }
}

/// Pixels of tip parts if there are enough, else all but those of the entry (section 6).
void choose_tip_candidates(const LabelMap &map, const Group &group, LocateScratch &scratch) {
    const auto take = [&](const IsPart &is_end) {
        take_part(map.grid, scratch.part, is_end, scratch.candidates);
        return count_pixels(scratch.candidates) >= min_tip_pixels;
    };
    if (group.has_tips && take(group.is_tip)) return;
    if (group.has_else_tips && take(group.is_else_tip)) return;
    subtract(scratch.part, scratch.entry, scratch.candidates);
}

/// Removes the candidates that are not in the fragment of the first farthest one (section 6).
void keep_farthest_fragment(const Grid &grid, Point start, Runs &candidates) {
    double farthest = -1;
    std::int32_t fragment = 0;
    for (const Run &run : candidates) {
        // The farthest pixel of a run is its first or its last.
        const double square = std::max(squared_distance(point_of(grid, run.begin, run.y), start),
                                       squared_distance(point_of(grid, run.end - 1, run.y), start));
        if (square <= farthest) continue;
        farthest = square;
        fragment = run.number;
    }
    candidates.erase(std::remove_if(candidates.begin(), candidates.end(),
                                    [&](const Run &run) { return run.number != fragment; }),
                     candidates.end());
}

/// The axis, turned by 180 degrees if it points away from the tips (section 7).
Point towards_tips(Point axis, Point start, const std::array<Point, 2> &tips, int count) {
    if (count == 0) return axis;
    Point sum;
    for (int i = 0; i < count; ++i) {
        const Point tip = tips[static_cast<std::size_t>(i)];
        sum = {sum.x + tip.x, sum.y + tip.y};
    }
    const double dx = sum.x / count - start.x;
    const double dy = sum.y / count - start.y;
    return dx * axis.x + dy * axis.y < 0 ? Point{-axis.x, -axis.y} : axis;
}

void set_tips(const std::array<Point, 2> &tips, int count, trocar_instrument &instrument) {
    instrument.tip_count = count;
    for (int i = 0; i < count; ++i) {
        instrument.tips[i][0] = tips[static_cast<std::size_t>(i)].x;
        instrument.tips[i][1] = tips[static_cast<std::size_t>(i)].y;
    }
}

}  // namespace

void add_instrument(const LabelMap &map, const Group &group, const Piece &piece,
                    LocateScratch &scratch) {
    trocar_instrument instrument{};
    instrument.size = sizeof instrument;
    instrument.class_id = group.class_id;
    instrument.joined = group.is_joined ? 1 : 0;
    const Moments &moments = piece.moments;
    set_plain_measures(map, moments, piece.score, instrument);
    const PrincipalAxis principal = principal_axis(map.grid, moments);
    Point axis = principal.direction;

    Point start;
    const bool has_entry = find_entry(map, scratch, start);
    instrument.touches_border = instrument.has_entry = has_entry ? 1 : 0;
    if (has_entry) {
        instrument.entry[0] = start.x;
        instrument.entry[1] = start.y;
    }
    if (has_entry || principal.variance_ratio <= max_variance_ratio) {
        if (!has_entry) start = outer_end(map, scratch.part, axis);
        choose_tip_candidates(map, group, scratch);
        if (piece.next >= 0) keep_farthest_fragment(map.grid, start, scratch.candidates);
        std::array<Point, 2> tips;
        const int count =
            scratch.tips.find(map.grid, scratch.candidates, start, instrument.area, tips);
        set_tips(tips, count, instrument);
        axis = towards_tips(axis, start, tips, count);
    }
    instrument.axis[0] = axis.x;
    instrument.axis[1] = axis.y;
    instrument.angle = std::atan2(axis.y, axis.x) * degrees;
    scratch.located.push_back({instrument, moments.n, piece.first_pixel,
                               static_cast<std::int32_t>(&piece - scratch.pieces.data())});
}

}  // namespace trocar::detail
