#include "body.hpp"

#include <algorithm>
#include <cmath>

#include "error.hpp"
#include "frame.hpp"
#include "results.hpp"

namespace trocar::detail {

namespace {

constexpr const char *inside_name = "inside";

OpenOptions on_one_thread(const OpenOptions &given) {
    OpenOptions options;
    options.trust = given.trust;
    options.log = given.log;
    options.log_context = given.log_context;
    // The file of another backend's library is of no use here.
    if (given.backend == options.backend) options.library = given.library;
    options.threads = 1;
    options.spinning = false;
    return options;
}

}  // namespace

Body::Body(const std::string &path, double certainty, const OpenOptions &options)
    : certainty_(certainty), session_(path, on_one_thread(options)) {
    const Manifest &manifest = session_.manifest();
    std::string names;
    bool has_inside = false;
    for (std::size_t i = 0; i < manifest.classes.size(); ++i) {
        names += (names.empty() ? "" : ", ") + manifest.classes[i].name;
        if (manifest.classes[i].name == inside_name) {
            inside_ = i;
            has_inside = true;
        }
    }
    if (manifest.segmentation || !has_inside || manifest.classes.size() < 2)
        bundle_error(manifest.name + " is a " +
                         (manifest.instances      ? "instances"
                          : manifest.segmentation ? "segmentation"
                                                  : "classification") +
                         " model with the classes " + names +
                         "; an out-of-body model is a classifier with the class 'inside' and "
                         "another one",
                     "train it with `trocar train classifier PHOTOS`, where PHOTOS holds the "
                     "folders inside and outside");
    if (!manifest.decision.is_valid)
        bundle_error("the classifier bundle " + manifest.name +
                         " states a threshold or a scale that is no number",
                     "export the classifier again");
    scores_.resize(manifest.classes.size());
    small_.resize(static_cast<std::size_t>(manifest.height) *
                  static_cast<std::size_t>(manifest.width) * 3);
}

trocar_body Body::judge(const trocar_frame &frame) {
    const std::lock_guard<std::mutex> lock(mutex_);
    try {
        return judged(frame);
    } catch (...) {
        return TROCAR_BODY_FAILED;
    }
}

trocar_body Body::judged(const trocar_frame &frame) {
    const Manifest &manifest = session_.manifest();
    Pixels picture{frame.data, frame.width, frame.height, 3, std::ptrdiff_t{3} * frame.width};
    if (!is_packed_rgb(frame)) {
        rgb_.resize(static_cast<std::size_t>(frame.width) * static_cast<std::size_t>(frame.height) *
                    3);
        write_rgb(frame, rgb_.data());
        picture.data = rgb_.data();
    }
    resize_linear(
        picture,
        {small_.data(), manifest.width, manifest.height, 3, std::ptrdiff_t{3} * manifest.width},
        memory_);
    trocar_frame small{};
    small.size = sizeof small;
    small.width = manifest.width;
    small.height = manifest.height;
    small.data = small_.data();
    trocar_result result{};
    result.size = sizeof result;
    result.scores = scores_.data();
    result.score_capacity = scores_.size();
    session_.run(&small, 1, &result);
    // The rule of runtime/pipeline/crop_classifier.py.
    const auto best = static_cast<std::size_t>(std::max_element(scores_.begin(), scores_.end()) -
                                               scores_.begin());
    float sum = 0;
    for (const float score : scores_) sum += std::exp(score - scores_[best]);
    const float softmax = 1.0F / sum;
    const Decision &rule = manifest.decision;
    const double certainty = rule.scale == 0 ? softmax : scores_[best] / rule.scale;
    const bool is_known = certainty >= rule.threshold;
    if (is_known && best == inside_ && softmax >= certainty_) return TROCAR_BODY_INSIDE;
    return is_known && best != inside_ ? TROCAR_BODY_OUTSIDE : TROCAR_BODY_UNSURE;
}

void run_judged(Session &session, Body *body, std::int32_t privacy, const trocar_frame *frames,
                std::uint32_t count, trocar_result *results) {
    // Until a frame was judged it does not count as inside.
    for (std::size_t i = 0; i < count; ++i) {
        check_result(element(results, i));
        give_body(element(results, i), TROCAR_BODY_NOT_JUDGED);
    }
    for (std::size_t i = 0; body != nullptr && i < count; ++i) {
        const trocar_frame frame = frame_from(element(frames, i));
        check_frame(frame);
        give_body(element(results, i), body->judge(frame));
    }
    session.run(frames, count, results);
    if (privacy == TROCAR_PRIVACY_OFF) return;
    for (std::size_t i = 0; i < count; ++i)
        if (trocar_result *result = element(results, i); body_of(result) != TROCAR_BODY_INSIDE)
            show_nothing(result);
}

}  // namespace trocar::detail
