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

Point mean_of_members(const Grid &grid, const Pixels &pixels,
                      const std::vector<std::int32_t> &members) {
    std::int64_t x = 0;
    std::int64_t y = 0;
    for (const std::int32_t i : members) {
        x += pixels[static_cast<std::size_t>(i)].x;
        y += pixels[static_cast<std::size_t>(i)].y;
    }
    return mean_point(grid, static_cast<std::int64_t>(members.size()), x, y);
}

}  // namespace

void TipFinder::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    squares_.reserve(count);
    outside_.reserve(count);
    largest_square_.reserve(count);
    is_seed_.reserve(count);
    for (auto *list : {&indices_, &roots_, &sizes_, &ends_[0], &ends_[1]}) list->reserve(count);
    geodesic_.prepare(width, height);
}

int TipFinder::find(const Grid &grid, Pixels &candidates, Point start, double area,
                    ConnectedComponents &components, std::array<Point, 2> &tips) {
    if (candidates.empty()) return 0;
    Lengths lengths{};
    lengths.far = std::sqrt(measure_distances(grid, candidates, start));
    lengths.unit = std::max(grid.sx, grid.sy);
    const double far = lengths.far;
    const double unit = lengths.unit;
    if (far <= 2 * unit) return 0;
    lengths.width = area / far;
    lengths.depth = std::min(4 * lengths.width, 0.5 * far);
    lengths.min_jaw = std::max(2 * unit, 0.3 * lengths.width);
    keep_far_end(candidates, (far - lengths.depth) * (far - lengths.depth));
    if (!find_open_jaws(candidates, lengths, components)) {
        find_geodesic_end(grid, candidates, lengths);
        tips[0] = mean_of_members(grid, candidates, ends_[0]);
        return 1;
    }
    const double cap = std::max(2 * unit, 0.15 * lengths.width);
    for (auto &jaw : ends_) keep_end_of_jaw(jaw, cap);
    tips = {mean_of_members(grid, candidates, ends_[0]),
            mean_of_members(grid, candidates, ends_[1])};
    if (tips[1].y < tips[0].y || (tips[1].y == tips[0].y && tips[1].x < tips[0].x))
        std::swap(tips[0], tips[1]);
    return 2;
}

double TipFinder::measure_distances(const Grid &grid, const Pixels &candidates, Point start) {
    squares_.clear();
    for (const Pixel &pixel : candidates) {
        const double dx = grid.x_of(pixel) - start.x;
        const double dy = grid.y_of(pixel) - start.y;
        squares_.push_back(dx * dx + dy * dy);
    }
    return *std::max_element(squares_.begin(), squares_.end());
}

void TipFinder::keep_far_end(Pixels &candidates, double min_square) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (squares_[i] < min_square) continue;
        squares_[kept] = squares_[i];
        candidates[kept++] = candidates[i];
    }
    squares_.resize(kept);
    candidates.resize(kept);
}

bool TipFinder::find_open_jaws(const Pixels &candidates, const Lengths &lengths,
                               ConnectedComponents &components) {
    bool are_open = false;
    double longest = 0;
    for (int k = 1; k <= num_circles; ++k) {
        const double radius = lengths.far - lengths.depth * k / num_circles;
        cut_with_circle(candidates, radius, components);
        // Roots are in order of first pixel, so of equal lengths the earlier one stays first.
        Part first;
        Part second;
        for (std::size_t i = 0; i < outside_.size(); ++i) {
            if (sizes_[i] < min_jaw_pixels) continue;
            const Part part{std::sqrt(largest_square_[i]) - radius, static_cast<std::int32_t>(i)};
            if (first.root < 0 || part.length > first.length) {
                second = first;
                first = part;
            } else if (second.root < 0 || part.length > second.length) {
                second = part;
            }
        }
        if (second.root < 0 || second.length < lengths.min_jaw || second.length <= longest)
            continue;
        longest = second.length;
        are_open = true;
        ends_[0].clear();
        ends_[1].clear();
        for (std::size_t i = 0; i < outside_.size(); ++i) {
            if (roots_[i] == first.root) ends_[0].push_back(indices_[i]);
            if (roots_[i] == second.root) ends_[1].push_back(indices_[i]);
        }
    }
    return are_open;
}

void TipFinder::cut_with_circle(const Pixels &candidates, double radius,
                                ConnectedComponents &components) {
    outside_.clear();
    indices_.clear();
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (squares_[i] < radius * radius) continue;
        outside_.push_back(candidates[i]);
        indices_.push_back(static_cast<std::int32_t>(i));
    }
    components.find(outside_, roots_);
    sizes_.assign(outside_.size(), 0);
    largest_square_.assign(outside_.size(), 0);
    for (std::size_t i = 0; i < outside_.size(); ++i) {
        const auto root = static_cast<std::size_t>(roots_[i]);
        const double square = squares_[static_cast<std::size_t>(indices_[i])];
        ++sizes_[root];
        largest_square_[root] = std::max(largest_square_[root], square);
    }
}

void TipFinder::find_geodesic_end(const Grid &grid, const Pixels &candidates,
                                  const Lengths &lengths) {
    std::vector<std::int32_t> &zone = ends_[0];
    zone.clear();
    const double reach = std::min(2 * lengths.width, 0.5 * lengths.far);
    const double min_square = (lengths.far - reach) * (lengths.far - reach);
    double nearest = HUGE_VAL;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (squares_[i] < min_square) continue;
        zone.push_back(static_cast<std::int32_t>(i));
        nearest = std::min(nearest, squares_[i]);
    }
    const double near = std::sqrt(nearest) + 2 * lengths.unit;
    is_seed_.clear();
    for (const std::int32_t i : zone)
        is_seed_.push_back(squares_[static_cast<std::size_t>(i)] < near * near ? 1 : 0);
    geodesic_.keep_farthest(grid, candidates, is_seed_, zone);
}

void TipFinder::keep_end_of_jaw(std::vector<std::int32_t> &members, double cap) const {
    double largest = 0;
    for (const std::int32_t i : members)
        largest = std::max(largest, squares_[static_cast<std::size_t>(i)]);
    const double edge = std::sqrt(largest) - cap;
    std::size_t kept = 0;
    for (const std::int32_t i : members)
        if (squares_[static_cast<std::size_t>(i)] >= edge * edge) members[kept++] = i;
    members.resize(kept);
}

}  // namespace trocar::detail
