#include "confidence.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "half.hpp"

namespace trocar::detail {

namespace {

// Values of this many pixels are added at once: their sum in units of 2^-24 fits 32 bits.
constexpr std::ptrdiff_t block = 64;

/// Sum of halves in double: exact, for they are multiples of 2^-24.
double sum_of(const std::uint16_t *values, std::ptrdiff_t count) {
    double sum = 0;
    for (std::ptrdiff_t at = 0; at < count; at += block) {
        const std::ptrdiff_t n = std::min(block, count - at);
        const std::uint16_t *value = values + at;
        // Normal numbers up to 1, which confidences are: the compiler takes many at a time.
        std::int32_t others = 0;
        for (std::ptrdiff_t i = 0; i < n; ++i)
            others |= (std::int32_t{value[i]} - 0x0400) | (0x3C00 - std::int32_t{value[i]});
        if (others < 0) {
            for (std::ptrdiff_t i = 0; i < n; ++i) sum += double_from_half(value[i]);
            continue;
        }
        std::int32_t units = 0;
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const std::int32_t bits = (std::int32_t{value[i]} << 13) + 0x38000000;
            float single = 0;
            std::memcpy(&single, &bits, sizeof single);
            units += static_cast<std::int32_t>(single * 0x1p24F);
        }
        sum += units * 0x1p-24;
    }
    return sum;
}

/// Sum of the values rounded to halves.
double sum_of(const float *values, std::ptrdiff_t count) {
    std::uint16_t rounded[block];
    double sum = 0;
    for (std::ptrdiff_t at = 0; at < count; at += block) {
        const std::ptrdiff_t n = std::min(block, count - at);
        for (std::ptrdiff_t i = 0; i < n; ++i) rounded[i] = half_from_float(values[at + i]);
        sum += sum_of(rounded, n);
    }
    return sum;
}

}  // namespace

double mean_confidence(const Confidence &confidence, const Runs &runs, int width) {
    const std::int64_t n = count_pixels(runs);
    const auto first = [width](const Run &run) {
        return static_cast<std::ptrdiff_t>(run.y) * width + run.begin;
    };
    if (confidence.byte != nullptr) {
        std::int64_t sum = 0;
        for (const Run &run : runs) {
            const std::uint8_t *values = confidence.byte + first(run);
            for (int i = 0; i < run.end - run.begin; ++i) sum += values[i];
        }
        return static_cast<double>(sum) / static_cast<double>(255 * n);
    }
    if (confidence.half == nullptr && confidence.single == nullptr) return 1;
    double sum = 0;
    for (const Run &run : runs)
        sum += confidence.half != nullptr
                   ? sum_of(confidence.half + first(run), run.end - run.begin)
                   : sum_of(confidence.single + first(run), run.end - run.begin);
    return sum / static_cast<double>(n);
}

}  // namespace trocar::detail
