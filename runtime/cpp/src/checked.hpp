// Sizes of images in memory, computed without overflow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace trocar::detail {

// A row of the widest frame has 131,072 bytes; no camera pads it to more than this.
inline constexpr std::uint64_t max_stride = std::uint64_t{1} << 31;

/// |number|, of the smallest one too.
inline std::uint64_t magnitude(std::ptrdiff_t number) {
    const auto bits = static_cast<std::uint64_t>(number);
    return number < 0 ? std::uint64_t{0} - bits : bits;
}

/// `a * b + c`, or nothing if it is beyond std::size_t.
inline std::optional<std::size_t> multiply_add(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
    constexpr std::uint64_t most = std::numeric_limits<std::size_t>::max();
    if (c > most || (b != 0 && a > (most - c) / b)) return std::nullopt;
    return static_cast<std::size_t>(a * b + c);
}

/// Bytes from the first to the last one of `rows` rows (1 or more) of `row_bytes`, `stride` apart;
/// nothing for a stride that is shorter than a row or beyond `max_stride`.
inline std::optional<std::size_t> image_bytes(std::ptrdiff_t stride, std::int64_t rows,
                                              std::int64_t row_bytes) {
    const std::uint64_t step = magnitude(stride);
    if (rows < 1 || row_bytes < 1 || step > max_stride ||
        step < static_cast<std::uint64_t>(row_bytes))
        return std::nullopt;
    return multiply_add(step, static_cast<std::uint64_t>(rows - 1),
                        static_cast<std::uint64_t>(row_bytes));
}

}  // namespace trocar::detail
