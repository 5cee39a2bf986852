#include "results.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "checked.hpp"
#include "error.hpp"
#include "half.hpp"

namespace trocar::detail {

namespace {

// Members up to and including instrument_total are in the first version.
constexpr std::size_t min_result_size = offsetof(trocar_result, label_width);
constexpr std::size_t min_instrument_size = offsetof(trocar_instrument, score);

/// The pixel of `from` pixels that contains the centre of one of `to`; of two the later.
class Nearest {
  public:
    Nearest(int from, int to) : from_(from), to_(to) {}
    std::int64_t operator()(int place) const {
        return (std::int64_t{2} * place + 1) * from_ / (std::int64_t{2} * to_);
    }

  private:
    int from_, to_;
};

struct LabelRows {
    std::uint8_t *data;
    std::ptrdiff_t stride;
};

/// Where the rows of a map of the labels' size are written; throws if the buffer is too small.
LabelRows map_rows(const trocar_result &result, std::uint8_t *data, std::ptrdiff_t given,
                   std::size_t size, const char *name) {
    const std::ptrdiff_t stride = given == 0 ? result.label_width : given;
    const auto bytes =
        stride < 0 ? std::nullopt : image_bytes(stride, result.label_height, result.label_width);
    const bool fits = bytes.has_value();
    const std::size_t needed = bytes.value_or(0);
    if (!fits || size < needed)
        argument_error(std::string(name) + " of " + std::to_string(result.label_width) + "x" +
                           std::to_string(result.label_height) + " with a stride of " +
                           std::to_string(stride) +
                           (fits ? " need " + std::to_string(needed) + " bytes"
                                 : std::string(" have a wrong stride")) +
                           ", the buffer has " + std::to_string(size),
                       "call trocar_session_info for the network's size");
    return {data, stride};
}

/// Copies a map, enlarged by nearest neighbour where the sizes differ.
void write_map(const std::uint8_t *from, int width, int height, const trocar_result &result,
               const LabelRows &rows) {
    const int out_width = result.label_width;
    const int out_height = result.label_height;
    if (result.label_size != TROCAR_LABELS_FRAME) {
        for (int y = 0; y < height; ++y)
            std::memcpy(rows.data + rows.stride * y, from + std::ptrdiff_t{y} * width,
                        static_cast<std::size_t>(width));
        return;
    }
    const Nearest column(width, out_width);
    const Nearest row(height, out_height);
    std::int64_t last = -1;
    for (int y = 0; y < out_height; ++y) {
        std::uint8_t *to = rows.data + rows.stride * y;
        const std::int64_t source = row(y);
        if (source == last) {
            std::memcpy(to, to - rows.stride, static_cast<std::size_t>(out_width));
            continue;
        }
        last = source;
        const std::uint8_t *in = from + source * width;
        for (int x = 0; x < out_width; ++x) to[x] = in[column(x)];
    }
}

}  // namespace

void check_result(const trocar_result *result) {
    if (result == nullptr) argument_error("the result is NULL", "pass one result per frame");
    if (result->size < min_result_size)
        argument_error("result.size is " + std::to_string(result->size) + ", expected " +
                           std::to_string(sizeof(trocar_result)),
                       "set size to sizeof(trocar_result)");
    if (result->label_size != TROCAR_LABELS_NETWORK && result->label_size != TROCAR_LABELS_FRAME)
        argument_error(
            "result.label_size is " + std::to_string(result->label_size) + ", expected 0 or 1",
            "use a trocar_label_size");
    if (result->instruments != nullptr && result->instrument_size < min_instrument_size)
        argument_error("result.instrument_size is " + std::to_string(result->instrument_size) +
                           ", expected " + std::to_string(sizeof(trocar_instrument)),
                       "set instrument_size to sizeof(trocar_instrument)");
}

trocar_result result_from(const trocar_result *given) {
    trocar_result result{};
    std::memcpy(&result, given, std::min<std::size_t>(given->size, sizeof result));
    result.instrument_count = 0;
    result.instrument_total = 0;
    result.label_width = result.label_height = 0;
    result.convert_ms = result.infer_ms = result.locate_ms = 0;
    result.instance_count = 0;
    return result;
}

void give_body(trocar_result *given, trocar_body body) {
    const auto value = static_cast<std::int32_t>(body);
    if (given != nullptr && given->size >= offsetof(trocar_result, body) + sizeof value)
        given->body = value;
}

std::int32_t body_of(const trocar_result *given) {
    const std::size_t end = offsetof(trocar_result, body) + sizeof given->body;
    return given == nullptr || given->size < end ? TROCAR_BODY_NOT_JUDGED : given->body;
}

void show_nothing(trocar_result *given) {
    trocar_result result{};
    std::memcpy(&result, given, std::min<std::size_t>(given->size, sizeof result));
    const auto clear = [&result](std::uint8_t *data, std::ptrdiff_t stride) {
        const std::ptrdiff_t step = stride == 0 ? result.label_width : stride;
        for (int y = 0; data != nullptr && y < result.label_height; ++y)
            std::memset(data + step * y, 0, static_cast<std::size_t>(result.label_width));
    };
    clear(result.labels, result.label_stride);
    clear(result.instrument_map, result.instrument_map_stride);
    result.instrument_count = result.instrument_total = 0;
    result.instance_count = 0;
    give_back(result, given);
}

void give_back(const trocar_result &result, trocar_result *given) {
    std::memcpy(given, &result, std::min<std::size_t>(given->size, sizeof result));
}

void give_instruments(const std::vector<trocar_instrument> &instruments, trocar_result &result) {
    result.instrument_total = static_cast<std::uint32_t>(instruments.size());
    if (result.instruments == nullptr) return;
    result.instrument_count = std::min(result.instrument_total, result.instrument_capacity);
    const auto bytes = std::min<std::size_t>(result.instrument_size, sizeof(trocar_instrument));
    auto *out = reinterpret_cast<char *>(result.instruments);
    for (std::uint32_t i = 0; i < result.instrument_count; ++i, out += result.instrument_size) {
        std::memcpy(out, &instruments[i], bytes);
        const auto written = static_cast<std::uint32_t>(bytes);
        std::memcpy(out, &written, sizeof written);
    }
}

void give_labels(const Tensor &labels, std::size_t index, const trocar_frame &frame,
                 trocar_result &result) {
    const auto height = static_cast<int>(labels.shape[1]);
    const auto width = static_cast<int>(labels.shape[2]);
    const auto *from = static_cast<const std::uint8_t *>(labels.data) + index * labels.per_frame();
    const bool enlarged = result.label_size == TROCAR_LABELS_FRAME;
    result.label_width = enlarged ? frame.width : width;
    result.label_height = enlarged ? frame.height : height;
    if (result.labels == nullptr) return;
    write_map(from, width, height, result,
              map_rows(result, result.labels, result.label_stride, result.label_bytes, "labels"));
}

void give_instrument_map(const std::uint8_t *map, int width, int height, const trocar_frame &frame,
                         trocar_result &result) {
    const bool enlarged = result.label_size == TROCAR_LABELS_FRAME;
    result.label_width = enlarged ? frame.width : width;
    result.label_height = enlarged ? frame.height : height;
    write_map(map, width, height, result,
              map_rows(result, result.instrument_map, result.instrument_map_stride,
                       result.instrument_map_bytes, "instrument maps"));
}

void give_mask(const trocar_result *given, std::uint32_t index, std::uint8_t *mask,
               std::size_t bytes) {
    check_result(given);
    trocar_result result{};
    std::memcpy(&result, given, std::min<std::size_t>(given->size, sizeof result));
    if (result.instrument_map == nullptr || result.label_width < 1 || result.label_height < 1)
        argument_error("the result has no instrument map",
                       "set instrument_map and instrument_map_bytes before the run");
    if (index >= std::min<std::uint32_t>(result.instrument_count, 255))
        argument_error("instrument " + std::to_string(index) + " was requested, the result has " +
                           std::to_string(result.instrument_count) + " and masks of the first 255",
                       "pass a place below instrument_count");
    const LabelRows rows = map_rows(result, result.instrument_map, result.instrument_map_stride,
                                    result.instrument_map_bytes, "instrument maps");
    const auto width = static_cast<std::size_t>(result.label_width);
    const auto height = static_cast<std::size_t>(result.label_height);
    if (bytes < width * height)
        argument_error("the mask needs " + std::to_string(width * height) +
                           " bytes, the buffer has " + std::to_string(bytes),
                       "pass label_width * label_height bytes");
    for (std::size_t y = 0; y < height; ++y) {
        const std::uint8_t *in = rows.data + rows.stride * static_cast<std::ptrdiff_t>(y);
        std::uint8_t *out = mask + y * width;
        for (std::size_t x = 0; x < width; ++x) out[x] = in[x] == index + 1 ? 255 : 0;
    }
}

void copy_floats(const Tensor &tensor, std::size_t index, float *out, std::size_t capacity,
                 const char *name) {
    if (out == nullptr) return;
    const std::size_t count = tensor.per_frame();
    if (capacity < count)
        argument_error(std::string(name) + " is " + std::to_string(capacity) + ", expected " +
                           std::to_string(count) + " or more",
                       "call trocar_session_info for the sizes");
    const std::size_t offset = index * count;
    switch (tensor.type) {
        case Type::single:
            std::memcpy(out, static_cast<const float *>(tensor.data) + offset, 4 * count);
            break;
        case Type::half:
            for (std::size_t i = 0; i < count; ++i)
                out[i] =
                    float_from_half(static_cast<const std::uint16_t *>(tensor.data)[offset + i]);
            break;
        default:
            for (std::size_t i = 0; i < count; ++i)
                out[i] =
                    static_cast<float>(static_cast<const std::uint8_t *>(tensor.data)[offset + i]) /
                    255.0F;
    }
}

}  // namespace trocar::detail
