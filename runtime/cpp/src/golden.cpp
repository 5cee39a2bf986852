#include "golden.hpp"

#include <algorithm>
#include <cmath>

#include "error.hpp"
#include "frame.hpp"
#include "half.hpp"

namespace trocar::detail {

namespace {

/// Throws Error with TROCAR_ERROR_BUNDLE for arrays of instances that do not fit each other.
void check_instance_arrays(std::map<std::string, Array> &arrays) {
    const Array &map = arrays["instances"];
    const Array &labels = arrays["labels"];
    if (map.dtype != "|u1" || labels.dtype != "|u1" || map.shape.size() != 2 ||
        map.shape != labels.shape || map.count() == 0)
        bundle_error("golden.npz contains instances and labels of different sizes");
    const Array &scores = arrays["scores"];
    if (!scores.is_real() || scores.shape.size() != 1)
        bundle_error("golden.npz contains scores that are not numbers");
    for (std::size_t i = 0; i < scores.count(); ++i)
        if (!std::isfinite(scores.real(i)))
            bundle_error("golden.npz contains scores that are not numbers");
    if (arrays["classes"].dtype != "|u1" || arrays["classes"].shape != scores.shape ||
        arrays["margin"].shape != scores.shape)
        bundle_error("golden.npz contains classes, scores and margins of different sizes");
    for (std::size_t i = 0; i < map.count(); ++i)
        if (static_cast<std::uint8_t>(map.data[i]) > scores.count())
            bundle_error("golden.npz contains instances without a score");
}

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

bool is_finite(const Array &array) {
    for (std::size_t i = 0; i < array.count(); ++i)
        if (!std::isfinite(array.real(i))) return false;
    return true;
}

}  // namespace

Golden::Golden(const std::string &file, bool segmentation, bool instances)
    : segmentation_(segmentation), instances_(instances), arrays_(read_npz(file)) {
    for (const char *name : {"frame", segmentation ? "labels" : "scores", "margin"})
        if (arrays_.count(name) == 0) bundle_error("golden.npz lacks " + std::string(name));
    for (const char *name : {"instances", "classes", "scores"})
        if (instances && arrays_.count(name) == 0)
            bundle_error("golden.npz lacks " + std::string(name));
    const Array &frame = arrays_["frame"];
    if (frame.dtype != "|u1" || frame.shape.size() != 3 || frame.shape[2] != 3 ||
        frame.count() == 0 || frame.shape[0] > 32768 || frame.shape[1] > 32768)
        bundle_error("the golden frame is " + frame.dtype + " " + shape_text(frame.shape) +
                     ", expected uint8 [H, W, 3]");
    if (!arrays_["margin"].is_real() || !is_finite(arrays_["margin"]))
        bundle_error("golden.npz contains margins that are not finite numbers");
    if (instances) {
        check_instance_arrays(arrays_);
        return;
    }
    if (segmentation &&
        (arrays_["labels"].dtype != "|u1" || arrays_["labels"].shape != arrays_["margin"].shape ||
         arrays_["labels"].count() == 0))
        bundle_error("golden.npz contains labels and margins of different sizes");
    if (!segmentation && (!arrays_["scores"].is_real() || arrays_["scores"].count() == 0 ||
                          arrays_["margin"].count() != 1 || !is_finite(arrays_["scores"])))
        bundle_error("golden.npz contains scores that are not numbers");
}

const std::uint8_t *Golden::rgb() const {
    return reinterpret_cast<const std::uint8_t *>(arrays_.at("frame").data.data());
}

int Golden::height() const { return static_cast<int>(arrays_.at("frame").shape[0]); }

int Golden::width() const { return static_cast<int>(arrays_.at("frame").shape[1]); }

trocar_frame Golden::nv12() const {
    const auto plane = [&](const char *name, std::vector<std::int64_t> shape) {
        const auto found = arrays_.find(name);
        if (found == arrays_.end() || found->second.dtype != "|u1" || found->second.shape != shape)
            bundle_error("nv12.npz holds no NV12 frame: its " + std::string(name) + " is " +
                         (found == arrays_.end()
                              ? "missing"
                              : found->second.dtype + " " + shape_text(found->second.shape)) +
                         ", expected uint8 " + shape_text(shape));
        return reinterpret_cast<const std::uint8_t *>(found->second.data.data());
    };
    const std::int64_t high = height();
    const std::int64_t wide = width();
    trocar_frame frame{};
    frame.size = sizeof frame;
    frame.format = TROCAR_NV12;
    frame.width = width();
    frame.height = height();
    frame.data = plane("luma", {high, wide});
    frame.chroma = plane("chroma", {(high + 1) / 2, (wide + 1) / 2, 2});
    frame.yuv = plane("colour", {1})[0];
    if (frame.yuv > TROCAR_BT2020_FULL)
        bundle_error("nv12.npz holds no NV12 frame: its colour is " + std::to_string(frame.yuv));
    const Array &expected = arrays_.at("frame");
    std::vector<std::uint8_t> rgb(expected.count());
    write_rgb(frame, rgb.data());
    if (!std::equal(rgb.begin(), rgb.end(), this->rgb()))
        throw Error(TROCAR_ERROR_PARITY,
                    "the planes of nv12.npz are converted to other colours than by the exporter",
                    "export the bundle again with this release");
    return frame;
}

void Golden::check(double min_margin, std::size_t classes) const {
    if (instances_) {
        check_instances(min_margin, classes);
        return;
    }
    const char *remedy = "train longer and export again, or export at a higher precision";
    if (!segmentation_) {
        const Array &scores = arrays_.at("scores");
        double lowest = scores.real(0);
        double highest = lowest;
        for (std::size_t i = 1; i < scores.count(); ++i) {
            lowest = std::min(lowest, scores.real(i));
            highest = std::max(highest, scores.real(i));
        }
        if (!(highest - lowest > min_margin))
            bundle_error(
                "the golden image proves nothing: its scores differ by less than the margin",
                remedy);
        return;
    }
    const Array &margin = arrays_.at("margin");
    const Array &labels = arrays_.at("labels");
    const double limit = margin.rounded(min_margin);
    std::size_t compared = 0;
    int highest = 0;
    for (std::size_t i = 0; i < margin.count(); ++i) {
        if (margin.real(i) > limit) ++compared;
        highest = std::max<int>(highest, static_cast<std::uint8_t>(labels.data[i]));
    }
    if (static_cast<double>(compared) / static_cast<double>(margin.count()) < min_compared)
        bundle_error("the golden frame proves too little: " + std::to_string(compared) + " of " +
                         std::to_string(margin.count()) +
                         " pixels have a margin above the limit, expected at least 5%",
                     remedy);
    if (static_cast<std::size_t>(highest) >= classes)
        bundle_error("golden.npz has label " + std::to_string(highest) +
                     ", but the class table ends at " + std::to_string(classes - 1));
}

void Golden::compare(const Outputs &outputs, double min_margin, const std::string &backend) const {
    const Array &margin = arrays_.at("margin");
    const double limit = margin.rounded(min_margin);
    const char *remedy =
        "run `trocar benchmark` on this bundle, or export it again for this machine";
    if (instances_) {
        const std::string fault = instance_fault(outputs, min_margin);
        if (!fault.empty())
            throw Error(TROCAR_ERROR_PARITY,
                        backend + " differs from the exporter on the golden frame: " + fault,
                        remedy);
    } else if (segmentation_) {
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
    } else {
        const Array &scores = arrays_.at("scores");
        if (outputs.scores->per_frame() != scores.count())
            throw Error(TROCAR_ERROR_PARITY,
                        backend + " returned " + std::to_string(outputs.scores->per_frame()) +
                            " scores for the golden frame, expected " +
                            std::to_string(scores.count()),
                        "export the bundle again");
        const std::size_t got = largest(outputs.scores->per_frame(),
                                        [&](std::size_t i) { return real(*outputs.scores, i); });
        const std::size_t expected =
            largest(scores.count(), [&](std::size_t i) { return scores.real(i); });
        if (scores.real(expected) - scores.real(got) > min_margin)
            throw Error(TROCAR_ERROR_PARITY,
                        backend + " gives the golden frame class " + std::to_string(got) +
                            ", the exporter class " + std::to_string(expected),
                        remedy);
    }
}

}  // namespace trocar::detail
