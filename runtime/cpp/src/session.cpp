#include "session.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "classes.hpp"
#include "engine_choice.hpp"
#include "error.hpp"
#include "half.hpp"
#include "npz.hpp"
#include "results.hpp"
#include "tensorrt.hpp"

namespace trocar::detail {

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

const Tensor *find(const std::vector<Tensor> &tensors, const char *name) {
    for (const Tensor &tensor : tensors)
        if (tensor.name == name) return &tensor;
    return nullptr;
}

std::string shape_text(const std::vector<std::int64_t> &shape) {
    std::string text = "[";
    for (const std::int64_t side : shape)
        text += (text.size() > 1 ? ", " : "") + std::to_string(side);
    return text + "]";
}

bool ends_with(const std::string &text, const std::string &end) {
    return text.size() >= end.size() &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
}

bool is_tensorrt(const Asked &asked) {
    return asked.backend == "tensorrt" || asked.backend == "tensorrt-rtx";
}

/// The engine that fits, and the golden frame of its size where it has one of its own.
std::unique_ptr<Backend> opened_engine(const Bundle &bundle, const Asked &asked,
                                       std::string &golden, std::string &precision) {
    if (tensorrt_flavour() != asked.backend)
        throw Error(TROCAR_ERROR_MISSING_EXTRA, "backend " + asked.backend + " was not compiled in",
                    "build libtrocar with -DTROCAR_TENSORRT_INCLUDE=<folder of NvInferRuntime.h>");
    // A TensorRT runtime made without a driver hands back an object that crashes when used.
    require_cuda(asked.device);
    Here here;
    here.flavour = asked.backend;
    here.version = tensorrt_version(asked);
    here.platform = TROCAR_PLATFORM;
    here.precision = asked.precision;
    describe_gpu(asked.device.index, here);
    const std::string name = choose_engine(bundle, here);
    precision = here.precision;
    const std::string own = name.substr(0, name.size() - 7) + ".golden.npz";
    if (bundle.manifest.files.count(own) > 0) golden = read_listed(bundle, own);
    return open_tensorrt(read_listed(bundle, name), asked);
}

std::unique_ptr<Backend> opened(const std::string &model, const Asked &asked) {
    if (asked.backend == "onnxruntime") return open_onnxruntime(model, asked);
    throw Error(
        TROCAR_ERROR_BACKEND,
        "backend is '" + asked.backend + "', expected onnxruntime, tensorrt or tensorrt-rtx",
        "name one of these");
}

/// Which of `from` pixels holds the centre of a pixel of `to`; of two that share it the later.
class Nearest {
  public:
    Nearest(int from, int to) : from_(from), to_(to) {}
    std::int64_t operator()(int place) const {
        return (std::int64_t{2} * place + 1) * from_ / (std::int64_t{2} * to_);
    }

  private:
    int from_, to_;
};

/// Same size, and arrays of the kinds that the exporter writes.
struct Golden {
    explicit Golden(const std::string &file, bool segmentation) : arrays(read_npz(file)) {
        for (const char *name : {"frame", segmentation ? "labels" : "scores", "margin"})
            if (arrays.count(name) == 0) bundle_error("golden.npz lacks " + std::string(name));
        const Array &frame = arrays["frame"];
        if (frame.dtype != "|u1" || frame.shape.size() != 3 || frame.shape[2] != 3 ||
            frame.count() == 0 || frame.shape[0] > 32768 || frame.shape[1] > 32768)
            bundle_error("the golden frame is " + frame.dtype + " " + shape_text(frame.shape) +
                         ", expected uint8 [H, W, 3]");
        if (!arrays["margin"].is_real())
            bundle_error("golden.npz holds margins that are no numbers");
        if (segmentation &&
            (arrays["labels"].dtype != "|u1" || arrays["labels"].shape != arrays["margin"].shape))
            bundle_error("golden.npz holds labels and margins of different sizes");
        if (!segmentation && (!arrays["scores"].is_real() || arrays["scores"].count() == 0 ||
                              arrays["margin"].count() != 1))
            bundle_error("golden.npz holds scores that are no numbers");
    }
    std::map<std::string, Array> arrays;
};

/// The place of the largest, the first of equal ones.
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

Session::Session(const std::string &path, const Asked &asked)
    : asked_(asked), device_(asked.device.text()) {
    if (ends_with(path, ".onnx") && is_regular_file(path)) {
        backend_ = opened(read_file(path), asked);
        const std::string text = backend_->metadata();
        if (text.empty())
            bundle_error(path + " carries no Trocar manifest", "name a bundle, or export it");
        manifest_ = read_manifest(text, path);
        precision_ = manifest_.precision;
    } else {
        Bundle bundle = open_bundle(path);
        manifest_ = bundle.manifest;
        precision_ = manifest_.precision;
        backend_ = is_tensorrt(asked) ? opened_engine(bundle, asked, bundle.golden, precision_)
                                      : opened(bundle.model, asked);
        replay(bundle.golden);
        if (!bundle.classes.empty() && !manifest_.segmentation) {
            const std::vector<Input> classes = enrolled_classes(bundle.classes);
            if (!classes.empty()) backend_->set_inputs(classes);
        }
    }
    if (!is_tensorrt(asked) && !asked.precision.empty() && asked.precision != manifest_.precision)
        throw Error(TROCAR_ERROR_BACKEND,
                    "precision " + asked.precision + " was asked for, but the graph is " +
                        manifest_.precision,
                    "export with --precision " + asked.precision);
    locator_ = std::make_unique<Locator>(manifest_.classes,
                                         LocateOptions{asked.min_area, asked.min_pixels});
    warm_up();
    library_ = backend_->library();
}

void Session::describe(trocar_info &info) const {
    info.task = manifest_.segmentation ? TROCAR_SEGMENTATION : TROCAR_CLASSIFICATION;
    info.network_width = manifest_.width;
    info.network_height = manifest_.height;
    info.class_count = static_cast<std::int32_t>(manifest_.classes.size());
    info.score_count = scores_;
    info.embedding_count = embedding_;
    info.golden = golden_ ? 1 : 0;
    info.name = manifest_.name.c_str();
    info.method = manifest_.method.c_str();
    info.backend = asked_.backend.c_str();
    info.device = device_.c_str();
    info.precision = precision_.c_str();
    info.library = library_.c_str();
}

Session::Outputs Session::infer(const std::uint8_t *rgb, int count, int height, int width) {
    const std::vector<Tensor> &tensors = backend_->run(rgb, count, height, width);
    const Outputs outputs{find(tensors, "labels"), find(tensors, "confidence"),
                          find(tensors, "scores"), find(tensors, "embedding")};
    check_outputs(outputs, count);
    return outputs;
}

void Session::check_outputs(const Outputs &outputs, int count) const {
    const char *name = manifest_.segmentation ? "labels" : "scores";
    const Tensor *main = manifest_.segmentation ? outputs.labels : outputs.scores;
    if (main == nullptr)
        throw Error(TROCAR_ERROR_BACKEND,
                    asked_.backend + " gave no " + std::string(name) + ", expected some",
                    "export the bundle again");
    const std::size_t rank = manifest_.segmentation ? 3 : 2;
    const bool fits = main->shape.size() == rank && main->shape[0] == count &&
                      main->per_frame() > 0 &&
                      (main->type == Type::byte) == manifest_.segmentation &&
                      (!manifest_.segmentation ||
                       (main->shape[1] <= max_network_side && main->shape[2] <= max_network_side));
    if (!fits)
        throw Error(TROCAR_ERROR_BACKEND,
                    asked_.backend + " gave " + name + " " + shape_text(main->shape) +
                        " of the wrong type or shape",
                    "export the bundle again");
    const Tensor *other = manifest_.segmentation ? outputs.confidence : outputs.embedding;
    if (other == nullptr) return;
    const bool other_fits =
        manifest_.segmentation
            ? other->shape == main->shape
            : other->shape.size() == 2 && other->shape[0] == count && other->type != Type::byte;
    if (!other_fits)
        throw Error(TROCAR_ERROR_BACKEND,
                    asked_.backend + " gave " + other->name + " " + shape_text(other->shape) +
                        ", expected it to fit " + name + " " + shape_text(main->shape),
                    "export the bundle again");
}

void Session::replay(const std::string &file) {
    const Golden golden(file, manifest_.segmentation);
    const Array &frame = golden.arrays.at("frame");
    const Array &margin = golden.arrays.at("margin");
    const double limit = margin.rounded(manifest_.golden_margin);
    const Outputs outputs =
        infer(reinterpret_cast<const std::uint8_t *>(frame.data.data()), 1,
              static_cast<int>(frame.shape[0]), static_cast<int>(frame.shape[1]));
    const std::string who = asked_.backend + " on " + device_ + " (" + precision_ + ")";
    const char *remedy =
        "run `trocar benchmark` on this bundle, or export it again for this machine";
    if (manifest_.segmentation) {
        const Array &labels = golden.arrays.at("labels");
        std::vector<std::int64_t> shape = outputs.labels->shape;
        shape.erase(shape.begin());
        if (shape != labels.shape)
            throw Error(TROCAR_ERROR_PARITY,
                        who + " gives " + shape_text(shape) +
                            " for the golden frame, expected labels " + shape_text(labels.shape),
                        "export the bundle again");
        const auto *given = static_cast<const std::uint8_t *>(outputs.labels->data);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < labels.count(); ++i)
            if (margin.real(i) > limit && given[i] != static_cast<std::uint8_t>(labels.data[i]))
                ++wrong;
        if (wrong > 0)
            throw Error(TROCAR_ERROR_PARITY,
                        who + " differs from the exporter on " + std::to_string(wrong) + " of " +
                            std::to_string(labels.count()) +
                            " pixels of the golden frame that are no near-ties, expected 0",
                        remedy);
    } else if (margin.real(0) > limit) {
        const Array &scores = golden.arrays.at("scores");
        const std::size_t got = largest(outputs.scores->per_frame(),
                                        [&](std::size_t i) { return real(*outputs.scores, i); });
        const std::size_t expected =
            largest(scores.count(), [&](std::size_t i) { return scores.real(i); });
        if (got != expected)
            throw Error(TROCAR_ERROR_PARITY,
                        who + " calls the golden frame class " + std::to_string(got) +
                            ", the exporter " + std::to_string(expected),
                        remedy);
    }
    golden_ = true;
}

void Session::warm_up() {
    if (!golden_) {
        const std::vector<std::uint8_t> black(static_cast<std::size_t>(manifest_.height) *
                                              static_cast<std::size_t>(manifest_.width) * 3);
        const Outputs outputs = infer(black.data(), 1, manifest_.height, manifest_.width);
        (void)outputs;
    }
    // Sizes that only the graph knows; the outputs of the last run still stand.
    if (!manifest_.segmentation) {
        const std::vector<std::uint8_t> black(static_cast<std::size_t>(manifest_.height) *
                                              static_cast<std::size_t>(manifest_.width) * 3);
        const Outputs outputs = infer(black.data(), 1, manifest_.height, manifest_.width);
        scores_ = static_cast<int>(outputs.scores->per_frame());
        if (outputs.embedding != nullptr)
            embedding_ = static_cast<int>(outputs.embedding->per_frame());
    } else {
        locator_->prepare(manifest_.width, manifest_.height);
    }
    frames_.reserve(64);
}

const std::uint8_t *Session::packed(const std::vector<trocar_frame> &frames) {
    if (frames.size() == 1 && is_packed_rgb(frames[0])) return frames[0].data;
    const std::size_t bytes =
        static_cast<std::size_t>(frames[0].width) * static_cast<std::size_t>(frames[0].height) * 3;
    if (rgb_.size() < bytes * frames.size()) rgb_.resize(bytes * frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i) write_rgb(frames[i], rgb_.data() + i * bytes);
    return rgb_.data();
}

void Session::run(const trocar_frame *frames, std::size_t count, trocar_result *results) {
    const std::lock_guard<std::mutex> lock(mutex_);
    frames_.clear();
    for (std::size_t i = 0; i < count; ++i) {
        frames_.push_back(frame_from(element(frames, i)));
        check_frame(frames_[i]);
        if (frames_[i].width != frames_[0].width || frames_[i].height != frames_[0].height)
            argument_error("frames of a batch differ in size",
                           "run frames of different sizes one by one");
        check_result(element(results, i));
    }
    const auto started = Clock::now();
    const std::uint8_t *rgb = packed(frames_);
    const auto converted = Clock::now();
    const Outputs outputs =
        infer(rgb, static_cast<int>(count), frames_[0].height, frames_[0].width);
    auto inferred = Clock::now();
    const double infer_ms = milliseconds(converted, inferred);
    for (std::size_t i = 0; i < count; ++i) {
        trocar_result result = result_from(element(results, i));
        result.convert_ms = milliseconds(started, converted);
        result.infer_ms = infer_ms;
        write(outputs, i, frames_[i], result);
        const auto located = Clock::now();
        result.locate_ms = milliseconds(inferred, located);
        inferred = located;
        give_back(result, element(results, i));
    }
}

void Session::write(const Outputs &outputs, std::size_t index, const trocar_frame &frame,
                    trocar_result &result) {
    if (!manifest_.segmentation) {
        copy_floats(*outputs.scores, index, result.scores, result.score_capacity, "score_capacity");
        if (outputs.embedding != nullptr)
            copy_floats(*outputs.embedding, index, result.embedding, result.embedding_capacity,
                        "embedding_capacity");
        return;
    }
    write_labels(*outputs.labels, index, frame, result);
    if (outputs.confidence != nullptr)
        copy_floats(*outputs.confidence, index, result.confidence, result.confidence_capacity,
                    "confidence_capacity");
    if (result.instruments == nullptr) return;
    const auto height = static_cast<int>(outputs.labels->shape[1]);
    const auto width = static_cast<int>(outputs.labels->shape[2]);
    const std::size_t offset = index * outputs.labels->per_frame();
    Confidence confidence;
    if (outputs.confidence != nullptr) {
        const void *data = outputs.confidence->data;
        switch (outputs.confidence->type) {
            case Type::half:
                confidence.half = static_cast<const std::uint16_t *>(data) + offset;
                break;
            case Type::single:
                confidence.single = static_cast<const float *>(data) + offset;
                break;
            default:
                confidence.byte = static_cast<const std::uint8_t *>(data) + offset;
        }
    }
    const auto *labels = static_cast<const std::uint8_t *>(outputs.labels->data) + offset;
    give_instruments(locator_->locate(labels, width, height, width, confidence, frame), result);
}

void Session::write_labels(const Tensor &labels, std::size_t index, const trocar_frame &frame,
                           trocar_result &result) const {
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

void Session::locate(const std::uint8_t *labels, int width, int height, std::ptrdiff_t stride,
                     const float *confidence, const trocar_frame *frame, trocar_result *result) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const trocar_frame size = frame_from(frame);
    check_result(result);
    if (labels == nullptr || width < 1 || height < 1 || width > max_network_side ||
        height > max_network_side || (stride != 0 && stride < width))
        argument_error("the label map is " + std::to_string(width) + "x" + std::to_string(height) +
                           " with rows of " + std::to_string(stride) + " bytes",
                       "pass sides of 1..8192 and a stride of 0 or at least the width");
    if (size.width < 1 || size.height < 1)
        argument_error("the frame's size is not above 0", "set frame.width and frame.height");
    Confidence given;
    given.single = confidence;
    trocar_result made = result_from(result);
    made.label_width = width;
    made.label_height = height;
    const auto started = Clock::now();
    give_instruments(
        locator_->locate(labels, width, height, stride == 0 ? width : stride, given, size), made);
    made.locate_ms = milliseconds(started, Clock::now());
    give_back(made, result);
}

}  // namespace trocar::detail
