#include "session.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "checked.hpp"
#include "classes.hpp"
#include "error.hpp"
#include "frame.hpp"
#include "golden.hpp"
#include "guard.hpp"
#include "open.hpp"
#include "results.hpp"
#include "signature.hpp"

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

Session::Session(const std::string &path, const OpenOptions &options)
    : options_(options), device_(options.device.text()) {
    if (ends_with(path, ".onnx") && is_regular_file(path))
        open_model_file(path);
    else
        open_bundle_folder(path);
    const LocationOptions location =
        manifest_.segmentation
            ? changed_location(manifest_.location, options.location, manifest_.classes)
            : manifest_.location;
    // A row's type is what names its instrument, in every language.
    for (ClassRow &row : manifest_.classes)
        if (row.instrument && row.type.empty()) row.type = joined_type(row, location);
    locator_ = std::make_unique<Locator>(manifest_.classes, location);
    warm_up();
    library_ = backend_->library();
}

void Session::open_model_file(const std::string &path) {
    if (!options_.trust.empty())
        bundle_error(path + " is a bare model, which cannot be signed", "open the signed bundle");
    const std::string model = read_file(path);
    backend_ = open_graph(model, options_);
    // A graph that this reader does not know may still carry a manifest for ONNX Runtime.
    std::string text = exported_text(model);
    const bool is_guarded = !text.empty();
    if (!is_guarded) text = backend_->metadata();
    if (text.empty())
        bundle_error(path + " contains no Trocar manifest",
                     "name the bundle's folder, or make a bundle with `trocar import-onnx`");
    manifest_ = read_manifest(text, path);
    if (is_guarded) check_guard(text, manifest_, model, nullptr, path);
    choose_precision();
}

void Session::open_bundle_folder(const std::string &path) {
    Bundle bundle = open_bundle(path);
    if (!options_.trust.empty()) verify_signature(bundle, options_.trust);
    manifest_ = bundle.manifest;
    if (is_tensorrt(options_)) {
        OpenedEngine engine = open_engine(bundle, options_);
        backend_ = std::move(engine.backend);
        precision_ = std::move(engine.precision);
        replay(engine.golden);
    } else {
        choose_precision();
        backend_ = open_graph(bundle.model, options_);
        replay(bundle.golden);
        if (options_.nv12 && !bundle.nv12.empty()) open_nv12(bundle);
    }
    if (manifest_.class_state.empty() || manifest_.segmentation) return;
    const std::vector<Input> classes = enrolled_classes(bundle.classes);
    if (classes.empty()) return;
    backend_->set_inputs(classes);
    if (nv12_) nv12_->set_inputs(classes);
}

/// The precision of a graph's arithmetic, before it runs.
void Session::choose_precision() {
    const std::string &graph = manifest_.precision;
    const std::string &wanted = options_.precision;
    const bool on_cuda = options_.device.cuda && options_.provider == "cuda";
    precision_ = graph;
    if (graph == "int8" && on_cuda)
        throw Error(TROCAR_ERROR_BACKEND,
                    "the graph is int8, which ONNX Runtime's CUDA provider computes in float32 "
                    "with copies to the CPU: slower than the fp32 graph",
                    "export with --precision fp16 for CUDA, build an engine (--int8-target "
                    "tensorrt --engine tensorrt), or use device cpu");
    if (wanted.empty() || wanted == graph) return;
    if (wanted == "tf32" && graph == "fp32" && on_cuda) {
        precision_ = wanted;
        return;
    }
    throw Error(
        TROCAR_ERROR_BACKEND,
        "precision " + wanted + " was requested, but the graph is " + graph + " on " + device_,
        wanted == "tf32" ? "leave it out: tf32 is for fp32 graphs on CUDA"
                         : "export with --precision " + wanted);
}

/// TF32 rounds to 11 bits: a pixel whose best two logits are nearer than this may differ.
double Session::golden_margin() const {
    constexpr double tf32_margin = 0.125;
    return precision_ == "tf32" ? std::max(manifest_.golden_margin, tf32_margin)
                                : manifest_.golden_margin;
}

void Session::describe(trocar_info &info) const {
    info.task = manifest_.instances      ? TROCAR_INSTANCES
                : manifest_.segmentation ? TROCAR_SEGMENTATION
                                         : TROCAR_CLASSIFICATION;
    info.network_width = manifest_.width;
    info.network_height = manifest_.height;
    info.class_count = static_cast<std::int32_t>(manifest_.classes.size());
    info.score_count = scores_;
    info.embedding_count = embedding_;
    info.golden = golden_ ? 1 : 0;
    info.takes_nv12 = nv12_ ? 1 : 0;
    info.name = manifest_.name.c_str();
    info.method = manifest_.method.c_str();
    info.backend = options_.backend.c_str();
    info.device = device_.c_str();
    info.precision = precision_.c_str();
    info.library = library_.c_str();
}

Outputs Session::infer(const std::uint8_t *rgb, int count, int height, int width,
                       trocar_status code) {
    return outputs_of(backend_->run(rgb, count, height, width), static_cast<std::size_t>(count),
                      code);
}

Outputs Session::infer_nv12(const std::vector<trocar_frame> &frames, trocar_status code) {
    const Nv12Frames planes = packed_nv12(frames);
    return outputs_of(
        nv12_->run_nv12(planes, static_cast<int>(frames.size()), frames[0].height, frames[0].width),
        frames.size(), code);
}

Outputs Session::outputs_of(const std::vector<Tensor> &tensors, std::size_t size,
                            trocar_status code) const {
    const int count = static_cast<int>(size);
    if (manifest_.instances) return instance_outputs_from(tensors, count, options_.backend, code);
    return outputs_from(tensors, count, manifest_.segmentation, options_.backend, code);
}

void Session::check_labels(const Outputs &outputs) const {
    if (!manifest_.segmentation) return;
    const auto *labels = static_cast<const std::uint8_t *>(outputs.labels->data);
    const std::size_t count =
        static_cast<std::size_t>(outputs.labels->shape[0]) * outputs.labels->per_frame();
    const int highest = *std::max_element(labels, labels + count);
    if (highest >= static_cast<int>(manifest_.classes.size()))
        bundle_error("the graph returns label " + std::to_string(highest) +
                     ", but the class table ends at " +
                     std::to_string(manifest_.classes.size() - 1));
}

void Session::replay(const std::string &file) {
    const Golden golden(file, manifest_.segmentation, manifest_.instances);
    golden.check(golden_margin(), manifest_.classes.size());
    const Outputs outputs =
        infer(golden.rgb(), 1, golden.height(), golden.width(), TROCAR_ERROR_BUNDLE);
    golden.compare(outputs, golden_margin(),
                   options_.backend + " on " + device_ + " (" + precision_ + ")");
    check_labels(outputs);
    golden_ = true;
}

void Session::open_nv12(const Bundle &bundle) {
    nv12_ = open_graph(bundle.nv12, options_, true);
    const Golden golden(bundle.nv12_golden, manifest_.segmentation, manifest_.instances);
    golden.check(golden_margin(), manifest_.classes.size());
    const Outputs outputs = infer_nv12({golden.nv12()}, TROCAR_ERROR_BUNDLE);
    golden.compare(outputs, golden_margin(),
                   options_.backend + " on " + device_ + " (" + precision_ + ", NV12)");
    check_labels(outputs);
}

void Session::warm_up() {
    if (!golden_) {
        const std::vector<std::uint8_t> black(static_cast<std::size_t>(manifest_.height) *
                                              static_cast<std::size_t>(manifest_.width) * 3);
        check_labels(
            infer(black.data(), 1, manifest_.height, manifest_.width, TROCAR_ERROR_BUNDLE));
    }
    // The sizes of these outputs are known after a run only.
    if (!manifest_.segmentation) {
        const std::vector<std::uint8_t> black(static_cast<std::size_t>(manifest_.height) *
                                              static_cast<std::size_t>(manifest_.width) * 3);
        const Outputs outputs =
            infer(black.data(), 1, manifest_.height, manifest_.width, TROCAR_ERROR_BUNDLE);
        scores_ = static_cast<int>(outputs.scores->per_frame());
        if (scores_ != static_cast<int>(manifest_.classes.size()))
            bundle_error("the graph returns " + std::to_string(scores_) +
                         " scores, but the class table has " +
                         std::to_string(manifest_.classes.size()) + " classes");
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

Nv12Frames Session::packed_nv12(const std::vector<trocar_frame> &frames) {
    colour_.resize(12 * frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i)
        write_colour(frames[i].yuv, colour_.data() + 12 * i);
    const auto plane = [&](Plane (*of)(const trocar_frame &), std::vector<std::uint8_t> &buffer) {
        const Plane first = of(frames[0]);
        if (frames.size() == 1 && first.is_packed()) return first.data;
        if (buffer.size() < first.bytes() * frames.size())
            buffer.resize(first.bytes() * frames.size());
        for (std::size_t i = 0; i < frames.size(); ++i)
            of(frames[i]).write(buffer.data() + i * first.bytes());
        return static_cast<const std::uint8_t *>(buffer.data());
    };
    return {plane(luma_of, luma_), plane(chroma_of, chroma_), colour_.data()};
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
    const bool planes =
        nv12_ && std::all_of(frames_.begin(), frames_.end(),
                             [](const trocar_frame &frame) { return frame.format == TROCAR_NV12; });
    const std::uint8_t *rgb = planes ? nullptr : packed(frames_);
    const auto converted = Clock::now();
    const Outputs outputs =
        planes ? infer_nv12(frames_)
               : infer(rgb, static_cast<int>(count), frames_[0].height, frames_[0].width);
    check_finite(outputs);
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
    const auto height = static_cast<int>(outputs.labels->shape[1]);
    const auto width = static_cast<int>(outputs.labels->shape[2]);
    const std::size_t offset = index * outputs.labels->per_frame();
    const std::uint8_t *labels =
        locator_->visible(static_cast<const std::uint8_t *>(outputs.labels->data) + offset, width,
                          height, width, frame);
    visible_.shape.assign({1, height, width});
    visible_.data = labels;
    give_labels(visible_, 0, frame, result);
    if (outputs.confidence != nullptr)
        copy_floats(*outputs.confidence, index, result.confidence, result.confidence_capacity,
                    "confidence_capacity");
    if (manifest_.instances) {
        write_instances(outputs, index, frame, result);
        return;
    }
    if (result.instruments == nullptr && result.instrument_map == nullptr) return;
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
    give_located(locator_->locate(labels, width, height, width, confidence, frame), width, height,
                 frame, result);
}

void Session::write_instances(const Outputs &outputs, std::size_t index, const trocar_frame &frame,
                              trocar_result &result) {
    result.instance_count = static_cast<const std::int32_t *>(outputs.count->data)[index];
    if (result.instruments == nullptr && result.instrument_map == nullptr) return;
    const auto height = static_cast<int>(outputs.instances->shape[1]);
    const auto width = static_cast<int>(outputs.instances->shape[2]);
    const std::uint8_t *instances =
        locator_->visible(static_cast<const std::uint8_t *>(outputs.instances->data) +
                              index * outputs.instances->per_frame(),
                          width, height, width, frame);
    const std::size_t count = outputs.classes->per_frame();
    give_located(
        locator_->locate_instances(
            instances, width, height,
            static_cast<const std::uint8_t *>(outputs.classes->data) + index * count,
            static_cast<const float *>(outputs.scores->data) + index * count, count, frame),
        width, height, frame, result);
}

void Session::give_located(const std::vector<trocar_instrument> &instruments, int width, int height,
                           const trocar_frame &frame, trocar_result &result) {
    give_instruments(instruments, result);
    if (result.instrument_map == nullptr) return;
    const auto size = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    if (instrument_map_.size() < size) instrument_map_.resize(size);
    locator_->paint(instrument_map_.data(), width, height);
    give_instrument_map(instrument_map_.data(), width, height, frame, result);
}

void Session::locate(const std::uint8_t *labels, int width, int height, std::ptrdiff_t stride,
                     const float *confidence, const trocar_frame *frame, trocar_result *result) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const trocar_frame size = frame_from(frame);
    check_result(result);
    if (labels == nullptr || width < 1 || height < 1 || width > max_network_side ||
        height > max_network_side || stride < 0 ||
        (stride != 0 && !image_bytes(stride, height, width)))
        argument_error("the label map is " + std::to_string(width) + "x" + std::to_string(height) +
                           " with rows of " + std::to_string(stride) + " bytes",
                       "pass sides of 1..8192, and a stride of 0 or of at least the width");
    check_size_and_view(size);
    const auto values = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    if (confidence != nullptr && !std::all_of(confidence, confidence + values,
                                              [](float value) { return std::isfinite(value); }))
        argument_error("confidence holds a value that is not finite",
                       "pass the confidence of every pixel, 0..1");
    Confidence map_confidence;
    map_confidence.single = confidence;
    trocar_result located = result_from(result);
    located.label_width = width;
    located.label_height = height;
    const auto started = Clock::now();
    std::ptrdiff_t row = stride == 0 ? width : stride;
    const std::uint8_t *visible = locator_->visible(labels, width, height, row, size);
    if (visible != labels) row = width;
    give_located(locator_->locate(visible, width, height, row, map_confidence, size), width, height,
                 size, located);
    located.locate_ms = milliseconds(started, Clock::now());
    give_back(located, result);
}

}  // namespace trocar::detail
