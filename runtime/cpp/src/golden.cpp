#include "golden.hpp"

#include "error.hpp"
#include "half.hpp"

namespace trocar::detail {

namespace {

/// The index of the largest value, of equal ones the first.
template <class Value>
std::size_t largest(std::size_t count, Value value) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < count; ++i)
        if (value(i) > value(best)) best = i;
    return best;
}

double real(const Tensor &tensor, std::size_t index) {
    if (tensor.type == Type::single) return static_cast<const float *>(tensor.data)[index];
    if (tensor.type == Type::half)
        return float_from_half(static_cast<const std::uint16_t *>(tensor.data)[index]);
    return static_cast<const std::uint8_t *>(tensor.data)[index] / 255.0;
}

}  // namespace

Golden::Golden(const std::string &file, bool segmentation)
    : segmentation_(segmentation), arrays_(read_npz(file)) {
    for (const char *name : {"frame", segmentation ? "labels" : "scores", "margin"})
        if (arrays_.count(name) == 0) bundle_error("golden.npz lacks " + std::string(name));
    const Array &frame = arrays_["frame"];
    if (frame.dtype != "|u1" || frame.shape.size() != 3 || frame.shape[2] != 3 ||
        frame.count() == 0 || frame.shape[0] > 32768 || frame.shape[1] > 32768)
        bundle_error("the golden frame is " + frame.dtype + " " + shape_text(frame.shape) +
                     ", expected uint8 [H, W, 3]");
    if (!arrays_["margin"].is_real())
        bundle_error("golden.npz contains margins that are not numbers");
    if (segmentation &&
        (arrays_["labels"].dtype != "|u1" || arrays_["labels"].shape != arrays_["margin"].shape))
        bundle_error("golden.npz contains labels and margins of different sizes");
    if (!segmentation && (!arrays_["scores"].is_real() || arrays_["scores"].count() == 0 ||
                          arrays_["margin"].count() != 1))
        bundle_error("golden.npz contains scores that are not numbers");
}

const std::uint8_t *Golden::rgb() const {
    return reinterpret_cast<const std::uint8_t *>(arrays_.at("frame").data.data());
}

int Golden::height() const { return static_cast<int>(arrays_.at("frame").shape[0]); }

int Golden::width() const { return static_cast<int>(arrays_.at("frame").shape[1]); }

void Golden::compare(const Outputs &outputs, double min_margin, const std::string &backend) const {
    const Array &margin = arrays_.at("margin");
    const double limit = margin.rounded(min_margin);
    const char *remedy =
        "run `trocar benchmark` on this bundle, or export it again for this machine";
    if (segmentation_) {
        const Array &labels = arrays_.at("labels");
        std::vector<std::int64_t> shape = outputs.labels->shape;
        shape.erase(shape.begin());
        if (shape != labels.shape)
            throw Error(TROCAR_ERROR_PARITY,
                        backend + " returned labels " + shape_text(shape) +
                            " for the golden frame, expected labels " + shape_text(labels.shape),
                        "export the bundle again");
        const auto *computed = static_cast<const std::uint8_t *>(outputs.labels->data);
        std::size_t mismatches = 0;
        for (std::size_t i = 0; i < labels.count(); ++i)
            if (margin.real(i) > limit && computed[i] != static_cast<std::uint8_t>(labels.data[i]))
                ++mismatches;
        if (mismatches > 0)
            throw Error(TROCAR_ERROR_PARITY,
                        backend + " differs from the exporter on " + std::to_string(mismatches) +
                            " of " + std::to_string(labels.count()) +
                            " pixels of the golden frame that are not near-ties, expected 0",
                        remedy);
    } else if (margin.real(0) > limit) {
        const Array &scores = arrays_.at("scores");
        const std::size_t got = largest(outputs.scores->per_frame(),
                                        [&](std::size_t i) { return real(*outputs.scores, i); });
        const std::size_t expected =
            largest(scores.count(), [&](std::size_t i) { return scores.real(i); });
        if (got != expected)
            throw Error(TROCAR_ERROR_PARITY,
                        backend + " gives the golden frame class " + std::to_string(got) +
                            ", the exporter class " + std::to_string(expected),
                        remedy);
    }
}

}  // namespace trocar::detail
