#include "locate.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "half.hpp"

namespace trocar::detail {

namespace {

constexpr int border = 2;
constexpr double view_border = 0.03;
constexpr double round_enough = 0.5;
constexpr double degrees = 180.0 / 3.141592653589793238462643383279502884;

__extension__ using Wide = __int128;

bool is_shaft_part(const std::string &part) { return part == "shaft"; }
bool is_tip_part(const std::string &part) {
    return part == "clasper" || part == "jaw" || part == "tip";
}

/// Sums over the pixels of a region; exact.
struct Sums {
    std::int64_t n = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    int left = max_network_side, right = 0, top = max_network_side, bottom = 0;
};

Sums sums_of(const Pixels &pixels) {
    Sums s;
    s.n = static_cast<std::int64_t>(pixels.size());
    for (const Pixel &pixel : pixels) {
        const std::int64_t x = pixel.x;
        const std::int64_t y = pixel.y;
        s.x += x;
        s.y += y;
        s.xx += x * x;
        s.yy += y * y;
        s.xy += x * y;
        s.left = std::min<int>(s.left, pixel.x);
        s.right = std::max<int>(s.right, pixel.x + 1);
    }
    s.top = pixels.front().y;
    s.bottom = pixels.back().y + 1;
    return s;
}

Point mean_of(const Grid &grid, std::int64_t n, std::int64_t x, std::int64_t y) {
    const auto count = static_cast<double>(n);
    return {(static_cast<double>(x) / count + 0.5) * grid.sx,
            (static_cast<double>(y) / count + 0.5) * grid.sy};
}

/// Unit vector of the larger variance, and the ratio of the variances (section 4).
std::pair<Point, double> principal_axis(const Grid &grid, const Sums &s) {
    const auto moment = [&s](std::int64_t products, std::int64_t a, std::int64_t b) {
        return static_cast<double>(Wide{s.n} * products - Wide{a} * b);
    };
    const auto square = static_cast<double>(Wide{s.n} * s.n);
    const double xx = moment(s.xx, s.x, s.x) / square * grid.sx * grid.sx;
    const double yy = moment(s.yy, s.y, s.y) / square * grid.sy * grid.sy;
    const double xy = moment(s.xy, s.x, s.y) / square * grid.sx * grid.sy;
    const double difference = xx - yy;
    const double root = std::sqrt(difference * difference + 4 * xy * xy);
    if (root == 0) return {{1, 0}, 1};
    const double cosine = difference / root;
    const double dx = std::sqrt((1 + cosine) / 2);
    const double dy = std::sqrt((1 - cosine) / 2);
    return {{dx, xy < 0 ? -dy : dy}, (xx + yy - root) / (xx + yy + root)};
}

}  // namespace

Locator::Locator(const std::vector<ClassRow> &classes, const LocateOptions &options)
    : options_(options) {
    group_of_.fill(-1);
    std::map<std::string, std::int16_t> joined;
    for (const ClassRow &row : classes) {
        if (!row.instrument) continue;
        const bool joins = !row.type.empty() && !row.part.empty();
        auto index = static_cast<std::int16_t>(groups_.size());
        if (joins) index = joined.emplace(row.type, index).first->second;
        if (static_cast<std::size_t>(index) == groups_.size()) {
            Group group;
            group.class_id = row.id;
            group.joined = joins;
            groups_.push_back(group);
        }
        const auto label = static_cast<std::size_t>(row.id);
        Group &group = groups_[static_cast<std::size_t>(index)];
        group_of_[label] = index;
        shaft_[label] = is_shaft_part(row.part);
        group.tips[label] = is_tip_part(row.part);
        group.has_shafts = group.has_shafts || shaft_[label];
        group.has_tips = group.has_tips || group.tips[label];
    }
}

void Locator::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    clusters_.prepare(width, height);
    regions_.prepare(width, height);
    separator_.prepare(width, height);
    tips_.prepare(width, height);
    for (Pixels *list : {&region_, &piece_, &border_}) list->reserve(count);
    for (auto *list : {&roots_, &sizes_, &entry_, &border_places_}) list->reserve(count);
    on_border_.reserve(count);
    const auto least = static_cast<std::size_t>(options_.min_pixels);
    const std::size_t most = std::min<std::size_t>(count / least + 1, 65536);
    order_.reserve(most);
    found_.reserve(most);
    sorted_.reserve(most);
}

const std::vector<trocar_instrument> &Locator::locate(const std::uint8_t *labels, int width,
                                                      int height, std::ptrdiff_t stride,
                                                      const Confidence &confidence,
                                                      const trocar_frame &frame) {
    prepare(width, height);
    grid_ = {labels,
             stride,
             width,
             height,
             static_cast<double>(frame.width) / width,
             static_cast<double>(frame.height) / height};
    confidence_ = confidence;
    set_view(frame);
    const std::int64_t area = std::int64_t{width} * height;
    const std::int64_t least = std::max<std::int64_t>(
        options_.min_pixels,
        static_cast<std::int64_t>(static_cast<double>(area) * options_.min_area));
    order_.clear();
    found_.clear();
    const std::size_t count = regions_.find(grid_, group_of_, least);
    for (std::size_t i = 0; i < count; ++i) {
        const Group &group = groups_[static_cast<std::size_t>(regions_.group(i))];
        regions_.pixels(i, grid_, region_);
        std::size_t pieces = 0;
        if (group.has_shafts) {
            mark_border(region_);
            pieces = separator_.find(grid_, region_, on_border_, shaft_, least, clusters_);
        }
        if (pieces < 2) {
            take(group, region_);
            continue;
        }
        for (std::size_t piece = 0; piece < pieces; ++piece) {
            separator_.piece(piece, region_, piece_);
            if (static_cast<std::int64_t>(piece_.size()) >= least) take(group, piece_);
        }
    }
    std::sort(order_.begin(), order_.end(), [](const Order &a, const Order &b) {
        if (a.class_id != b.class_id) return a.class_id < b.class_id;
        if (a.pixels != b.pixels) return a.pixels > b.pixels;
        return a.first < b.first;
    });
    sorted_.clear();
    for (const Order &order : order_) sorted_.push_back(found_[order.index]);
    return sorted_;
}

void Locator::set_view(const trocar_frame &frame) {
    has_view_ = frame.view[2] > 0;
    centre_ = {frame.width / 2.0, frame.height / 2.0};
    if (!has_view_) return;
    centre_ = {frame.view[0], frame.view[1]};
    const double radius = frame.view[2];
    const double inner =
        radius - std::max(border * std::max(grid_.sx, grid_.sy), view_border * radius);
    view_square_ = inner * inner;
}

bool Locator::on_border(Pixel pixel) const {
    if (pixel.x < border || pixel.x >= grid_.width - border || pixel.y < border ||
        pixel.y >= grid_.height - border)
        return true;
    if (!has_view_) return false;
    const double dx = grid_.x_of(pixel) - centre_.x;
    const double dy = grid_.y_of(pixel) - centre_.y;
    return dx * dx + dy * dy >= view_square_;
}

void Locator::mark_border(const Pixels &pixels) {
    on_border_.clear();
    for (const Pixel &pixel : pixels) on_border_.push_back(on_border(pixel) ? 1 : 0);
}

void Locator::take(const Group &group, const Pixels &pixels) {
    const Sums s = sums_of(pixels);
    auto [axis, ratio] = principal_axis(grid_, s);
    trocar_instrument made{};
    made.size = sizeof made;
    made.class_id = group.class_id;
    made.joined = group.joined ? 1 : 0;
    made.score = mean_confidence(pixels);
    made.box[0] = s.left * grid_.sx;
    made.box[1] = s.top * grid_.sy;
    made.box[2] = s.right * grid_.sx;
    made.box[3] = s.bottom * grid_.sy;
    const Point centroid = mean_of(grid_, s.n, s.x, s.y);
    made.centroid[0] = centroid.x;
    made.centroid[1] = centroid.y;
    made.area = static_cast<double>(s.n) * grid_.sx * grid_.sy;

    Point start;
    const bool has_entry = find_entry(pixels, start);
    made.touches_border = made.has_entry = has_entry ? 1 : 0;
    if (has_entry) {
        made.entry[0] = start.x;
        made.entry[1] = start.y;
    }
    const bool has_direction = has_entry || ratio <= round_enough;
    if (has_direction) {
        if (!has_entry) start = outer_end(pixels, axis);
        choose_candidates(group, pixels, has_entry);
        std::array<Point, 2> tips;
        made.tip_count = tips_.find(grid_, start, made.area, clusters_, tips);
        Point sum;
        for (int i = 0; i < made.tip_count; ++i) {
            const Point tip = tips[static_cast<std::size_t>(i)];
            made.tips[i][0] = tip.x;
            made.tips[i][1] = tip.y;
            sum = {sum.x + tip.x, sum.y + tip.y};
        }
        if (made.tip_count > 0) {
            const double dx = sum.x / made.tip_count - start.x;
            const double dy = sum.y / made.tip_count - start.y;
            if (dx * axis.x + dy * axis.y < 0) axis = {-axis.x, -axis.y};
        }
    }
    made.axis[0] = axis.x;
    made.axis[1] = axis.y;
    made.angle = std::atan2(axis.y, axis.x) * degrees;
    order_.push_back(
        {group.class_id, s.n, pixels.front().at, static_cast<std::uint32_t>(found_.size())});
    found_.push_back(made);
}

bool Locator::find_entry(const Pixels &pixels, Point &entry) {
    border_.clear();
    border_places_.clear();
    entry_.clear();
    for (std::size_t i = 0; i < pixels.size(); ++i) {
        if (!on_border(pixels[i])) continue;
        border_.push_back(pixels[i]);
        border_places_.push_back(static_cast<std::int32_t>(i));
    }
    if (border_.empty()) return false;
    clusters_.find(border_, roots_);
    sizes_.assign(border_.size(), 0);
    for (const std::int32_t root : roots_) ++sizes_[static_cast<std::size_t>(root)];
    const auto best =
        static_cast<std::int32_t>(std::max_element(sizes_.begin(), sizes_.end()) - sizes_.begin());
    std::int64_t x = 0;
    std::int64_t y = 0;
    for (std::size_t i = 0; i < border_.size(); ++i) {
        if (roots_[i] != best) continue;
        x += border_[i].x;
        y += border_[i].y;
        entry_.push_back(border_places_[i]);
    }
    entry = mean_of(grid_, static_cast<std::int64_t>(entry_.size()), x, y);
    return true;
}

Point Locator::outer_end(const Pixels &pixels, Point axis) const {
    Pixel ends[2] = {pixels.front(), pixels.front()};
    double along[2] = {HUGE_VAL, -HUGE_VAL};
    for (const Pixel &pixel : pixels) {
        const double p = grid_.x_of(pixel) * axis.x + grid_.y_of(pixel) * axis.y;
        if (p < along[0]) {
            along[0] = p;
            ends[0] = pixel;
        }
        if (p > along[1]) {
            along[1] = p;
            ends[1] = pixel;
        }
    }
    const auto distance = [this](Pixel pixel) {
        const double dx = grid_.x_of(pixel) - centre_.x;
        const double dy = grid_.y_of(pixel) - centre_.y;
        return dx * dx + dy * dy;
    };
    const Pixel end = distance(ends[1]) > distance(ends[0]) ? ends[1] : ends[0];
    return {grid_.x_of(end), grid_.y_of(end)};
}

void Locator::choose_candidates(const Group &group, const Pixels &pixels, bool has_entry) {
    Pixels &out = tips_.candidates;
    out.clear();
    if (group.has_tips) {
        for (const Pixel &pixel : pixels)
            if (group.tips[grid_.label(pixel)]) out.push_back(pixel);
        if (out.size() >= 4) return;
        out.clear();
    }
    std::size_t next = 0;
    for (std::size_t i = 0; i < pixels.size(); ++i) {
        if (has_entry && next < entry_.size() && entry_[next] == static_cast<std::int32_t>(i))
            ++next;
        else
            out.push_back(pixels[i]);
    }
}

double Locator::mean_confidence(const Pixels &pixels) const {
    const auto n = static_cast<std::int64_t>(pixels.size());
    if (confidence_.byte != nullptr) {
        std::int64_t sum = 0;
        for (const Pixel &pixel : pixels) sum += confidence_.byte[pixel.at];
        return static_cast<double>(sum) / static_cast<double>(255 * n);
    }
    double sum = 0;
    if (confidence_.half != nullptr) {
        for (const Pixel &pixel : pixels) sum += double_from_half(confidence_.half[pixel.at]);
    } else if (confidence_.single != nullptr) {
        for (const Pixel &pixel : pixels)
            sum += double_from_half(half_from_float(confidence_.single[pixel.at]));
    } else {
        return 1;
    }
    return sum / static_cast<double>(n);
}

}  // namespace trocar::detail
