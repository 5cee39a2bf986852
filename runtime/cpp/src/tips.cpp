#include "tips.hpp"

#include <algorithm>
#include <cmath>

namespace trocar::detail {

namespace {

constexpr int cuts = 8;
constexpr int min_piece = 4;

struct Jaw {
    double length = 0;
    std::int32_t root = -1;
};

}  // namespace

void TipFinder::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    candidates.reserve(count);
    squares_.reserve(count);
    cut_off_.reserve(count);
    largest_.reserve(count);
    for (auto *list : {&indices_, &roots_, &sizes_, &jaws_[0], &jaws_[1]}) list->reserve(count);
}

int TipFinder::find(const Grid &grid, Point start, double area, Clusters &clusters,
                    std::array<Point, 2> &tips) {
    if (candidates.empty()) return 0;
    squares_.clear();
    for (const Pixel &pixel : candidates) {
        const double dx = grid.x_of(pixel) - start.x;
        const double dy = grid.y_of(pixel) - start.y;
        squares_.push_back(dx * dx + dy * dy);
    }
    const double far = std::sqrt(*std::max_element(squares_.begin(), squares_.end()));
    const double unit = std::max(grid.sx, grid.sy);
    if (far <= 2 * unit) return 0;
    const double width = area / far;
    const double depth = std::min(4 * width, 0.5 * far);
    const double least = std::max(2 * unit, 0.3 * width);
    const double inner = (far - depth) * (far - depth);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (squares_[i] < inner) continue;
        squares_[kept] = squares_[i];
        candidates[kept++] = candidates[i];
    }
    squares_.resize(kept);
    candidates.resize(kept);
    if (find_jaws(far, depth, least, clusters)) {
        tips = {end_of(grid, jaws_[0]), end_of(grid, jaws_[1])};
        if (tips[1].y < tips[0].y || (tips[1].y == tips[0].y && tips[1].x < tips[0].x))
            std::swap(tips[0], tips[1]);
        return 2;
    }
    jaws_[0].clear();
    for (std::size_t i = 0; i < kept; ++i) jaws_[0].push_back(static_cast<std::int32_t>(i));
    tips[0] = end_of(grid, jaws_[0]);
    return 1;
}

bool TipFinder::find_jaws(double far, double depth, double least, Clusters &clusters) {
    bool found = false;
    double longest = 0;
    for (int k = 1; k <= cuts; ++k) {
        const double cut = far - depth * k / cuts;
        cut_off_.clear();
        indices_.clear();
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            if (squares_[i] < cut * cut) continue;
            cut_off_.push_back(candidates[i]);
            indices_.push_back(static_cast<std::int32_t>(i));
        }
        clusters.find(cut_off_, roots_);
        sizes_.assign(cut_off_.size(), 0);
        largest_.assign(cut_off_.size(), 0);
        for (std::size_t i = 0; i < cut_off_.size(); ++i) {
            const auto root = static_cast<std::size_t>(roots_[i]);
            ++sizes_[root];
            largest_[root] =
                std::max(largest_[root], squares_[static_cast<std::size_t>(indices_[i])]);
        }
        // Roots come in order of first pixel, so of equal lengths the earlier one stays ahead.
        Jaw first;
        Jaw second;
        for (std::size_t i = 0; i < cut_off_.size(); ++i) {
            if (sizes_[i] < min_piece) continue;
            const Jaw jaw{std::sqrt(largest_[i]) - cut, static_cast<std::int32_t>(i)};
            if (first.root < 0 || jaw.length > first.length) {
                second = first;
                first = jaw;
            } else if (second.root < 0 || jaw.length > second.length) {
                second = jaw;
            }
        }
        if (second.root < 0 || second.length < least || second.length <= longest) continue;
        longest = second.length;
        found = true;
        jaws_[0].clear();
        jaws_[1].clear();
        for (std::size_t i = 0; i < cut_off_.size(); ++i) {
            if (roots_[i] == first.root) jaws_[0].push_back(indices_[i]);
            if (roots_[i] == second.root) jaws_[1].push_back(indices_[i]);
        }
    }
    return found;
}

Point TipFinder::end_of(const Grid &grid, const std::vector<std::int32_t> &members) const {
    double largest = 0;
    for (const std::int32_t i : members)
        largest = std::max(largest, squares_[static_cast<std::size_t>(i)]);
    const double edge = std::sqrt(largest) - 2 * std::max(grid.sx, grid.sy);
    std::int64_t count = 0;
    std::int64_t sum_x = 0;
    std::int64_t sum_y = 0;
    for (const std::int32_t i : members) {
        if (squares_[static_cast<std::size_t>(i)] < edge * edge) continue;
        ++count;
        sum_x += candidates[static_cast<std::size_t>(i)].x;
        sum_y += candidates[static_cast<std::size_t>(i)].y;
    }
    const auto n = static_cast<double>(count);
    return {(static_cast<double>(sum_x) / n + 0.5) * grid.sx,
            (static_cast<double>(sum_y) / n + 0.5) * grid.sy};
}

}  // namespace trocar::detail
