#include "locate.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "half.hpp"
#include "moments.hpp"

namespace trocar::detail {

namespace {

constexpr int border_width = 2;
constexpr double view_border = 0.03;
constexpr double max_variance_ratio = 0.5;
constexpr std::size_t min_tip_pixels = 4;
constexpr std::size_t max_located = 65536;
constexpr double degrees = 180.0 / 3.141592653589793238462643383279502884;

// The defaults of shaft_parts and tip_parts.
bool is_shaft_part(const std::string &part) { return part == "shaft"; }
bool is_tip_part(const std::string &part) {
    return part == "clasper" || part == "jaw" || part == "tip";
}

LabelMap label_map_of(const Grid &grid, const Confidence &confidence, const trocar_frame &frame,
                      const LocateOptions &options) {
    LabelMap map;
    map.grid = grid;
    map.confidence = confidence;
    const std::int64_t area = std::int64_t{grid.width} * grid.height;
    map.min_pixels = std::max<std::int64_t>(
        options.min_pixels,
        static_cast<std::int64_t>(static_cast<double>(area) * options.min_area));
    map.centre = {frame.width / 2.0, frame.height / 2.0};
    map.has_field_of_view = frame.view[2] > 0;
    if (!map.has_field_of_view) return map;
    const double radius = frame.view[2];
    const double inner =
        radius - std::max(border_width * std::max(grid.sx, grid.sy), view_border * radius);
    map.centre = {frame.view[0], frame.view[1]};
    map.view_border_square = inner * inner;
    return map;
}

double squared_distance(Point a, Point b) {
    const double dx = a.x - b.x;
    const double dy = a.y - b.y;
    return dx * dx + dy * dy;
}

Point point_of(const Grid &grid, Pixel pixel) { return {grid.x_of(pixel), grid.y_of(pixel)}; }

/// Whether a pixel lies on the border of the frame or of the field of view (section 2).
bool is_on_border(const LabelMap &map, Pixel pixel) {
    const Grid &grid = map.grid;
    if (pixel.x < border_width || pixel.x >= grid.width - border_width || pixel.y < border_width ||
        pixel.y >= grid.height - border_width)
        return true;
    if (!map.has_field_of_view) return false;
    return squared_distance(point_of(grid, pixel), map.centre) >= map.view_border_square;
}

void mark_border(const LabelMap &map, const Pixels &pixels, std::vector<char> &on_border) {
    on_border.clear();
    for (const Pixel &pixel : pixels) on_border.push_back(is_on_border(map, pixel) ? 1 : 0);
}

/// Mean confidence of the pixels, 0..1; 1 without a confidence map (section 4).
double mean_confidence(const Confidence &confidence, const Pixels &pixels) {
    const auto n = static_cast<std::int64_t>(pixels.size());
    if (confidence.byte != nullptr) {
        std::int64_t sum = 0;
        for (const Pixel &pixel : pixels) sum += confidence.byte[pixel.at];
        return static_cast<double>(sum) / static_cast<double>(255 * n);
    }
    double sum = 0;
    if (confidence.half != nullptr) {
        for (const Pixel &pixel : pixels) sum += double_from_half(confidence.half[pixel.at]);
    } else if (confidence.single != nullptr) {
        for (const Pixel &pixel : pixels)
            sum += double_from_half(half_from_float(confidence.single[pixel.at]));
    } else {
        return 1;
    }
    return sum / static_cast<double>(n);
}

/// Box, centroid, area and score (section 4).
void set_plain_measures(const LabelMap &map, const Pixels &pixels, const Moments &moments,
                        trocar_instrument &instrument) {
    const Grid &grid = map.grid;
    instrument.score = mean_confidence(map.confidence, pixels);
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
    if (group.has_tips) {
        for (const Pixel &pixel : pixels)
            if (group.is_tip[map.grid.label(pixel)]) candidates.push_back(pixel);
        if (candidates.size() >= min_tip_pixels) return;
        candidates.clear();
    }
    std::size_t next = 0;
    for (std::size_t i = 0; i < pixels.size(); ++i) {
        if (next < entry_index.size() && entry_index[next] == static_cast<std::int32_t>(i))
            ++next;
        else
            candidates.push_back(pixels[i]);
    }
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

/// Measures one instrument (sections 4 to 7) and adds it to `scratch.located`.
void add_instrument(const LabelMap &map, const Group &group, const Pixels &pixels,
                    LocateScratch &scratch) {
    trocar_instrument instrument{};
    instrument.size = sizeof instrument;
    instrument.class_id = group.class_id;
    instrument.joined = group.is_joined ? 1 : 0;
    const Moments moments = moments_of(pixels);
    set_plain_measures(map, pixels, moments, instrument);
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
        std::array<Point, 2> tips;
        const int count = scratch.tips.find(map.grid, scratch.candidates, start, instrument.area,
                                            scratch.components, tips);
        set_tips(tips, count, instrument);
        axis = towards_tips(axis, start, tips, count);
    }
    instrument.axis[0] = axis.x;
    instrument.axis[1] = axis.y;
    instrument.angle = std::atan2(axis.y, axis.x) * degrees;
    scratch.located.push_back({instrument, moments.n, pixels.front().at});
}

/// Adds a region, or its parts if several shafts enter (section 3).
void add_region(const LabelMap &map, const Group &group, const IsPart &is_shaft,
                LocateScratch &scratch) {
    std::size_t parts = 0;
    if (group.has_shafts) {
        mark_border(map, scratch.region, scratch.on_border);
        parts = scratch.splitter.split(map.grid, scratch.region, scratch.on_border, is_shaft,
                                       map.min_pixels, scratch.components);
    }
    if (parts < 2) {
        add_instrument(map, group, scratch.region, scratch);
        return;
    }
    for (std::size_t i = 0; i < parts; ++i) {
        scratch.splitter.part(i, scratch.region, scratch.part);
        if (static_cast<std::int64_t>(scratch.part.size()) >= map.min_pixels)
            add_instrument(map, group, scratch.part, scratch);
    }
}

/// By class id, pixels descending, first pixel.
bool comes_before(const LocatedInstrument &a, const LocatedInstrument &b) {
    if (a.instrument.class_id != b.instrument.class_id)
        return a.instrument.class_id < b.instrument.class_id;
    if (a.pixels != b.pixels) return a.pixels > b.pixels;
    return a.first_pixel < b.first_pixel;
}

}  // namespace

void LocateScratch::prepare(int width, int height, std::size_t max_instruments) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    components.prepare(width, height);
    regions.prepare(width, height);
    splitter.prepare(width, height);
    tips.prepare(width, height);
    for (Pixels *list : {&region, &part, &border, &candidates}) list->reserve(count);
    for (auto *list : {&border_index, &roots, &sizes, &entry_index}) list->reserve(count);
    on_border.reserve(count);
    located.reserve(max_instruments);
    sorted.reserve(max_instruments);
}

Locator::Locator(const std::vector<ClassRow> &classes, const LocateOptions &options)
    : options_(options) {
    group_of_.fill(-1);
    std::map<std::string, std::int16_t> group_of_type;
    for (const ClassRow &row : classes) {
        if (!row.instrument) continue;
        const bool is_joined = !row.type.empty() && !row.part.empty();
        auto index = static_cast<std::int16_t>(groups_.size());
        if (is_joined) index = group_of_type.emplace(row.type, index).first->second;
        if (static_cast<std::size_t>(index) == groups_.size()) {
            Group group;
            group.class_id = row.id;
            group.is_joined = is_joined;
            groups_.push_back(group);
        }
        const auto label = static_cast<std::size_t>(row.id);
        Group &group = groups_[static_cast<std::size_t>(index)];
        group_of_[label] = index;
        is_shaft_[label] = is_shaft_part(row.part);
        group.is_tip[label] = is_tip_part(row.part);
        group.has_shafts = group.has_shafts || is_shaft_[label];
        group.has_tips = group.has_tips || group.is_tip[label];
    }
}

void Locator::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    const auto min_pixels = static_cast<std::size_t>(options_.min_pixels);
    scratch_.prepare(width, height, std::min(count / min_pixels + 1, max_located));
}

const std::vector<trocar_instrument> &Locator::locate(const std::uint8_t *labels, int width,
                                                      int height, std::ptrdiff_t stride,
                                                      const Confidence &confidence,
                                                      const trocar_frame &frame) {
    prepare(width, height);
    const Grid grid{labels,
                    stride,
                    width,
                    height,
                    static_cast<double>(frame.width) / width,
                    static_cast<double>(frame.height) / height};
    const LabelMap map = label_map_of(grid, confidence, frame, options_);
    scratch_.located.clear();
    const std::size_t count = scratch_.regions.find(grid, group_of_, map.min_pixels);
    for (std::size_t i = 0; i < count; ++i) {
        const Group &group = groups_[static_cast<std::size_t>(scratch_.regions.group(i))];
        scratch_.regions.pixels(i, grid, scratch_.region);
        add_region(map, group, is_shaft_, scratch_);
    }
    std::sort(scratch_.located.begin(), scratch_.located.end(), comes_before);
    scratch_.sorted.clear();
    for (const LocatedInstrument &one : scratch_.located) scratch_.sorted.push_back(one.instrument);
    return scratch_.sorted;
}

}  // namespace trocar::detail
