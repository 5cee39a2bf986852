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
    const Outputs outputs{find(tensors, "labels"),
                          find(tensors, "confidence"),
                          find(tensors, "scores"),
                          find(tensors, "embedding"),
                          nullptr,
                          nullptr,
                          nullptr};
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

Outputs instance_outputs_from(const std::vector<Tensor> &tensors, int count,
                              const std::string &backend, trocar_status code) {
    Outputs outputs;
    const struct {
        const char *name;
        const Tensor **out;
        Type type;
        std::size_t rank;
    } wanted[] = {{"instances", &outputs.instances, Type::byte, 3},
                  {"labels", &outputs.labels, Type::byte, 3},
                  {"classes", &outputs.classes, Type::byte, 2},
                  {"scores", &outputs.scores, Type::single, 2},
                  {"boxes", nullptr, Type::single, 3},
                  {"count", &outputs.count, Type::whole, 1}};
    for (const auto &one : wanted) {
        const Tensor *tensor = find(tensors, one.name);
        if (tensor == nullptr)
            throw Error(code, backend + " returned no " + one.name, "export the bundle again");
        const std::vector<std::int64_t> &shape = tensor->shape;
        bool fits = tensor->type == one.type && shape.size() == one.rank && shape[0] == count;
        // Maps are as large as the first, and rows as long as the classes.
        if (fits && one.rank > 1 && outputs.instances != nullptr && tensor->type == Type::byte &&
            one.rank == 3)
            fits = shape == outputs.instances->shape;
        if (fits && one.out == &outputs.instances)
            fits = tensor->per_frame() > 0 && shape[1] <= max_network_side &&
                   shape[2] <= max_network_side;
        if (fits && outputs.classes != nullptr && one.type == Type::single)
            fits = shape[1] == outputs.classes->shape[1] && (one.rank == 2 || shape[2] == 4);
        if (!fits)
            throw Error(code,
                        backend + " returned " + one.name + " " + shape_text(shape) +
                            " of the wrong type or shape",
                        "export the bundle again");
        if (one.out != nullptr) *one.out = tensor;
    }
    const auto *numbers = static_cast<const std::uint8_t *>(outputs.instances->data);
    const std::size_t pixels = static_cast<std::size_t>(count) * outputs.instances->per_frame();
    const int highest = *std::max_element(numbers, numbers + pixels);
    if (highest > outputs.classes->shape[1])
        throw Error(code,
                    backend + " returned instance " + std::to_string(highest) + ", but at most " +
                        std::to_string(outputs.classes->shape[1]) + " have a class",
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
