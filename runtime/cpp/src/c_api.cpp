// The C border: no exception crosses it.
#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "error.hpp"
#include "results.hpp"
#include "session.hpp"

struct trocar_session {
    trocar::detail::Session session;
};

namespace {

using trocar::detail::argument_error;
using trocar::detail::Asked;
using trocar::detail::Error;

template <std::size_t size>
void put_text(char (&out)[size], const char *text) {
    std::size_t length = std::min(std::strlen(text), size - 1);
    // Never ends inside a UTF-8 character.
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
    std::memcpy(out, text, length);
    out[length] = '\0';
}

trocar_status tell(trocar_error *error, trocar_status code, const char *message,
                   const char *remedy) noexcept {
    if (error == nullptr || error->size < sizeof(std::uint32_t) * 2) return code;
    trocar_error made{};
    made.size = error->size;
    made.code = code;
    put_text(made.message, message);
    put_text(made.remedy, remedy);
    std::memcpy(error, &made, std::min<std::size_t>(error->size, sizeof made));
    if (error->size > offsetof(trocar_error, message) && error->size < sizeof made)
        reinterpret_cast<char *>(error)[error->size - 1] = '\0';
    return code;
}

/// Runs a call; whatever it throws becomes a status.
template <class Call>
trocar_status guarded(trocar_error *error, Call call) noexcept {
    try {
        call();
        return tell(error, TROCAR_OK, "", "");
    } catch (const Error &failed) {
        return tell(error, failed.code, failed.what(), failed.remedy.c_str());
    } catch (const std::bad_alloc &) {
        return tell(error, TROCAR_ERROR, "there is not enough memory",
                    "free memory, or use smaller frames or batches");
    } catch (const std::exception &failed) {
        return tell(error, TROCAR_ERROR, failed.what(), "");
    } catch (...) {
        return tell(error, TROCAR_ERROR, "an unknown fault", "");
    }
}

void need(const void *pointer, const char *name) {
    if (pointer == nullptr) argument_error(std::string(name) + " is NULL", "pass it");
}

std::string text_or(const char *text, const char *otherwise) {
    return text == nullptr || *text == '\0' ? otherwise : text;
}

Asked asked_from(const trocar_options *given) {
    trocar_options options{};
    if (given != nullptr) {
        if (given->size < offsetof(trocar_options, device))
            argument_error("options.size is " + std::to_string(given->size) + ", expected " +
                               std::to_string(sizeof options),
                           "set size to sizeof(trocar_options)");
        std::memcpy(&options, given, std::min<std::size_t>(given->size, sizeof options));
    }
    Asked asked;
    asked.backend = text_or(options.backend, "onnxruntime");
    asked.device = trocar::detail::device_from_text(text_or(options.device, "cpu"));
    // An engine runs on a GPU, always.
    if (!asked.device.cuda && asked.backend.compare(0, 8, "tensorrt") == 0)
        asked.device.cuda = true;
    asked.provider = text_or(options.provider, "cuda");
    asked.precision = text_or(options.precision, "");
    asked.library = text_or(options.library, "");
    asked.threads = options.threads;
    asked.spinning = options.no_spinning == 0;
    asked.log = options.log;
    asked.log_context = options.log_context;
    if (options.threads < 0 || options.threads > 1024)
        argument_error(
            "options.threads is " + std::to_string(options.threads) + ", expected 0..1024",
            "0 means one for each usable core");
    if (asked.provider != "cuda" && asked.provider != "tensorrt" &&
        asked.provider != "tensorrt-rtx")
        argument_error(
            "options.provider is '" + asked.provider + "', expected cuda, tensorrt or tensorrt-rtx",
            "name one of these");
    if (options.provider != nullptr && *options.provider != '\0' && !asked.device.cuda)
        argument_error("options.provider is '" + asked.provider + "', but the device is cpu",
                       "ask for device cuda, or for no provider");
    if (!(options.min_area <= 1) || options.min_pixels < 0)
        argument_error("options.min_area or min_pixels is out of range",
                       "min_area is a share, at most 1; min_pixels is 0 or more");
    if (options.min_area != 0) asked.min_area = std::max(0.0, options.min_area);
    if (options.min_pixels > 0) asked.min_pixels = options.min_pixels;
    return asked;
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
                                            "InterruptedByUserError"};
    return status < 0 || status > TROCAR_ERROR_INTERRUPTED ? "unknown" : names[status];
}

trocar_status trocar_session_open(const char *path, const trocar_options *options,
                                  trocar_session **session, trocar_error *error) {
    return guarded(error, [&] {
        need(session, "session");
        *session = nullptr;
        need(path, "path");
        *session = new trocar_session{{path, asked_from(options)}};
    });
}

void trocar_session_close(trocar_session *session) { delete session; }

trocar_status trocar_session_info(const trocar_session *session, trocar_info *info,
                                  trocar_error *error) {
    return guarded(error, [&] {
        need(session, "session");
        need(info, "info");
        if (info->size < offsetof(trocar_info, name))
            argument_error("info.size is " + std::to_string(info->size) + ", expected " +
                               std::to_string(sizeof *info),
                           "set size to sizeof(trocar_info)");
        trocar_info made{};
        made.size = info->size;
        session->session.describe(made);
        std::memcpy(info, &made, std::min<std::size_t>(info->size, sizeof made));
    });
}

trocar_status trocar_session_class(const trocar_session *session, std::int32_t id,
                                   trocar_class *row, trocar_error *error) {
    return guarded(error, [&] {
        need(session, "session");
        need(row, "row");
        const auto &classes = session->session.manifest().classes;
        if (id < 0 || static_cast<std::size_t>(id) >= classes.size())
            argument_error("class " + std::to_string(id) + " was asked for, the table has 0.." +
                               std::to_string(classes.size() - 1),
                           "ask trocar_session_info for class_count");
        if (row->size < sizeof *row)
            argument_error("class.size is " + std::to_string(row->size) + ", expected " +
                               std::to_string(sizeof *row),
                           "set size to sizeof(trocar_class)");
        const auto &held = classes[static_cast<std::size_t>(id)];
        row->id = id;
        std::copy(held.colour.begin(), held.colour.end(), row->colour);
        row->grey = held.grey;
        row->instrument = held.instrument ? 1 : 0;
        row->name = held.name.c_str();
        row->type = held.type.c_str();
        row->part = held.part.c_str();
    });
}

trocar_status trocar_session_run(trocar_session *session, const trocar_frame *frames,
                                 std::uint32_t count, trocar_result *results, trocar_error *error) {
    return guarded(error, [&] {
        need(session, "session");
        need(frames, "frames");
        need(results, "results");
        if (count < 1 || count > 64)
            argument_error("count is " + std::to_string(count) + ", expected 1..64",
                           "split the batch");
        session->session.run(frames, count, results);
    });
}

trocar_status trocar_session_locate(trocar_session *session, const std::uint8_t *labels,
                                    std::int32_t width, std::int32_t height, std::ptrdiff_t stride,
                                    const float *confidence, const trocar_frame *frame,
                                    trocar_result *result, trocar_error *error) {
    return guarded(error, [&] {
        need(session, "session");
        session->session.locate(labels, width, height, stride, confidence, frame, result);
    });
}

trocar_status trocar_check_manifest(const char *json, std::size_t length, trocar_error *error) {
    return guarded(error, [&] {
        need(json, "json");
        trocar::detail::read_manifest({json, length}, "manifest");
    });
}
