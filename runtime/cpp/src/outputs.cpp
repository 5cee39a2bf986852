#include "outputs.hpp"

#include <algorithm>
#include <cmath>

#include "error.hpp"

namespace trocar::detail {

namespace {

const Tensor *find(const std::vector<Tensor> &tensors, const char *name) {
    for (const Tensor &tensor : tensors)
        if (tensor.name == name) return &tensor;
    return nullptr;
}

bool is_finite(const Tensor &tensor) {
    const std::size_t count =
        tensor.shape.empty() ? 0 : static_cast<std::size_t>(tensor.shape[0]) * tensor.per_frame();
    if (tensor.type == Type::half) {
        // All five bits of the exponent are set in what is not finite.
        const auto *values = static_cast<const std::uint16_t *>(tensor.data);
        return std::none_of(values, values + count,
                            [](std::uint16_t value) { return (value & 0x7C00) == 0x7C00; });
    }
    if (tensor.type != Type::single) return true;
    const auto *values = static_cast<const float *>(tensor.data);
    return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

}  // namespace

std::string shape_text(const std::vector<std::int64_t> &shape) {
    std::string text = "[";
    for (const std::int64_t side : shape)
        text += (text.size() > 1 ? ", " : "") + std::to_string(side);
    return text + "]";
}

Outputs outputs_from(const std::vector<Tensor> &tensors, int count, bool segmentation,
                     const std::string &backend, trocar_status code) {
    const Outputs outputs{find(tensors, "labels"), find(tensors, "confidence"),
                          find(tensors, "scores"), find(tensors, "embedding")};
    const char *name = segmentation ? "labels" : "scores";
    const Tensor *main = segmentation ? outputs.labels : outputs.scores;
    if (main == nullptr)
        throw Error(code, backend + " returned no " + std::string(name), "export the bundle again");
    const std::size_t rank = segmentation ? 3 : 2;
    const bool fits = main->shape.size() == rank && main->shape[0] == count &&
                      main->per_frame() > 0 && (main->type == Type::byte) == segmentation &&
                      (!segmentation ||
                       (main->shape[1] <= max_network_side && main->shape[2] <= max_network_side));
    if (!fits)
        throw Error(code,
                    backend + " returned " + name + " " + shape_text(main->shape) +
                        " of the wrong type or shape",
                    "export the bundle again");
    const Tensor *other = segmentation ? outputs.confidence : outputs.embedding;
    if (other == nullptr) return outputs;
    const bool other_fits = segmentation ? other->shape == main->shape
                                         : other->shape.size() == 2 && other->shape[0] == count &&
                                               other->type != Type::byte;
    if (!other_fits)
        throw Error(code,
                    backend + " returned " + other->name + " " + shape_text(other->shape) +
                        ", expected a shape that fits " + name + " " + shape_text(main->shape),
                    "export the bundle again");
    return outputs;
}

void check_finite(const Outputs &outputs) {
    for (const Tensor *tensor : {outputs.confidence, outputs.scores, outputs.embedding})
        if (tensor != nullptr && !is_finite(*tensor))
            throw Error(
                TROCAR_ERROR_BACKEND,
                "the model's output '" + tensor->name + "' holds numbers that are not finite (NaN)",
                "export the checkpoint again, in fp32 if this bundle is fp16");
}

}  // namespace trocar::detail
