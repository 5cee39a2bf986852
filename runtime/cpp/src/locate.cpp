#include "locate.hpp"

#include <algorithm>
#include <cmath>

#include "moments.hpp"

namespace trocar::detail {

namespace {

constexpr double max_variance_ratio = 0.5;
constexpr std::size_t min_tip_pixels = 4;
constexpr double degrees = 180.0 / 3.141592653589793238462643383279502884;

double squared_distance(Point a, Point b) {
    const double dx = a.x - b.x;
    const double dy = a.y - b.y;
    return dx * dx + dy * dy;
}

Point point_of(const Grid &grid, Pixel pixel) { return {grid.x_of(pixel), grid.y_of(pixel)}; }

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

/// Finds the largest component of the border pixels, of equal ones the first; leaves the indices of
/// its pixels in `scratch.entry_index` and its mean in `entry` (section 5).
bool find_entry(const LabelMap &map, const Pixels &pixels, LocateScratch &scratch, Point &entry) {
    scratch.border.clear();
    scratch.border_index.clear();
    scratch.entry_index.clear();
    for (std::size_t i = 0; i < pixels.size(); ++i) {
        if (!is_on_border(map, pixels[i])) continue;
        scratch.border.push_back(pixels[i]);
        scratch.border_index.push_back(static_cast<std::int32_t>(i));
    }
    if (scratch.border.empty()) return false;
    scratch.components.find(scratch.border, scratch.roots);
    scratch.sizes.assign(scratch.border.size(), 0);
    for (const std::int32_t root : scratch.roots) ++scratch.sizes[static_cast<std::size_t>(root)];
    const auto largest = static_cast<std::int32_t>(
        std::max_element(scratch.sizes.begin(), scratch.sizes.end()) - scratch.sizes.begin());
    std::int64_t x = 0;
    std::int64_t y = 0;
    for (std::size_t i = 0; i < scratch.border.size(); ++i) {
        if (scratch.roots[i] != largest) continue;
        x += scratch.border[i].x;
        y += scratch.border[i].y;
        scratch.entry_index.push_back(scratch.border_index[i]);
    }
    entry = mean_point(map.grid, static_cast<std::int64_t>(scratch.entry_index.size()), x, y);
    return true;
}

/// The end of the axis that lies farther from the centre of the view (section 5).
Point outer_end(const LabelMap &map, const Pixels &pixels, Point axis) {
    Pixel low_end = pixels.front();
    Pixel high_end = pixels.front();
    double lowest = HUGE_VAL;
    double highest = -HUGE_VAL;
    for (const Pixel &pixel : pixels) {
        const double projection = map.grid.x_of(pixel) * axis.x + map.grid.y_of(pixel) * axis.y;
        if (projection < lowest) {
            lowest = projection;
            low_end = pixel;
        }
        if (projection > highest) {
            highest = projection;
            high_end = pixel;
        }
    }
    const Point low = point_of(map.grid, low_end);
    const Point high = point_of(map.grid, high_end);
    return squared_distance(high, map.centre) > squared_distance(low, map.centre) ? high : low;
}

/// Pixels of tip parts if there are enough, else all but those of the entry (section 6).
void choose_tip_candidates(const LabelMap &map, const Group &group, const Pixels &pixels,
                           const std::vector<std::int32_t> &entry_index, Pixels &candidates) {
    candidates.clear();
    const auto take = [&](const IsPart &is_end) {
        for (const Pixel &pixel : pixels)
            if (is_end[map.grid.label(pixel)]) candidates.push_back(pixel);
        if (candidates.size() >= min_tip_pixels) return true;
        candidates.clear();
        return false;
    };
    if (group.has_tips && take(group.is_tip)) return;
    if (group.has_else_tips && take(group.is_else_tip)) return;
    std::size_t next = 0;
    for (std::size_t i = 0; i < pixels.size(); ++i) {
        if (next < entry_index.size() && entry_index[next] == static_cast<std::int32_t>(i))
            ++next;
        else
            candidates.push_back(pixels[i]);
    }
}

/// Removes the candidates that are not in the fragment of the first farthest one (section 6).
void keep_farthest_fragment(const LabelMap &map, const Pixels &pixels,
                            const std::vector<std::int32_t> &fragment_of, Point start,
                            Pixels &candidates) {
    if (fragment_of.empty() || candidates.empty()) return;
    double farthest = -1;
    std::int32_t fragment = 0;
    std::size_t at = 0;
    for (const Pixel &pixel : candidates) {
        while (pixels[at].at != pixel.at) ++at;
        const double square = squared_distance(point_of(map.grid, pixel), start);
        if (square <= farthest) continue;
        farthest = square;
        fragment = fragment_of[at];
    }
    at = 0;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        while (pixels[at].at != candidates[i].at) ++at;
        if (fragment_of[at] == fragment) candidates[kept++] = candidates[i];
    }
    candidates.resize(kept);
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

bool is_on_border(const LabelMap &map, Pixel pixel) {
    const Grid &grid = map.grid;
    if (pixel.x < map.border || pixel.x >= grid.width - map.border || pixel.y < map.border ||
        pixel.y >= grid.height - map.border)
        return true;
    if (!map.has_field_of_view) return false;
    return squared_distance(point_of(grid, pixel), map.centre) >= map.view_border_square;
}

void add_instrument(const LabelMap &map, const Group &group, const Piece &piece,
                    LocateScratch &scratch) {
    const Pixels &pixels = scratch.part;
    trocar_instrument instrument{};
    instrument.size = sizeof instrument;
    instrument.class_id = group.class_id;
    instrument.joined = group.is_joined ? 1 : 0;
    const Moments &moments = piece.moments;
    set_plain_measures(map, moments, piece.score, instrument);
    const PrincipalAxis principal = principal_axis(map.grid, moments);
    Point axis = principal.direction;

    Point start;
    const bool has_entry = find_entry(map, pixels, scratch, start);
    instrument.touches_border = instrument.has_entry = has_entry ? 1 : 0;
    if (has_entry) {
        instrument.entry[0] = start.x;
        instrument.entry[1] = start.y;
    }
    if (has_entry || principal.variance_ratio <= max_variance_ratio) {
        if (!has_entry) start = outer_end(map, pixels, axis);
        choose_tip_candidates(map, group, pixels, scratch.entry_index, scratch.candidates);
        keep_farthest_fragment(map, pixels, scratch.fragment_of, start, scratch.candidates);
        std::array<Point, 2> tips;
        const int count = scratch.tips.find(map.grid, scratch.candidates, start, instrument.area,
                                            scratch.components, tips);
        set_tips(tips, count, instrument);
        axis = towards_tips(axis, start, tips, count);
    }
    instrument.axis[0] = axis.x;
    instrument.axis[1] = axis.y;
    instrument.angle = std::atan2(axis.y, axis.x) * degrees;
    scratch.located.push_back({instrument, moments.n, pixels.front().at,
                               static_cast<std::int32_t>(&piece - scratch.pieces.data())});
}

}  // namespace trocar::detail
