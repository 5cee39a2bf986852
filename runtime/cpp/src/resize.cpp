#include "resize.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace trocar::detail {

namespace {

constexpr float whole_weight = 2048;

/// Where an output pixel lies between two input pixels.
struct Place {
    int first;
    float rest;
};

Place place_of(int out, int out_size, int in_size) {
    const double scale = 1.0 / (static_cast<double>(out_size) / in_size);
    const auto exact = static_cast<float>((out + 0.5) * scale - 0.5);
    const auto first = static_cast<int>(std::floor(exact));
    return {first, exact - static_cast<float>(first)};
}

int weight(float share) { return static_cast<int>(std::lrint(share * whole_weight)); }

/// Columns and weights of all output pixels; at the edges one pixel has all the weight.
void place_columns(int in, int out, ResizeMemory &memory) {
    const auto count = static_cast<std::size_t>(out);
    memory.first.resize(count);
    memory.second.resize(count);
    memory.weights.resize(2 * count);
    for (int x = 0; x < out; ++x) {
        auto [first, rest] = place_of(x, out, in);
        if (first < 0) first = 0, rest = 0;
        if (first >= in - 1) first = in - 1, rest = 0;
        const auto i = static_cast<std::size_t>(x);
        memory.first[i] = first;
        memory.second[i] = std::min(first + 1, in - 1);
        memory.weights[2 * i] = weight(1.0F - rest);
        memory.weights[2 * i + 1] = weight(rest);
    }
}

void blend_columns(const Pixels &from, int y, int out, const ResizeMemory &memory,
                   std::vector<int> &row) {
    const std::uint8_t *in = from.data + from.stride * y;
    const int channels = from.channels;
    row.resize(static_cast<std::size_t>(out) * static_cast<std::size_t>(channels));
    int *to = row.data();
    for (std::size_t x = 0; x < static_cast<std::size_t>(out); ++x) {
        const std::uint8_t *left = in + std::ptrdiff_t{memory.first[x]} * channels;
        const std::uint8_t *right = in + std::ptrdiff_t{memory.second[x]} * channels;
        for (int c = 0; c < channels; ++c)
            *to++ = left[c] * memory.weights[2 * x] + right[c] * memory.weights[2 * x + 1];
    }
}

void halve(const Pixels &from, const WritablePixels &to) {
    const int channels = from.channels;
    for (int y = 0; y < to.height; ++y) {
        const std::uint8_t *in = from.data + from.stride * (2 * std::ptrdiff_t{y});
        std::uint8_t *out = to.data + to.stride * y;
        for (int x = 0; x < to.width; ++x, in += channels)
            for (int c = 0; c < channels; ++c, ++in) {
                const int sum = in[0] + in[channels] + in[from.stride] + in[from.stride + channels];
                *out++ = static_cast<std::uint8_t>((sum + 2) >> 2);
            }
    }
}

void copy(const Pixels &from, const WritablePixels &to) {
    const std::size_t bytes =
        static_cast<std::size_t>(from.width) * static_cast<std::size_t>(from.channels);
    for (int y = 0; y < from.height; ++y)
        std::memcpy(to.data + to.stride * y, from.data + from.stride * y, bytes);
}

/// Calls `take(in, share)` for the input pixels that an output pixel covers.
template <class Take>
void for_covered(int out, int out_size, int in_size, Take take) {
    const double scale = 1.0 / (static_cast<double>(out_size) / in_size);
    const double begin = out * scale;
    const double end = begin + scale;
    const double cell = std::min(scale, in_size - begin);
    const int last = std::min(static_cast<int>(std::floor(end)), in_size - 1);
    const int first = std::min(static_cast<int>(std::ceil(begin)), last);
    if (first - begin > 1e-3) take(first - 1, static_cast<float>((first - begin) / cell));
    for (int i = first; i < last; ++i) take(i, static_cast<float>(1.0 / cell));
    if (end - last > 1e-3)
        take(last, static_cast<float>(std::min(std::min(end - last, 1.0), cell) / cell));
}

std::uint8_t rounded(float value) {
    return static_cast<std::uint8_t>(std::clamp(std::lrint(value), 0L, 255L));
}

/// Means of cells that are whole pixels.
void average_whole(const Pixels &from, const WritablePixels &to, ResizeMemory &memory) {
    const int wide = from.width / to.width;
    const int high = from.height / to.height;
    const float share = 1.0F / static_cast<float>(wide * high);
    const int channels = from.channels;
    for (int y = 0; y < to.height; ++y) {
        memory.whole.assign(static_cast<std::size_t>(to.width) * static_cast<std::size_t>(channels),
                            0);
        for (int row = 0; row < high; ++row) {
            const std::uint8_t *in = from.data + from.stride * (std::ptrdiff_t{y} * high + row);
            for (int x = 0; x < to.width; ++x)
                for (int column = 0; column < wide; ++column)
                    for (int c = 0; c < channels; ++c)
                        memory.whole[static_cast<std::size_t>(x * channels + c)] += *in++;
        }
        std::uint8_t *out = to.data + to.stride * y;
        for (const std::uint32_t sum : memory.whole)
            *out++ = rounded(static_cast<float>(sum) * share);
    }
}

}  // namespace

void resize_linear(const Pixels &from, const WritablePixels &to, ResizeMemory &memory) {
    if (from.width == to.width && from.height == to.height) return copy(from, to);
    // OpenCV takes the mean of four pixels there.
    if (from.width == 2 * to.width && from.height == 2 * to.height) return halve(from, to);
    place_columns(from.width, to.width, memory);
    int above = -1;
    int below = -1;
    for (int y = 0; y < to.height; ++y) {
        const auto [first, rest] = place_of(y, to.height, from.height);
        const int upper = std::clamp(first, 0, from.height - 1);
        const int lower = std::clamp(first + 1, 0, from.height - 1);
        if (upper == below) {
            memory.above.swap(memory.below);
            std::swap(above, below);
        }
        if (upper != above) blend_columns(from, upper, to.width, memory, memory.above);
        above = upper;
        if (lower != below) blend_columns(from, lower, to.width, memory, memory.below);
        below = lower;
        const int high = weight(1.0F - rest);
        const int low = weight(rest);
        std::uint8_t *out = to.data + to.stride * y;
        for (std::size_t i = 0; i < memory.above.size(); ++i)
            out[i] = static_cast<std::uint8_t>((((high * (memory.above[i] >> 4)) >> 16) +
                                                ((low * (memory.below[i] >> 4)) >> 16) + 2) >>
                                               2);
    }
}

void resize_area(const Pixels &from, const WritablePixels &to, ResizeMemory &memory) {
    if (from.width == to.width && from.height == to.height) return copy(from, to);
    if (from.width % to.width == 0 && from.height % to.height == 0)
        return average_whole(from, to, memory);
    const auto channels = static_cast<std::size_t>(from.channels);
    const std::size_t count = static_cast<std::size_t>(to.width) * channels;
    for (int y = 0; y < to.height; ++y) {
        memory.sum.assign(count, 0);
        for_covered(y, to.height, from.height, [&](int in_y, float row_share) {
            const std::uint8_t *in = from.data + from.stride * in_y;
            memory.row.assign(count, 0);
            for (int x = 0; x < to.width; ++x)
                for_covered(x, to.width, from.width, [&](int in_x, float share) {
                    for (std::size_t c = 0; c < channels; ++c)
                        memory.row[static_cast<std::size_t>(x) * channels + c] +=
                            static_cast<float>(in[static_cast<std::size_t>(in_x) * channels + c]) *
                            share;
                });
            for (std::size_t i = 0; i < count; ++i) memory.sum[i] += row_share * memory.row[i];
        });
        std::uint8_t *out = to.data + to.stride * y;
        for (std::size_t i = 0; i < count; ++i) out[i] = rounded(memory.sum[i]);
    }
}

}  // namespace trocar::detail
