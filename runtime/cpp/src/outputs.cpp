#include "outputs.hpp"

#include "error.hpp"

namespace trocar::detail {

namespace {

const Tensor *find(const std::vector<Tensor> &tensors, const char *name) {
    for (const Tensor &tensor : tensors)
        if (tensor.name == name) return &tensor;
    return nullptr;
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

}  // namespace trocar::detail
