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

/// Where rows of labels are written; throws if the buffer is too small.
LabelRows label_rows(const trocar_result &result) {
    const std::ptrdiff_t stride =
        result.label_stride == 0 ? result.label_width : result.label_stride;
    const auto bytes =
        stride < 0 ? std::nullopt : image_bytes(stride, result.label_height, result.label_width);
    const bool fits = bytes.has_value();
    const std::size_t needed = bytes.value_or(0);
    if (!fits || result.label_bytes < needed)
        argument_error("labels of " + std::to_string(result.label_width) + "x" +
                           std::to_string(result.label_height) + " with a stride of " +
                           std::to_string(stride) +
                           (fits ? " need " + std::to_string(needed) + " bytes"
                                 : std::string(" have a wrong stride")) +
                           ", the buffer has " + std::to_string(result.label_bytes),
                       "call trocar_session_info for the network's size");
    return {result.labels, stride};
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
    return result;
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
    const LabelRows rows = label_rows(result);
    if (!enlarged) {
        for (int y = 0; y < height; ++y)
            std::memcpy(rows.data + rows.stride * y, from + std::ptrdiff_t{y} * width,
                        static_cast<std::size_t>(width));
        return;
    }
    const Nearest column(width, frame.width);
    const Nearest row(height, frame.height);
    std::int64_t last = -1;
    for (int y = 0; y < frame.height; ++y) {
        std::uint8_t *to = rows.data + rows.stride * y;
        const std::int64_t source = row(y);
        if (source == last) {
            std::memcpy(to, to - rows.stride, static_cast<std::size_t>(frame.width));
            continue;
        }
        last = source;
        const std::uint8_t *in = from + source * width;
        for (int x = 0; x < frame.width; ++x) to[x] = in[column(x)];
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
