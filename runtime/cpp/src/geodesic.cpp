#include "geodesic.hpp"

#include <algorithm>

namespace trocar::detail {

void GeodesicSearch::prepare(int width, int height) {
    const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    zone_.prepare(width, height);
    reached_.prepare(width, height);
    places_.reserve(count);
    // Each second round reaches a pixel at least.
    ends_.reserve(2 * count + 2);
}

PixelSums GeodesicSearch::farthest(const Runs &zone, const Runs &seeds) {
    zone_.begin(zone);
    reached_.begin(zone_);
    for (const Run &run : zone) zone_.set(run);
    for (const Run &run : seeds) reached_.set(run);
    const std::int32_t last = search();
    PixelSums sums;
    if (last == 0) {
        for (const Run &run : zone) sums.add(run);
        return sums;
    }
    const std::int64_t rounds =
        std::max<std::int64_t>(2, 3 * count_pixels(zone) / (10 * (last + 2)));
    const std::int32_t begin = last > rounds ? ends_[static_cast<std::size_t>(last - rounds)] : 0;
    for (auto i = static_cast<std::size_t>(begin); i < places_.size(); ++i)
        sums.add(places_[i].x, places_[i].y);
    return sums;
}

std::int32_t GeodesicSearch::search() {
    places_.clear();
    ends_.assign(1, 0);
    std::int32_t last = 0;
    // Rows that were reached in the two rounds before: a round of four neighbours leaves corners
    // that the next round of eight reaches.
    int first[2] = {0, 0};
    int end[2] = {reached_.height(), reached_.height()};
    for (std::int32_t round = 1;; ++round) {
        const bool is_odd = round % 2 != 0;
        int from = std::min(first[0], first[1]);
        int to = std::max(end[0], end[1]);
        reached_.grow(zone_, is_odd ? 8 : 4, from, to, [&](int x, int y) {
            places_.push_back({static_cast<std::int16_t>(x), static_cast<std::int16_t>(y)});
        });
        const auto count = static_cast<std::int32_t>(places_.size());
        if (count > ends_.back())
            last = round;
        else if (is_odd)
            return last;
        ends_.push_back(count);
        first[round % 2] = from;
        end[round % 2] = to;
    }
}

}  // namespace trocar::detail
