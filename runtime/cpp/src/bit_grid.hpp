// A rectangle of pixels, one bit each: steps of a search inside it take one operation for 64
// pixels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runs.hpp"

namespace trocar::detail {

class BitGrid {
  public:
    /// Allocates the memory that any rectangle of a map of that size needs.
    void prepare(int width, int height);
    /// Begins a rectangle around runs, with all bits 0.
    void begin(const Runs &runs);
    /// The same rectangle as another grid, with all bits 0.
    void begin(const BitGrid &other);

    void set(const Run &run);
    /// Sets the bits of `zone` that are not set here and have one of `neighbours` (8 or 4)
    /// neighbours that is; calls `reached(x, y)` for each in raster order. Looks only at the rows
    /// from `first` to `last` - 1, and the row before and behind them; leaves those with new bits.
    template <typename Reached>
    void grow(const BitGrid &zone, int neighbours, int &first, int &last, const Reached &reached);

    int top() const { return top_; }
    int height() const { return height_; }

  private:
    /// Bits of a word and those of its left and right neighbours.
    static std::uint64_t spread(const std::uint64_t *word) {
        return word[0] | word[0] << 1 | word[0] >> 1 | word[-1] >> 63 | word[1] << 63;
    }
    const std::uint64_t *row(int y) const {
        return words_.data() + static_cast<std::ptrdiff_t>(y + 1) * pitch_ + 1;
    }
    std::uint64_t *row(int y) {
        return words_.data() + static_cast<std::ptrdiff_t>(y + 1) * pitch_ + 1;
    }

    // A row of words before the first and one behind the last, and a word before and one behind
    // each row, are 0.
    std::vector<std::uint64_t> words_;
    std::vector<std::uint64_t> added_;
    int left_ = 0, top_ = 0, height_ = 0;
    std::ptrdiff_t pitch_ = 0;
};

template <typename Reached>
void BitGrid::grow(const BitGrid &zone, int neighbours, int &first, int &last,
                   const Reached &reached) {
    const int begin = first > 0 ? first - 1 : 0;
    const int end = last < height_ ? last + 1 : height_;
    const std::ptrdiff_t words = pitch_ - 2;
    first = end;
    last = begin;
    for (int y = begin; y < end; ++y) {
        const std::uint64_t *here = row(y);
        const std::uint64_t *inside = zone.row(y);
        std::uint64_t *added = added_.data() + y * words;
        for (std::ptrdiff_t i = 0; i < words; ++i) {
            const std::uint64_t *word = here + i;
            std::uint64_t near = spread(word);
            if (neighbours == 8)
                near |= spread(word - pitch_) | spread(word + pitch_);
            else
                near |= word[-pitch_] | word[pitch_];
            added[i] = near & inside[i] & ~word[0];
        }
    }
    // Only when all rows were looked at: what is new in this step has no neighbours in it.
    for (int y = begin; y < end; ++y) {
        std::uint64_t *here = row(y);
        const std::uint64_t *added = added_.data() + y * words;
        for (std::ptrdiff_t i = 0; i < words; ++i) {
            if (added[i] == 0) continue;
            here[i] |= added[i];
            if (first > y) first = y;
            last = y + 1;
            for (std::uint64_t rest = added[i]; rest != 0; rest &= rest - 1)
                reached(left_ + static_cast<int>(i) * 64 + __builtin_ctzll(rest), top_ + y);
        }
    }
}

}  // namespace trocar::detail
