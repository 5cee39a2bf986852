// The C interface: every exception becomes a status.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>

#include "api.hpp"
#include "body.hpp"
#include "cover.hpp"
#include "open.hpp"
#include "results.hpp"

namespace {

using trocar::detail::argument_error;
using trocar::detail::body_of;
using trocar::detail::guarded;
using trocar::detail::OpenOptions;
using trocar::detail::refuse_from_log;
using trocar::detail::require;

std::string string_or(const char *text, const char *otherwise) {
    return text == nullptr || *text == '\0' ? otherwise : text;
}

trocar_options options_from(const trocar_options *given) {
    trocar_options options{};
    if (given == nullptr) return options;
    if (given->size < offsetof(trocar_options, device))
        argument_error("options.size is " + std::to_string(given->size) + ", expected " +
                           std::to_string(sizeof options),
                       "set size to sizeof(trocar_options)");
    std::memcpy(&options, given, std::min<std::size_t>(given->size, sizeof options));
    return options;
}

void check_options(const trocar_options &raw, const OpenOptions &options) {
    if (raw.threads < 0 || raw.threads > 1024)
        argument_error("options.threads is " + std::to_string(raw.threads) + ", expected 0..1024",
                       "use 0 for one thread per usable core");
    if (options.provider != "cuda" && options.provider != "tensorrt" &&
        options.provider != "tensorrt-rtx")
        argument_error("options.provider is '" + options.provider +
                           "', expected cuda, tensorrt or tensorrt-rtx",
                       "use one of these");
    if (raw.provider != nullptr && *raw.provider != '\0' && !options.device.cuda)
        argument_error("options.provider is '" + options.provider + "', but the device is cpu",
                       "use device cuda, or leave the provider out");
    constexpr int longest = 32768;
    if (std::min(raw.frame_width, raw.frame_height) < 0 ||
        std::max(raw.frame_width, raw.frame_height) > longest ||
        (raw.frame_width == 0) != (raw.frame_height == 0))
        argument_error("options.frame_width and frame_height are " +
                           std::to_string(raw.frame_width) + " and " +
                           std::to_string(raw.frame_height) + ", expected 1..32768, or both 0",
                       "state both, or neither");
    if (!(raw.min_area <= 1) || raw.min_pixels < 0)
        argument_error("options.min_area is " + std::to_string(raw.min_area) +
                           ", expected at most 1, and options.min_pixels is " +
                           std::to_string(raw.min_pixels) + ", expected at least 0",
                       "correct the value that is out of range");
    if (!(raw.min_score <= 1))
        argument_error(
            "options.min_score is " + std::to_string(raw.min_score) + ", expected at most 1",
            "pass 0 for the bundle's own, or below 0 for no limit");
}

constexpr double usual_certainty = 0.9;

/// The out-of-body model of the options; nullptr without one.
std::unique_ptr<trocar::detail::Body> body_from(const trocar_options &raw,
                                                const OpenOptions &options) {
    if (raw.privacy < TROCAR_PRIVACY_OFF || raw.privacy > TROCAR_PRIVACY_BLACK)
        argument_error("options.privacy is " + std::to_string(raw.privacy) + ", expected 0..2",
                       "use a trocar_privacy");
    if (!(raw.body_certainty <= 1))
        argument_error("options.body_certainty is " + std::to_string(raw.body_certainty) +
                           ", expected at most 1",
                       "pass 0 for 0.9, or below 0 to ask for none");
    const std::string path = string_or(raw.out_of_body, "");
    if (path.empty() && raw.privacy != TROCAR_PRIVACY_OFF)
        argument_error("options.privacy needs a model that tells inside from outside",
                       "set options.out_of_body to a classifier that was trained on two folders, "
                       "inside and outside");
    if (path.empty()) return nullptr;
    const double certainty =
        raw.body_certainty == 0 ? usual_certainty : std::max(0.0, raw.body_certainty);
    return std::make_unique<trocar::detail::Body>(path, certainty, options);
}

OpenOptions open_options_from(const trocar_options &raw) {
    OpenOptions options;
    options.backend = string_or(raw.backend, "onnxruntime");
    options.device = trocar::detail::device_from_text(string_or(raw.device, "cpu"));
    // An engine always runs on a GPU.
    if (!options.device.cuda && trocar::detail::is_tensorrt(options)) options.device.cuda = true;
    options.provider = string_or(raw.provider, "cuda");
    options.precision = string_or(raw.precision, "");
    options.library = string_or(raw.library, "");
    options.trust = string_or(raw.trust, "");
    options.threads = raw.threads;
    options.spinning = raw.no_spinning == 0;
    options.nv12 = raw.no_nv12 == 0;
    options.log = raw.log;
    options.log_context = raw.log_context;
    options.frame_width = raw.frame_width;
    options.frame_height = raw.frame_height;
    check_options(raw, options);
    options.location.json = string_or(raw.location, "");
    options.location.classes = string_or(raw.classes, "");
    if (raw.min_area != 0) options.location.min_area = std::max(0.0, raw.min_area);
    if (raw.min_pixels > 0) options.location.min_pixels = raw.min_pixels;
    if (raw.min_score != 0) options.location.min_score = std::max(0.0, raw.min_score);
    if (raw.max_instruments != 0)
        options.location.max_instruments = std::max(0, raw.max_instruments);
    return options;
}

}  // namespace

const char *trocar_version(void) { return TROCAR_VERSION; }

std::int32_t trocar_abi_version(void) { return TROCAR_ABI_VERSION; }

const char *trocar_status_name(std::int32_t status) {
    static constexpr const char *names[] = {"OK",
                                            "TrocarError",
                                            "ConfigError",
                                            "DataError",
                                            "BundleError",
                                            "IntegrityError",
                                            "VersionError",
                                            "CheckpointError",
                                            "ParityError",
                                            "BackendError",
                                            "MissingExtraError",
                                            "OutputExistsError",
                                            "TrainingError",
                                            "SourceError",
                                            "SinkError",
                                            "ArgumentError",
                                            "InterruptedByUserError",
                                            "DamagedInputError"};
    return status < 0 || status > TROCAR_ERROR_DAMAGED_INPUT ? "unknown" : names[status];
}

trocar_status trocar_session_open(const char *path, const trocar_options *options,
                                  trocar_session **session, trocar_error *error) {
    return guarded(error, [&] {
        require(session, "session");
        *session = nullptr;
        refuse_from_log();
        require(path, "path");
        const trocar_options raw = options_from(options);
        const OpenOptions chosen = open_options_from(raw);
        auto body = body_from(raw, chosen);
        *session = new trocar_session{{path, chosen}, std::move(body), raw.privacy};
    });
}

void trocar_session_close(trocar_session *session) {
    if (!trocar::detail::is_logging()) delete session;
}

trocar_status trocar_session_info(const trocar_session *session, trocar_info *info,
                                  trocar_error *error) {
    return guarded(error, [&] {
        require(session, "session");
        require(info, "info");
        if (info->size < offsetof(trocar_info, name))
            argument_error("info.size is " + std::to_string(info->size) + ", expected " +
                               std::to_string(sizeof *info),
                           "set size to sizeof(trocar_info)");
        trocar_info filled{};
        filled.size = info->size;
        session->session.describe(filled);
        std::memcpy(info, &filled, std::min<std::size_t>(info->size, sizeof filled));
    });
}

trocar_status trocar_session_class(const trocar_session *session, std::int32_t id,
                                   trocar_class *row, trocar_error *error) {
    return guarded(error, [&] {
        require(session, "session");
        require(row, "row");
        const auto &classes = session->session.manifest().classes;
        if (id < 0 || static_cast<std::size_t>(id) >= classes.size())
            argument_error("class " + std::to_string(id) + " was requested, the table has 0.." +
                               std::to_string(classes.size() - 1),
                           "call trocar_session_info for class_count");
        if (row->size < sizeof *row)
            argument_error("class.size is " + std::to_string(row->size) + ", expected " +
                               std::to_string(sizeof *row),
                           "set size to sizeof(trocar_class)");
        const auto &source = classes[static_cast<std::size_t>(id)];
        row->id = id;
        std::copy(source.colour.begin(), source.colour.end(), row->colour);
        row->grey = source.grey;
        row->instrument = source.instrument ? 1 : 0;
        row->name = source.name.c_str();
        row->type = source.type.c_str();
        row->part = source.part.c_str();
    });
}

trocar_status trocar_session_run(trocar_session *session, const trocar_frame *frames,
                                 std::uint32_t count, trocar_result *results, trocar_error *error) {
    return guarded(error, [&] {
        require(session, "session");
        refuse_from_log();
        require(frames, "frames");
        require(results, "results");
        if (count < 1 || count > 64)
            argument_error("count is " + std::to_string(count) + ", expected 1..64",
                           "split the batch into several calls");
        trocar::detail::run_judged(session->session, session->body.get(), session->privacy, frames,
                                   count, results);
    });
}

trocar_status trocar_session_cover(trocar_session *session, const trocar_frame *frame,
                                   const trocar_result *result, trocar_error *error) {
    return guarded(error, [&] {
        require(session, "session");
        if (body_of(result) == TROCAR_BODY_INSIDE) return;
        const trocar_frame checked = trocar::detail::frame_from(frame);
        trocar::detail::check_frame(checked);
        trocar::detail::cover(checked, session->privacy);
    });
}

trocar_status trocar_session_locate(trocar_session *session, const std::uint8_t *labels,
                                    std::int32_t width, std::int32_t height, std::ptrdiff_t stride,
                                    const float *confidence, const trocar_frame *frame,
                                    trocar_result *result, trocar_error *error) {
    return guarded(error, [&] {
        require(session, "session");
        refuse_from_log();
        session->session.locate(labels, width, height, stride, confidence, frame, result);
    });
}

trocar_status trocar_instrument_mask(const trocar_result *result, std::uint32_t index,
                                     std::uint8_t *mask, std::size_t bytes, trocar_error *error) {
    return guarded(error, [&] {
        require(result, "result");
        require(mask, "mask");
        trocar::detail::give_mask(result, index, mask, bytes);
    });
}

trocar_status trocar_check_manifest(const char *json, std::size_t length, trocar_error *error) {
    return guarded(error, [&] {
        require(json, "json");
        trocar::detail::read_manifest({json, length}, "manifest");
    });
}
