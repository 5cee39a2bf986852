#include "tips.hpp"

#include <algorithm>
#include <cmath>

namespace trocar::detail {

namespace {

constexpr int num_circles = 8;
constexpr int min_jaw_pixels = 4;

/// A part outside a circle: how far it reaches beyond the circle, and its root.
struct Part {
    double length = 0;
    std::int32_t root = -1;
};

Run with_ends(const Run &run, int begin, int end) {
    return {run.y, static_cast<std::int16_t>(begin), static_cast<std::int16_t>(end), 0};
}

}  // namespace

void TipFinder::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    spans_.reserve(count);
    for (Runs *list : {&outside_, &zone_, &seeds_, &ends_[0], &ends_[1]}) list->reserve(count);
    components_.reserve(count);
    roots_.reserve(count);
    sizes_.reserve(count);
    longest_.reserve(count);
    geodesic_.prepare(width, height);
}

int TipFinder::find(const Grid &grid, const Runs &candidates, Point start, double area,
                    std::array<Point, 2> &tips) {
    if (candidates.empty()) return 0;
    grid_ = grid;
    start_ = start;
    Lengths lengths{};
    lengths.far = std::sqrt(measure_distances(candidates));
    lengths.unit = std::max(grid.sx, grid.sy);
    const double far = lengths.far;
    const double unit = lengths.unit;
    if (far <= 2 * unit) return 0;
    lengths.width = area / far;
    lengths.depth = std::min(4 * lengths.width, 0.5 * far);
    lengths.min_jaw = std::max(2 * unit, 0.3 * lengths.width);
    const double least = (far - lengths.depth) * (far - lengths.depth);
    spans_.erase(std::remove_if(spans_.begin(), spans_.end(),
                                [&](const Span &span) { return span.longest < least; }),
                 spans_.end());
    if (!find_open_jaws(lengths)) {
        tips[0] = geodesic_end(lengths);
        return 1;
    }
    const double cap = std::max(2 * unit, 0.15 * lengths.width);
    tips = {end_of_jaw(ends_[0], cap), end_of_jaw(ends_[1], cap)};
    if (tips[1].y < tips[0].y || (tips[1].y == tips[0].y && tips[1].x < tips[0].x))
        std::swap(tips[0], tips[1]);
    return 2;
}

TipFinder::Span TipFinder::span_of(const Run &run) const {
    const auto is_before = [&](int x) { return grid_.x_of(x) - start_.x < 0; };
    const double column = start_.x / grid_.sx - 0.5;
    int middle = !(column > run.begin) ? run.begin
                 : column < run.end    ? static_cast<int>(column)
                                       : run.end;
    while (middle > run.begin && !is_before(middle - 1)) --middle;
    while (middle < run.end && is_before(middle)) ++middle;
    const double dy = grid_.y_of(run.y) - start_.y;
    const double yy = dy * dy;
    return {run, static_cast<std::int16_t>(middle), yy,
            std::max(square(run.begin, yy), square(run.end - 1, yy))};
}

double TipFinder::measure_distances(const Runs &candidates) {
    spans_.clear();
    double longest = 0;
    for (const Run &run : candidates) {
        spans_.push_back(span_of(run));
        longest = std::max(longest, spans_.back().longest);
    }
    return longest;
}

void TipFinder::cut(const Span &span, double least, int &first, int &second) const {
    first = span.run.begin;
    second = span.run.end;
    if (span.longest < least) return;
    // Binary searches: for the first pixel that is nearer, and for the first behind it that is not.
    for (int end = span.middle; first < end;) {
        const int x = (first + end) / 2;
        if (square(x, span.yy) >= least)
            first = x + 1;
        else
            end = x;
    }
    int begin = span.middle;
    while (begin < second) {
        const int x = (begin + second) / 2;
        if (square(x, span.yy) >= least)
            second = x;
        else
            begin = x + 1;
    }
}

void TipFinder::take_outside(double least, Runs &out) const {
    out.clear();
    int first = 0;
    int second = 0;
    for (const Span &span : spans_) {
        cut(span, least, first, second);
        if (span.run.begin < first) append(out, with_ends(span.run, span.run.begin, first));
        if (second < span.run.end) append(out, with_ends(span.run, second, span.run.end));
    }
}

double TipFinder::longest_of(const Run &run) const {
    const double dy = grid_.y_of(run.y) - start_.y;
    const double yy = dy * dy;
    return std::max(square(run.begin, yy), square(run.end - 1, yy));
}

bool TipFinder::find_open_jaws(const Lengths &lengths) {
    bool are_open = false;
    double longest = 0;
    for (int k = num_circles; k > 0; --k) {
        const double radius = lengths.far - lengths.depth * k / num_circles;
        // No part is longer than its circle's distance from the farthest pixel.
        if (longest > lengths.far - radius) break;
        take_outside(radius * radius, outside_);
        components_.find(outside_, roots_);
        sizes_.assign(outside_.size(), 0);
        longest_.assign(outside_.size(), 0);
        for (std::size_t i = 0; i < outside_.size(); ++i) {
            const auto root = static_cast<std::size_t>(roots_[i]);
            sizes_[root] += outside_[i].end - outside_[i].begin;
            longest_[root] = std::max(longest_[root], longest_of(outside_[i]));
        }
        // Roots are in order of first pixel, so of equal lengths the earlier one stays first.
        Part first;
        Part second;
        for (std::size_t i = 0; i < outside_.size(); ++i) {
            if (sizes_[i] < min_jaw_pixels) continue;
            const Part part{std::sqrt(longest_[i]) - radius, static_cast<std::int32_t>(i)};
            if (first.root < 0 || part.length > first.length) {
                second = first;
                first = part;
            } else if (second.root < 0 || part.length > second.length) {
                second = part;
            }
        }
        // Of equal ones, that of the smallest k.
        if (second.root < 0 || second.length < lengths.min_jaw || second.length < longest) continue;
        longest = second.length;
        are_open = true;
        ends_[0].clear();
        ends_[1].clear();
        for (std::size_t i = 0; i < outside_.size(); ++i) {
            if (roots_[i] == first.root) ends_[0].push_back(outside_[i]);
            if (roots_[i] == second.root) ends_[1].push_back(outside_[i]);
        }
    }
    return are_open;
}

Point TipFinder::geodesic_end(const Lengths &lengths) {
    const double reach = std::min(2 * lengths.width, 0.5 * lengths.far);
    take_outside((lengths.far - reach) * (lengths.far - reach), zone_);
    double nearest = HUGE_VAL;
    for (const Run &run : zone_) {
        const Span span = span_of(run);
        if (span.middle > run.begin) nearest = std::min(nearest, square(span.middle - 1, span.yy));
        if (span.middle < run.end) nearest = std::min(nearest, square(span.middle, span.yy));
    }
    const double near = std::sqrt(nearest) + 2 * lengths.unit;
    seeds_.clear();
    int first = 0;
    int second = 0;
    for (const Run &run : zone_) {
        cut(span_of(run), near * near, first, second);
        if (first < second) seeds_.push_back(with_ends(run, first, second));
    }
    return mean_of(geodesic_.farthest(zone_, seeds_));
}

Point TipFinder::end_of_jaw(const Runs &jaw, double cap) const {
    double longest = 0;
    for (const Run &run : jaw) longest = std::max(longest, longest_of(run));
    const double edge = std::sqrt(longest) - cap;
    PixelSums sums;
    int first = 0;
    int second = 0;
    for (const Run &run : jaw) {
        cut(span_of(run), edge * edge, first, second);
        sums.add(with_ends(run, run.begin, first));
        sums.add(with_ends(run, second, run.end));
    }
    return mean_of(sums);
}

Point TipFinder::mean_of(const PixelSums &sums) const {
    return mean_point(grid_, sums.n, sums.x, sums.y);
}

}  // namespace trocar::detail
