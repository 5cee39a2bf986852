#include "bit_grid.hpp"

#include <algorithm>

namespace trocar::detail {

void BitGrid::prepare(int width, int height) {
    const auto words = static_cast<std::size_t>(width + 63) / 64;
    words_.reserve((words + 2) * (static_cast<std::size_t>(height) + 2));
    added_.reserve(words * static_cast<std::size_t>(height));
}

void BitGrid::begin(const Runs &runs) {
    int left = runs.front().begin;
    int right = 0;
    for (const Run &run : runs) {
        left = std::min<int>(left, run.begin);
        right = std::max<int>(right, run.end);
    }
    left_ = left;
    top_ = runs.front().y;
    height_ = runs.back().y + 1 - top_;
    pitch_ = (right - left + 63) / 64 + 2;
    words_.assign(static_cast<std::size_t>(pitch_ * (height_ + 2)), 0);
    added_.resize(static_cast<std::size_t>((pitch_ - 2) * height_));
}

void BitGrid::begin(const BitGrid &other) {
    left_ = other.left_;
    top_ = other.top_;
    height_ = other.height_;
    pitch_ = other.pitch_;
    words_.assign(other.words_.size(), 0);
    added_.resize(other.added_.size());
}

void BitGrid::set(const Run &run) {
    std::uint64_t *words = row(run.y - top_);
    const int begin = run.begin - left_;
    const int end = run.end - left_;
    const int first = begin / 64;
    const int last = (end - 1) / 64;
    const std::uint64_t from = ~std::uint64_t{0} << begin % 64;
    const std::uint64_t to = ~std::uint64_t{0} >> (63 - (end - 1) % 64);
    if (first == last) {
        words[first] |= from & to;
        return;
    }
    words[first] |= from;
    std::fill(words + first + 1, words + last, ~std::uint64_t{0});
    words[last] |= to;
}

}  // namespace trocar::detail
