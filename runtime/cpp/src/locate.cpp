#include "locate.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "half.hpp"
#include "moments.hpp"
#include "selection.hpp"

namespace trocar::detail {

namespace {

constexpr double max_variance_ratio = 0.5;
constexpr std::size_t min_tip_pixels = 4;
constexpr std::size_t max_located = 65536;
constexpr double degrees = 180.0 / 3.141592653589793238462643383279502884;

LabelMap label_map_of(const Grid &grid, const Confidence &confidence, const trocar_frame &frame,
                      const LocationOptions &options) {
    LabelMap map;
    map.border = static_cast<int>(options.border);
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
        radius - std::max(map.border * std::max(grid.sx, grid.sy), options.view_border * radius);
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
    if (pixel.x < map.border || pixel.x >= grid.width - map.border || pixel.y < map.border ||
        pixel.y >= grid.height - map.border)
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

/// Measures one instrument (sections 4 to 7) and adds it to `scratch.located`.
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
    scratch.located.push_back({instrument, moments.n, pixels.front().at});
}

/// Leaves the pixels of a piece in `scratch.part`, in raster order, and their fragments in
/// `scratch.fragment_of`, if it has several.
void collect(const Piece &piece, LocateScratch &scratch) {
    scratch.part.clear();
    scratch.fragment_of.clear();
    const auto *pixels = scratch.piece_pixels.data();
    if (piece.next < 0) {
        scratch.part.insert(scratch.part.end(), pixels + piece.begin, pixels + piece.end);
        return;
    }
    scratch.unordered.clear();
    std::int32_t number = 0;
    for (const Piece *one = &piece;; one = &scratch.pieces[static_cast<std::size_t>(one->next)]) {
        for (std::int32_t i = one->begin; i < one->end; ++i)
            scratch.unordered.push_back({pixels[i], number});
        ++number;
        if (one->next < 0) break;
    }
    std::sort(
        scratch.unordered.begin(), scratch.unordered.end(),
        [](const FragmentPixel &a, const FragmentPixel &b) { return a.pixel.at < b.pixel.at; });
    for (const FragmentPixel &one : scratch.unordered) {
        scratch.part.push_back(one.pixel);
        scratch.fragment_of.push_back(one.fragment);
    }
}

/// Adds the pixels `scratch.part` to the pieces.
void add_piece(const LabelMap &map, int group, bool needs_border, const Pixels &pixels,
               LocateScratch &scratch) {
    Piece piece;
    piece.group = group;
    piece.begin = static_cast<std::int32_t>(scratch.piece_pixels.size());
    scratch.piece_pixels.insert(scratch.piece_pixels.end(), pixels.begin(), pixels.end());
    piece.end = static_cast<std::int32_t>(scratch.piece_pixels.size());
    piece.first_pixel = pixels.front().at;
    piece.moments = moments_of(pixels);
    piece.touches_border =
        needs_border && std::any_of(pixels.begin(), pixels.end(),
                                    [&](const Pixel &pixel) { return is_on_border(map, pixel); });
    scratch.pieces.push_back(piece);
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
    for (Pixels *list : {&region, &piece_pixels, &part, &border, &candidates}) list->reserve(count);
    unordered.reserve(count);
    fragment_of.reserve(count);
    pieces.reserve(max_instruments);
    joiner.prepare(max_instruments);
    chosen.reserve(max_instruments);
    for (auto *list : {&border_index, &roots, &sizes, &entry_index}) list->reserve(count);
    on_border.reserve(count);
    located.reserve(max_instruments);
    sorted.reserve(max_instruments);
}

Locator::Locator(const std::vector<ClassRow> &classes, const LocationOptions &options)
    : options_(options) {
    group_of_.fill(-1);
    std::map<std::string, std::int16_t> group_of_type;
    for (const ClassRow &row : classes) {
        if (!row.instrument) continue;
        const std::string type = joined_type(row, options);
        const std::string &name = type.empty() ? row.name : type;
        if (!options.classes.empty() && !has_name(options.classes, name)) continue;
        auto index = static_cast<std::int16_t>(groups_.size());
        if (!type.empty()) index = group_of_type.emplace(type, index).first->second;
        if (static_cast<std::size_t>(index) == groups_.size()) {
            Group group;
            group.class_id = row.id;
            group.is_joined = !type.empty();
            groups_.push_back(group);
        }
        const auto label = static_cast<std::size_t>(row.id);
        Group &group = groups_[static_cast<std::size_t>(index)];
        group_of_[label] = index;
        is_shaft_[label] = has_name(options.shaft_parts, row.part);
        group.is_tip[label] = has_name(options.tip_parts, row.part);
        group.is_else_tip[label] = has_name(options.else_tip_parts, row.part);
        group.has_shafts = group.has_shafts || is_shaft_[label];
        group.has_tips = group.has_tips || group.is_tip[label];
        group.has_else_tips = group.has_else_tips || group.is_else_tip[label];
    }
}

void Locator::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    const auto min_pixels = static_cast<std::size_t>(options_.min_pixels);
    scratch_.prepare(width, height, std::min(count / min_pixels + 1, max_located));
    if (options_.mask_outside_view && visible_.size() < count) visible_.resize(count);
}

const std::uint8_t *Locator::visible(const std::uint8_t *labels, int width, int height,
                                     std::ptrdiff_t stride, const trocar_frame &frame) {
    if (!options_.mask_outside_view || !(frame.view[2] > 0)) return labels;
    clear_outside_view(labels, stride, width, height, frame, visible_);
    return visible_.data();
}

void Locator::find_pieces(const LabelMap &map) {
    scratch_.pieces.clear();
    scratch_.piece_pixels.clear();
    const bool needs_border = options_.max_gap > 0;
    const std::size_t count =
        scratch_.regions.find(map.grid, group_of_, map.min_pixels, options_.max_regions);
    for (std::size_t i = 0; i < count; ++i) {
        const int number = scratch_.regions.group(i);
        scratch_.regions.pixels(i, map.grid, scratch_.region);
        std::size_t parts = 0;
        if (groups_[static_cast<std::size_t>(number)].has_shafts) {
            mark_border(map, scratch_.region, scratch_.on_border);
            parts = scratch_.splitter.split(map.grid, scratch_.region, scratch_.on_border,
                                            is_shaft_, map.min_pixels, scratch_.components);
        }
        if (parts < 2) add_piece(map, number, needs_border, scratch_.region, scratch_);
        for (std::size_t j = 0; parts >= 2 && j < parts; ++j) {
            scratch_.splitter.part(j, scratch_.region, scratch_.part);
            if (static_cast<std::int64_t>(scratch_.part.size()) >= map.min_pixels)
                add_piece(map, number, needs_border, scratch_.part, scratch_);
        }
    }
}

void Locator::choose(const LabelMap &map, const trocar_frame &frame) {
    const double depth = options_.strip_depth * std::min(frame.width, frame.height);
    std::vector<std::int32_t> &chosen = scratch_.chosen;
    chosen.clear();
    std::int64_t largest = 0;
    for (std::size_t i = 0; i < scratch_.pieces.size(); ++i) {
        Piece &piece = scratch_.pieces[i];
        if (piece.is_absorbed) continue;
        collect(piece, scratch_);
        if (depth > 0 && !is_deep(map.grid, scratch_.part, depth, frame)) continue;
        piece.score = mean_confidence(map.confidence, scratch_.part);
        if (piece.score < options_.min_score) continue;
        // Of joined fragments the first pixel may be in another fragment.
        piece.first_pixel = scratch_.part.front().at;
        largest = std::max(largest, piece.moments.n);
        chosen.push_back(static_cast<std::int32_t>(i));
    }
    const double smallest = options_.min_relative_area * static_cast<double>(largest);
    const auto piece_of = [&](std::int32_t i) -> const Piece & {
        return scratch_.pieces[static_cast<std::size_t>(i)];
    };
    chosen.erase(std::remove_if(chosen.begin(), chosen.end(),
                                [&](std::int32_t i) {
                                    return static_cast<double>(piece_of(i).moments.n) < smallest;
                                }),
                 chosen.end());
    const auto most = static_cast<std::size_t>(options_.max_instruments);
    if (most == 0 || chosen.size() <= most) return;
    std::sort(chosen.begin(), chosen.end(), [&](std::int32_t i, std::int32_t j) {
        const Piece &a = piece_of(i);
        const Piece &b = piece_of(j);
        const double mass_a = a.score * static_cast<double>(a.moments.n);
        const double mass_b = b.score * static_cast<double>(b.moments.n);
        if (mass_a != mass_b) return mass_a > mass_b;
        if (a.moments.n != b.moments.n) return a.moments.n > b.moments.n;
        return a.first_pixel < b.first_pixel;
    });
    chosen.resize(most);
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
    find_pieces(map);
    if (options_.max_gap > 0) scratch_.joiner.join(grid, options_, scratch_.pieces);
    choose(map, frame);
    scratch_.located.clear();
    for (const std::int32_t i : scratch_.chosen) {
        const Piece &piece = scratch_.pieces[static_cast<std::size_t>(i)];
        collect(piece, scratch_);
        add_instrument(map, groups_[static_cast<std::size_t>(piece.group)], piece, scratch_);
    }
    std::sort(scratch_.located.begin(), scratch_.located.end(), comes_before);
    scratch_.sorted.clear();
    for (const LocatedInstrument &one : scratch_.located) scratch_.sorted.push_back(one.instrument);
    return scratch_.sorted;
}

}  // namespace trocar::detail
