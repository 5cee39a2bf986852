#include "frame.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "checked.hpp"
#include "error.hpp"

namespace trocar::detail {

namespace {

constexpr const char *remedy = "see trocar_frame in trocar.h for what each format needs";

std::ptrdiff_t row_bytes(const trocar_frame &frame) {
    switch (frame.format) {
        case TROCAR_RGB:
        case TROCAR_BGR:
            return std::ptrdiff_t{3} * frame.width;
        case TROCAR_RGBA:
        case TROCAR_BGRA:
            return std::ptrdiff_t{4} * frame.width;
        default:
            return frame.width;
    }
}

std::ptrdiff_t stride_of(const trocar_frame &frame) {
    return frame.stride == 0 ? row_bytes(frame) : frame.stride;
}

// One value of U and V covers two by two pixels; at odd sides the last ones cover fewer.
std::ptrdiff_t chroma_row(const trocar_frame &frame) {
    return std::ptrdiff_t{2} * ((frame.width + 1) / 2);
}

std::ptrdiff_t chroma_rows(const trocar_frame &frame) { return (frame.height + 1) / 2; }

std::ptrdiff_t chroma_stride_of(const trocar_frame &frame) {
    if (frame.chroma_stride != 0) return frame.chroma_stride;
    return frame.stride == 0 ? chroma_row(frame) : frame.stride;
}

template <int step, int red, int green, int blue>
void write_row(const std::uint8_t *in, int width, std::uint8_t *out) {
    for (int x = 0; x < width; ++x, in += step, out += 3) {
        const std::uint8_t r = in[red];
        const std::uint8_t g = in[green];
        const std::uint8_t b = in[blue];
        out[0] = r;
        out[1] = g;
        out[2] = b;
    }
}

// Factors times 65536, rounded, in the order of trocar_yuv.
struct Matrix {
    int luma, black, red_v, green_u, green_v, blue_u;
};
constexpr Matrix matrices[] = {
    {76309, 16, 117489, 13975, 34925, 138438}, {76309, 16, 104597, 25675, 53279, 132201},
    {65536, 0, 103206, 12276, 30679, 121609},  {65536, 0, 91881, 22553, 46802, 116130},
    {76309, 16, 110014, 12277, 42626, 140363}, {65536, 0, 96639, 10784, 37444, 123299}};

std::uint8_t clamped(int value) {
    return static_cast<std::uint8_t>(std::clamp(value >> 16, 0, 255));
}

void write_nv12(const trocar_frame &frame, std::uint8_t *out) {
    const Matrix &m = matrices[frame.yuv];
    const Plane luma_plane = luma_of(frame);
    const Plane chroma_plane = chroma_of(frame);
    for (int y = 0; y < frame.height; ++y) {
        const std::uint8_t *luma = luma_plane.data + luma_plane.stride * y;
        const std::uint8_t *uv = chroma_plane.data + chroma_plane.stride * (y / 2);
        for (int x = 0; x < frame.width; ++x, out += 3) {
            const int base = m.luma * (luma[x] - m.black) + 32768;
            const int u = uv[x / 2 * 2] - 128;
            const int v = uv[x / 2 * 2 + 1] - 128;
            out[0] = clamped(base + m.red_v * v);
            out[1] = clamped(base - m.green_u * u - m.green_v * v);
            out[2] = clamped(base + m.blue_u * u);
        }
    }
}

}  // namespace

Plane luma_of(const trocar_frame &frame) {
    return {frame.data, stride_of(frame), frame.width, frame.height};
}

Plane chroma_of(const trocar_frame &frame) {
    return {frame.chroma != nullptr ? frame.chroma : frame.data + stride_of(frame) * frame.height,
            chroma_stride_of(frame), chroma_row(frame), chroma_rows(frame)};
}

void Plane::write(std::uint8_t *out) const {
    if (is_packed()) {
        std::memcpy(out, data, bytes());
        return;
    }
    for (std::ptrdiff_t y = 0; y < rows; ++y, out += row)
        std::memcpy(out, data + stride * y, static_cast<std::size_t>(row));
}

void write_colour(std::int32_t yuv, float *out) {
    const Matrix &m = matrices[yuv];
    const std::int64_t rows[3][3] = {
        {m.luma, 0, m.red_v}, {m.luma, -m.green_u, -m.green_v}, {m.luma, m.blue_u, 0}};
    for (const auto &row : rows) {
        for (const std::int64_t factor : row)
            *out++ = static_cast<float>(static_cast<double>(factor) / 65536);
        const std::int64_t offset = -(row[0] * m.black + (row[1] + row[2]) * 128);
        *out++ = static_cast<float>(static_cast<double>(offset) / 65536);
    }
}

trocar_frame frame_from(const trocar_frame *given) {
    if (given == nullptr) argument_error("the frame is NULL", remedy);
    trocar_frame frame{};
    if (given->size < offsetof(trocar_frame, chroma))
        argument_error("frame.size is " + std::to_string(given->size) + ", expected " +
                           std::to_string(sizeof frame),
                       "set size to sizeof(trocar_frame)");
    std::memcpy(&frame, given, std::min<std::size_t>(given->size, sizeof frame));
    return frame;
}

void check_size_and_view(const trocar_frame &frame) {
    if (frame.width < 1 || frame.height < 1 || frame.width > max_frame_side ||
        frame.height > max_frame_side)
        argument_error("frame is " + std::to_string(frame.width) + "x" +
                           std::to_string(frame.height) + ", expected sides of 1.." +
                           std::to_string(max_frame_side),
                       remedy);
    for (const double value : frame.view)
        if (!std::isfinite(value))
            argument_error("frame.view holds a value that is not finite",
                           "pass centre and radius in pixels; a radius of 0 is the full frame");
    if (frame.view[2] < 0)
        argument_error("frame.view has a radius below 0", "a radius of 0 is the full frame");
}

namespace {

/// Refuses rows that overflow, or that need more than the `stated` bytes (0: not stated).
void check_plane(const char *name, std::ptrdiff_t stride, std::int64_t rows, std::ptrdiff_t row,
                 std::size_t stated) {
    const std::optional<std::size_t> needed = image_bytes(stride, rows, row);
    if (!needed)
        argument_error(std::string("frame.") + name + " is " + std::to_string(stride) +
                           ", a row needs " + std::to_string(row) + " bytes and has at most 2^31",
                       remedy);
    if (stated != 0 && stated < *needed)
        argument_error(std::string("frame.") + name + " is " + std::to_string(stride) + ": " +
                           std::to_string(rows) + " rows need " + std::to_string(*needed) +
                           " bytes, the buffer has " + std::to_string(stated),
                       remedy);
}

}  // namespace

void check_frame(const trocar_frame &frame) {
    if (frame.format < TROCAR_RGB || frame.format > TROCAR_NV12)
        argument_error("frame.format is " + std::to_string(frame.format) + ", expected 0..5",
                       remedy);
    check_size_and_view(frame);
    if (frame.data == nullptr) argument_error("frame.data is NULL", remedy);
    const std::ptrdiff_t stride = stride_of(frame);
    const bool behind = frame.format == TROCAR_NV12 && frame.chroma == nullptr;
    // Without a plane of its own, the chroma lies directly behind the luma.
    if (!behind) check_plane("stride", stride, frame.height, row_bytes(frame), frame.data_bytes);
    if (frame.format != TROCAR_NV12) return;
    if (frame.yuv < TROCAR_BT709_LIMITED || frame.yuv > TROCAR_BT2020_FULL)
        argument_error("frame.yuv is " + std::to_string(frame.yuv) + ", expected 0..5", remedy);
    if (frame.stride < 0 && frame.chroma == nullptr)
        argument_error("a bottom-up NV12 frame has no chroma plane", remedy);
    const std::ptrdiff_t chroma = chroma_stride_of(frame);
    const std::ptrdiff_t row = chroma_row(frame);
    const std::int64_t half = chroma_rows(frame);
    if (!behind) {
        check_plane("chroma_stride", chroma, half, row, frame.chroma_bytes);
        return;
    }
    check_plane("stride", stride, frame.height, frame.width, 0);
    if (chroma < 0) argument_error("frame.chroma_stride is below 0 without a plane", remedy);
    check_plane("chroma_stride", chroma, half, row, 0);
    // Both are at most 2^31 * 32768, so that their sum fits.
    const std::size_t luma_bytes = *multiply_add(magnitude(stride), frame.height, 0);
    const std::size_t needed = luma_bytes + *image_bytes(chroma, half, row);
    if (frame.data_bytes != 0 && frame.data_bytes < needed)
        argument_error("frame.data needs " + std::to_string(needed) +
                           " bytes with its chroma plane, the buffer has " +
                           std::to_string(frame.data_bytes),
                       remedy);
}

trocar_frame packed_copy(const trocar_frame &frame, std::vector<std::uint8_t> &bytes) {
    const bool planes = frame.format == TROCAR_NV12;
    const Plane first = {frame.data, stride_of(frame), row_bytes(frame), frame.height};
    const Plane chroma = planes ? chroma_of(frame) : Plane{};
    const std::size_t needed = first.bytes() + chroma.bytes();
    if (bytes.size() < needed) bytes.resize(needed);
    first.write(bytes.data());
    if (planes) chroma.write(bytes.data() + first.bytes());
    trocar_frame copy = frame;
    copy.size = sizeof copy;
    copy.data = bytes.data();
    copy.chroma = nullptr;
    copy.stride = copy.chroma_stride = 0;
    copy.data_bytes = needed;
    copy.chroma_bytes = 0;
    return copy;
}

bool is_packed_rgb(const trocar_frame &frame) {
    return frame.format == TROCAR_RGB && stride_of(frame) == row_bytes(frame);
}

void write_rgb(const trocar_frame &frame, std::uint8_t *out) {
    if (frame.format == TROCAR_NV12) {
        write_nv12(frame, out);
        return;
    }
    const std::ptrdiff_t stride = stride_of(frame);
    const std::ptrdiff_t row = std::ptrdiff_t{3} * frame.width;
    for (int y = 0; y < frame.height; ++y, out += row) {
        const std::uint8_t *in = frame.data + stride * y;
        switch (frame.format) {
            case TROCAR_RGB:
                std::memcpy(out, in, static_cast<std::size_t>(row));
                break;
            case TROCAR_BGR:
                write_row<3, 2, 1, 0>(in, frame.width, out);
                break;
            case TROCAR_RGBA:
                write_row<4, 0, 1, 2>(in, frame.width, out);
                break;
            case TROCAR_BGRA:
                write_row<4, 2, 1, 0>(in, frame.width, out);
                break;
            default:
                write_row<1, 0, 0, 0>(in, frame.width, out);
        }
    }
}

}  // namespace trocar::detail
