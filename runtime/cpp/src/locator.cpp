#include <algorithm>
#include <map>
#include <string>

#include "confidence.hpp"
#include "locate.hpp"
#include "moments.hpp"
#include "selection.hpp"

namespace trocar::detail {

namespace {

constexpr std::size_t max_located = 65536;

LabelMap label_map_of(const Grid &grid, const Confidence &confidence, const trocar_frame &frame,
                      const LocationOptions &options) {
    LabelMap map;
    map.grid = grid;
    map.confidence = confidence;
    const std::int64_t area = std::int64_t{grid.width} * grid.height;
    map.min_pixels = std::max<std::int64_t>(
        options.min_pixels,
        static_cast<std::int64_t>(static_cast<double>(area) * options.min_area));
    const auto border = static_cast<int>(options.border);
    map.border = Border(grid, border);
    map.centre = {frame.width / 2.0, frame.height / 2.0};
    if (!(frame.view[2] > 0)) return map;
    const double radius = frame.view[2];
    const double inner =
        radius - std::max(border * std::max(grid.sx, grid.sy), options.view_border * radius);
    map.centre = {frame.view[0], frame.view[1]};
    map.border.add_view(map.centre, inner * inner);
    return map;
}

/// Leaves the runs of a piece in `scratch.part`; with several fragments they have their numbers.
void collect(const Piece &piece, LocateScratch &scratch) {
    scratch.part.clear();
    std::int32_t number = 0;
    for (const Piece *one = &piece;; one = &scratch.pieces[static_cast<std::size_t>(one->next)]) {
        for (std::int32_t i = one->begin; i < one->end; ++i) {
            scratch.part.push_back(scratch.piece_runs[static_cast<std::size_t>(i)]);
            scratch.part.back().number = number;
        }
        if (one->next < 0) break;
        ++number;
    }
    if (number > 0)
        std::sort(scratch.part.begin(), scratch.part.end(), [](const Run &a, const Run &b) {
            return a.y != b.y ? a.y < b.y : a.begin < b.begin;
        });
}

std::int32_t first_pixel_of(const Grid &grid, const Runs &runs) {
    return runs.front().y * grid.width + runs.front().begin;
}

/// Adds a piece with these runs.
void add_piece(const LabelMap &map, int group, bool needs_border, const Runs &runs,
               LocateScratch &scratch) {
    Piece piece;
    piece.group = group;
    piece.begin = static_cast<std::int32_t>(scratch.piece_runs.size());
    scratch.piece_runs.insert(scratch.piece_runs.end(), runs.begin(), runs.end());
    piece.end = static_cast<std::int32_t>(scratch.piece_runs.size());
    piece.first_pixel = first_pixel_of(map.grid, runs);
    piece.moments = moments_of(runs);
    piece.touches_border =
        needs_border && std::any_of(runs.begin(), runs.end(),
                                    [&](const Run &run) { return map.border.touches(run); });
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
    regions.prepare(width, height);
    splitter.prepare(width, height);
    tips.prepare(width, height);
    for (Runs *list : {&region, &piece_runs, &part, &border, &entry, &candidates})
        list->reserve(count);
    pieces.reserve(max_instruments);
    joiner.prepare(max_instruments);
    chosen.reserve(max_instruments);
    components.reserve(count);
    roots.reserve(count);
    sizes.reserve(count);
    located.reserve(max_instruments);
    sorted.reserve(max_instruments);
    pieces_of.reserve(max_instruments);
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
    scratch_.piece_runs.clear();
    const bool needs_border = options_.max_gap > 0 || options_.min_relative_area > 0;
    const std::size_t count =
        scratch_.regions.find(map.grid, group_of_, map.min_pixels, options_.max_regions);
    for (std::size_t i = 0; i < count; ++i) {
        const int number = scratch_.regions.group(i);
        scratch_.regions.runs(i, scratch_.region);
        std::size_t parts = 0;
        if (groups_[static_cast<std::size_t>(number)].has_shafts)
            parts = scratch_.splitter.split(map.grid, scratch_.region, map.border, is_shaft_,
                                            map.min_pixels);
        if (parts < 2) add_piece(map, number, needs_border, scratch_.region, scratch_);
        for (std::size_t j = 0; parts >= 2 && j < parts; ++j) {
            scratch_.splitter.part(j, scratch_.part);
            if (count_pixels(scratch_.part) >= map.min_pixels)
                add_piece(map, number, needs_border, scratch_.part, scratch_);
        }
    }
}

void Locator::choose(const LabelMap &map, const trocar_frame &frame) {
    const double most_deep = options_.strip_depth * std::min(frame.width, frame.height);
    std::vector<std::int32_t> &chosen = scratch_.chosen;
    chosen.clear();
    double best = 0;
    for (std::size_t i = 0; i < scratch_.pieces.size(); ++i) {
        Piece &piece = scratch_.pieces[i];
        if (piece.is_absorbed) continue;
        collect(piece, scratch_);
        if (most_deep > 0 && is_strip(map.grid, scratch_.part, piece.moments, most_deep, frame))
            continue;
        piece.score = map.instance_scores != nullptr
                          ? static_cast<double>(
                                map.instance_scores[static_cast<std::size_t>(piece.group) - 1])
                          : mean_confidence(map.confidence, scratch_.part, map.grid.width);
        // Of joined fragments the first pixel may be in another fragment.
        piece.first_pixel = first_pixel_of(map.grid, scratch_.part);
        best = std::max(best, piece.score);
        chosen.push_back(static_cast<std::int32_t>(i));
    }
    const auto piece_of = [&](std::int32_t i) -> const Piece & {
        return scratch_.pieces[static_cast<std::size_t>(i)];
    };
    const double least = options_.min_score;
    const double limit =
        options_.relative_score == 0
            ? least
            : std::max(least * 2 / 3, std::min(least, options_.relative_score * best));
    chosen.erase(std::remove_if(chosen.begin(), chosen.end(),
                                [&](std::int32_t i) { return piece_of(i).score < limit; }),
                 chosen.end());
    std::int64_t largest = 0;
    for (const std::int32_t i : chosen) largest = std::max(largest, piece_of(i).moments.n);
    const double smallest = options_.min_relative_area * static_cast<double>(largest);
    chosen.erase(std::remove_if(chosen.begin(), chosen.end(),
                                [&](std::int32_t i) {
                                    const Piece &piece = piece_of(i);
                                    return !piece.touches_border &&
                                           static_cast<double>(piece.moments.n) < smallest;
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
    return sorted();
}

const std::vector<trocar_instrument> &Locator::sorted() {
    std::sort(scratch_.located.begin(), scratch_.located.end(), comes_before);
    scratch_.sorted.clear();
    scratch_.pieces_of.clear();
    for (const LocatedInstrument &one : scratch_.located) {
        scratch_.sorted.push_back(one.instrument);
        scratch_.pieces_of.push_back(one.piece);
    }
    return scratch_.sorted;
}

const std::vector<trocar_instrument> &Locator::locate_instances(
    const std::uint8_t *instances, int width, int height, const std::uint8_t *classes,
    const float *scores, std::size_t count, const trocar_frame &frame) {
    prepare(width, height);
    const Grid grid{instances,
                    width,
                    width,
                    height,
                    static_cast<double>(frame.width) / width,
                    static_cast<double>(frame.height) / height};
    LabelMap map = label_map_of(grid, {}, frame, options_);
    map.instance_scores = scores;
    GroupOf number_of;
    number_of.fill(-1);
    for (std::size_t i = 0; i < std::min<std::size_t>(count, 255); ++i)
        if (group_of_[classes[i]] >= 0) number_of[i + 1] = static_cast<std::int16_t>(i + 1);
    scratch_.pieces.clear();
    scratch_.piece_runs.clear();
    const std::size_t regions =
        scratch_.regions.find(grid, number_of, map.min_pixels, options_.max_regions);
    for (std::size_t i = 0; i < regions; ++i) {
        scratch_.regions.runs(i, scratch_.region);
        add_piece(map, scratch_.regions.group(i), options_.min_relative_area > 0, scratch_.region,
                  scratch_);
    }
    scratch_.joiner.join_all(scratch_.pieces);
    choose(map, frame);
    scratch_.located.clear();
    for (const std::int32_t i : scratch_.chosen) {
        const Piece &piece = scratch_.pieces[static_cast<std::size_t>(i)];
        collect(piece, scratch_);
        const Group &own = groups_[static_cast<std::size_t>(
            group_of_[classes[static_cast<std::size_t>(piece.group) - 1]])];
        instance_group_.class_id = own.class_id;
        instance_group_.is_joined = own.is_joined;
        add_instrument(map, instance_group_, piece, scratch_);
        scratch_.located.back().instrument.instance = piece.group;
    }
    return sorted();
}

void Locator::paint(std::uint8_t *map, int width, int height) {
    std::fill(map, map + std::ptrdiff_t{width} * height, std::uint8_t{0});
    const std::size_t count = std::min<std::size_t>(scratch_.pieces_of.size(), 255);
    for (std::size_t i = 0; i < count; ++i) {
        collect(scratch_.pieces[static_cast<std::size_t>(scratch_.pieces_of[i])], scratch_);
        for (const Run &run : scratch_.part) {
            std::uint8_t *row = map + std::ptrdiff_t{run.y} * width;
            std::fill(row + run.begin, row + run.end, static_cast<std::uint8_t>(i + 1));
        }
    }
}

}  // namespace trocar::detail
