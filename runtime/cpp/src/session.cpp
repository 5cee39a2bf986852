#include "session.hpp"

#include <chrono>

#include "classes.hpp"
#include "error.hpp"
#include "golden.hpp"
#include "opening.hpp"
#include "results.hpp"

namespace trocar::detail {

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

bool ends_with(const std::string &text, const std::string &end) {
    return text.size() >= end.size() &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

Session::Session(const std::string &path, const Asked &asked)
    : asked_(asked), device_(asked.device.text()) {
    if (ends_with(path, ".onnx") && is_regular_file(path)) {
        backend_ = open_graph(read_file(path), asked);
        const std::string text = backend_->metadata();
        if (text.empty())
            bundle_error(path + " carries no Trocar manifest", "name a bundle, or export it");
        manifest_ = read_manifest(text, path);
        precision_ = manifest_.precision;
    } else {
        Bundle bundle = open_bundle(path);
        manifest_ = bundle.manifest;
        precision_ = manifest_.precision;
        backend_ = is_tensorrt(asked) ? open_engine(bundle, asked, bundle.golden, precision_)
                                      : open_graph(bundle.model, asked);
        replay(bundle.golden);
        if (!manifest_.class_state.empty() && !manifest_.segmentation) {
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

Outputs Session::infer(const std::uint8_t *rgb, int count, int height, int width) {
    return outputs_from(backend_->run(rgb, count, height, width), count, manifest_.segmentation,
                        asked_.backend);
}

void Session::replay(const std::string &file) {
    const Golden golden(file, manifest_.segmentation);
    const Outputs outputs = infer(golden.rgb(), 1, golden.height(), golden.width());
    golden.compare(outputs, manifest_.golden_margin,
                   asked_.backend + " on " + device_ + " (" + precision_ + ")");
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
    give_labels(*outputs.labels, index, frame, result);
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
