// IEEE half precision to and from the wider types, in plain integer arithmetic.
#pragma once

#include <cstdint>
#include <cstring>

namespace trocar::detail {

inline float float_from_half(std::uint16_t half) {
    const std::uint32_t sign = std::uint32_t{half & 0x8000U} << 16;
    const std::uint32_t exponent = half >> 10 & 31;
    const std::uint32_t fraction = half & 1023;
    if (exponent == 0) {
        const float small = static_cast<float>(fraction) * 0x1p-24F;
        return sign != 0 ? -small : small;
    }
    const std::uint32_t bits =
        sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline double double_from_half(std::uint16_t half) { return float_from_half(half); }

/// Rounds to nearest, ties to even.
inline std::uint16_t half_from_float(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
    bits &= 0x7FFFFFFF;
    if (bits > 0x7F800000) return static_cast<std::uint16_t>(sign | 0x7E00);
    if (bits >= 0x477FF000) return static_cast<std::uint16_t>(sign | 0x7C00);
    if (bits >= 0x38800000) {
        bits += 0xFFF + (bits >> 13 & 1);
        return static_cast<std::uint16_t>(sign | ((bits - 0x38000000) >> 13));
    }
    if (bits < 0x33000000) return sign;
    const std::uint32_t shift = 126 - (bits >> 23);
    const std::uint32_t fraction = (bits & 0x7FFFFF) | 0x800000;
    const std::uint32_t kept = fraction >> shift;
    const std::uint32_t rest = fraction & ((1U << shift) - 1);
    const std::uint32_t middle = 1U << (shift - 1);
    const bool up = rest > middle || (rest == middle && (kept & 1) != 0);
    return static_cast<std::uint16_t>(sign | (kept + (up ? 1 : 0)));
}

}  // namespace trocar::detail
