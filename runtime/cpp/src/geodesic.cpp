#include "geodesic.hpp"

#include <algorithm>

namespace trocar::detail {

namespace {

// Values of round_of_ beside the numbers of rounds; seeds have round 0.
constexpr std::int32_t outside = -1;
constexpr std::int32_t unreached = -2;

}  // namespace

void GeodesicSearch::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    if (round_of_.size() < count) round_of_.resize(count, outside);
    for (auto *list : {&front_, &older_, &reached_}) list->reserve(count);
}

void GeodesicSearch::keep_farthest(const Grid &grid, const Pixels &pixels,
                                   const std::vector<char> &is_seed,
                                   std::vector<std::int32_t> &members) {
    front_.clear();
    older_.clear();
    for (std::size_t k = 0; k < members.size(); ++k) {
        const Pixel &pixel = pixels[static_cast<std::size_t>(members[k])];
        round_of_[static_cast<std::size_t>(pixel.at)] = is_seed[k] != 0 ? 0 : unreached;
        if (is_seed[k] != 0) front_.push_back(pixel);
    }
    const std::int32_t last = search(grid);
    const auto count = static_cast<std::int64_t>(members.size());
    const std::int64_t num_last = std::max<std::int64_t>(2, 3 * count / (10 * (last + 2)));
    std::size_t kept = 0;
    for (const std::int32_t i : members) {
        const Pixel &pixel = pixels[static_cast<std::size_t>(i)];
        std::int32_t &round = round_of_[static_cast<std::size_t>(pixel.at)];
        if (last == 0 || (round > 0 && round > last - num_last)) members[kept++] = i;
        round = outside;
    }
    members.resize(kept);
}

std::int32_t GeodesicSearch::search(const Grid &grid) {
    std::int32_t last = 0;
    for (std::int32_t round = 1;; ++round) {
        const bool is_odd = round % 2 != 0;
        run_round(grid, is_odd ? 8 : 4, round);
        if (!reached_.empty())
            last = round;
        else if (is_odd)
            return last;
        // A round of four neighbours leaves corners that the next round of eight reaches.
        older_.swap(front_);
        front_.swap(reached_);
    }
}

void GeodesicSearch::run_round(const Grid &grid, int neighbours, std::int32_t round) {
    constexpr int dx[8] = {0, -1, 1, 0, -1, 1, -1, 1};
    constexpr int dy[8] = {-1, 0, 0, 1, -1, -1, 1, 1};
    reached_.clear();
    for (const std::vector<Pixel> *from : {&front_, &older_}) {
        for (const Pixel &pixel : *from) {
            for (int k = 0; k < neighbours; ++k) {
                const int x = pixel.x + dx[k];
                const int y = pixel.y + dy[k];
                if (x < 0 || y < 0 || x >= grid.width || y >= grid.height) continue;
                const std::int32_t at = y * grid.width + x;
                if (round_of_[static_cast<std::size_t>(at)] != unreached) continue;
                round_of_[static_cast<std::size_t>(at)] = round;
                reached_.push_back(
                    {at, static_cast<std::int16_t>(x), static_cast<std::int16_t>(y)});
            }
        }
    }
}

}  // namespace trocar::detail
