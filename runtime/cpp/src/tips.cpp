#include "tips.hpp"

#include <algorithm>
#include <cmath>

namespace trocar::detail {

namespace {

constexpr int cuts = 8;
constexpr int min_piece = 4;

// Rounds at which a pixel is claimed, in `rounds_`; begins hold 0.
constexpr std::int32_t outside = -1;
constexpr std::int32_t unclaimed = -2;

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
    if (rounds_.size() < count) rounds_.resize(count, outside);
    for (auto *list : {&front_, &older_, &claimed_}) list->reserve(count);
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
        const double cap = std::max(2 * unit, 0.15 * width);
        for (auto &jaw : jaws_) keep_end(jaw, cap);
        tips = {mean_of_members(grid, jaws_[0]), mean_of_members(grid, jaws_[1])};
        if (tips[1].y < tips[0].y || (tips[1].y == tips[0].y && tips[1].x < tips[0].x))
            std::swap(tips[0], tips[1]);
        return 2;
    }
    walk(grid, far, std::min(2 * width, 0.5 * far), unit);
    tips[0] = mean_of_members(grid, jaws_[0]);
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

void TipFinder::walk(const Grid &grid, double far, double reach, double unit) {
    std::vector<std::int32_t> &zone = jaws_[0];
    zone.clear();
    double nearest = HUGE_VAL;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (squares_[i] < (far - reach) * (far - reach)) continue;
        zone.push_back(static_cast<std::int32_t>(i));
        nearest = std::min(nearest, squares_[i]);
    }
    const double near = std::sqrt(nearest) + 2 * unit;
    front_.clear();
    older_.clear();
    for (const std::int32_t i : zone) {
        const auto index = static_cast<std::size_t>(i);
        const bool begins = squares_[index] < near * near;
        rounds_[static_cast<std::size_t>(candidates[index].at)] = begins ? 0 : unclaimed;
        if (begins) front_.push_back(candidates[index]);
    }
    std::int32_t last = 0;
    for (std::int32_t round = 1;; ++round) {
        step(grid, round % 2 != 0 ? 8 : 4, round);
        if (!claimed_.empty())
            last = round;
        else if (round % 2 != 0)
            break;
        // A round of four leaves corners that the next round of eight goes to.
        older_.swap(front_);
        front_.swap(claimed_);
    }
    const auto count = static_cast<std::int64_t>(zone.size());
    const std::int64_t back = std::max<std::int64_t>(2, 3 * count / (10 * (last + 2)));
    std::size_t kept = 0;
    for (const std::int32_t i : zone) {
        std::int32_t &round =
            rounds_[static_cast<std::size_t>(candidates[static_cast<std::size_t>(i)].at)];
        if (last == 0 || (round > 0 && round > last - back)) zone[kept++] = i;
        round = outside;
    }
    zone.resize(kept);
}

void TipFinder::step(const Grid &grid, int neighbours, std::int32_t round) {
    constexpr int dx[8] = {0, -1, 1, 0, -1, 1, -1, 1};
    constexpr int dy[8] = {-1, 0, 0, 1, -1, -1, 1, 1};
    claimed_.clear();
    for (const std::vector<Pixel> *from : {&front_, &older_}) {
        for (const Pixel &pixel : *from) {
            for (int k = 0; k < neighbours; ++k) {
                const int x = pixel.x + dx[k];
                const int y = pixel.y + dy[k];
                if (x < 0 || y < 0 || x >= grid.width || y >= grid.height) continue;
                const std::int32_t at = y * grid.width + x;
                if (rounds_[static_cast<std::size_t>(at)] != unclaimed) continue;
                rounds_[static_cast<std::size_t>(at)] = round;
                claimed_.push_back(
                    {at, static_cast<std::int16_t>(x), static_cast<std::int16_t>(y)});
            }
        }
    }
}

void TipFinder::keep_end(std::vector<std::int32_t> &members, double cap) const {
    double largest = 0;
    for (const std::int32_t i : members)
        largest = std::max(largest, squares_[static_cast<std::size_t>(i)]);
    const double edge = std::sqrt(largest) - cap;
    std::size_t kept = 0;
    for (const std::int32_t i : members)
        if (squares_[static_cast<std::size_t>(i)] >= edge * edge) members[kept++] = i;
    members.resize(kept);
}

Point TipFinder::mean_of_members(const Grid &grid, const std::vector<std::int32_t> &members) const {
    std::int64_t sum_x = 0;
    std::int64_t sum_y = 0;
    for (const std::int32_t i : members) {
        sum_x += candidates[static_cast<std::size_t>(i)].x;
        sum_y += candidates[static_cast<std::size_t>(i)].y;
    }
    const auto n = static_cast<double>(members.size());
    return {(static_cast<double>(sum_x) / n + 0.5) * grid.sx,
            (static_cast<double>(sum_y) / n + 0.5) * grid.sy};
}

}  // namespace trocar::detail
