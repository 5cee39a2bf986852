// A stand-in for libonnxruntime: the few functions that libtrocar calls, instant and instrumented.
// Its "models" are lines of text, and any call can be told to fail:
//
//     seg HEIGHT WIDTH half|single|byte|none    labels of the nearest pixels, confidence
//     cls SCORES EMBEDDING half|single          scores and an embedding (0: none); an input
//                                               "centroids" replaces it: a score for each row
//
// With it every failure path runs in tests, sanitizers see all the code that runs, and what is
// allocated is libtrocar's own.
#include "fake_onnxruntime.hpp"

#define ORT_API_MANUAL_INIT
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "half.hpp"

struct OrtStatus {
    std::string message;
};
struct OrtEnv {};
struct OrtSessionOptions {
    OrtLoggingFunction log = nullptr;
    void *context = nullptr;
};
struct OrtMemoryInfo {};
struct OrtModelMetadata {
    std::string manifest;
};
struct OrtSession {
    bool segmentation = true;
    int a = 0, b = 0;
    std::string kind, manifest;
    std::vector<std::string> outputs;
};
struct OrtTensorTypeAndShapeInfo {
    ONNXTensorElementDataType type;
    std::vector<std::int64_t> shape;
};
struct OrtValue {
    OrtTensorTypeAndShapeInfo info;
    std::vector<std::uint8_t> own;
    void *data = nullptr;
};

namespace {

std::atomic<long> fail_at{0};
std::atomic<long> alive{0};
std::atomic<int> delay{0};

OrtStatus *failing() {
    if (fail_at.load() > 0 && --fail_at == 0) return new OrtStatus{"planted\nsecond line"};
    return nullptr;
}
#define FAIL_HERE \
    if (OrtStatus *planted = failing()) return planted

template <class Held>
Held *counted(Held *made) {
    ++alive;
    return made;
}
template <class Held>
void ORT_API_CALL release(Held *held) {
    if (held != nullptr) --alive;
    delete held;
}

OrtStatus *ORT_API_CALL make_env(OrtLoggingFunction, void *, OrtLoggingLevel, const char *,
                                 OrtEnv **out) noexcept {
    FAIL_HERE;
    static OrtEnv env;
    *out = &env;
    return nullptr;
}
const char *ORT_API_CALL message(const OrtStatus *status) noexcept {
    return status->message.c_str();
}
void ORT_API_CALL release_status(OrtStatus *status) noexcept { delete status; }

OrtStatus *ORT_API_CALL make_options(OrtSessionOptions **out) noexcept {
    FAIL_HERE;
    *out = counted(new OrtSessionOptions);
    return nullptr;
}
OrtStatus *ORT_API_CALL set_log(OrtSessionOptions *options, OrtLoggingFunction log,
                                void *context) noexcept {
    FAIL_HERE;
    options->log = log;
    options->context = context;
    return nullptr;
}
OrtStatus *ORT_API_CALL set_number(OrtSessionOptions *, int) noexcept { return failing(); }
OrtStatus *ORT_API_CALL set_entry(OrtSessionOptions *, const char *, const char *) noexcept {
    return failing();
}

OrtStatus *ORT_API_CALL make_session(const OrtEnv *, const void *data, std::size_t size,
                                     const OrtSessionOptions *options, OrtSession **out) noexcept {
    FAIL_HERE;
    std::istringstream text(std::string(static_cast<const char *>(data), size));
    std::string task;
    auto session = std::make_unique<OrtSession>();
    if (!(text >> task >> session->a >> session->b >> session->kind))
        return new OrtStatus{"no model"};
    std::getline(text, session->manifest);
    std::getline(text, session->manifest, '\0');
    session->segmentation = task == "seg";
    if (session->segmentation) {
        session->outputs = {"labels"};
        if (session->kind != "none") session->outputs.emplace_back("confidence");
    } else {
        session->outputs = {"scores"};
        if (session->b > 0) session->outputs.emplace_back("embedding");
    }
    if (options->log != nullptr)
        options->log(options->context, ORT_LOGGING_LEVEL_WARNING, "", "", "", "fake loaded");
    *out = counted(session.release());
    return nullptr;
}

OrtStatus *ORT_API_CALL make_memory(OrtAllocatorType, OrtMemType, OrtMemoryInfo **out) noexcept {
    FAIL_HERE;
    *out = counted(new OrtMemoryInfo);
    return nullptr;
}

OrtStatus *ORT_API_CALL wrap(const OrtMemoryInfo *, void *data, std::size_t,
                             const std::int64_t *shape, std::size_t rank,
                             ONNXTensorElementDataType type, OrtValue **out) noexcept {
    FAIL_HERE;
    *out = counted(new OrtValue{{type, {shape, shape + rank}}, {}, data});
    return nullptr;
}

OrtStatus *ORT_API_CALL allocator(OrtAllocator **out) noexcept {
    FAIL_HERE;
    static OrtAllocator made{};
    *out = &made;
    return nullptr;
}
OrtStatus *ORT_API_CALL free_text(OrtAllocator *, void *text) noexcept {
    --alive;
    delete[] static_cast<char *>(text);
    return failing();
}
char *copied(const std::string &text) {
    char *copy = counted(new char[text.size() + 1]);
    std::memcpy(copy, text.c_str(), text.size() + 1);
    return copy;
}

OrtStatus *ORT_API_CALL metadata(const OrtSession *session, OrtModelMetadata **out) noexcept {
    FAIL_HERE;
    *out = counted(new OrtModelMetadata{session->manifest});
    return nullptr;
}
OrtStatus *ORT_API_CALL look_up(const OrtModelMetadata *data, OrtAllocator *, const char *,
                                char **out) noexcept {
    FAIL_HERE;
    *out = data->manifest.empty() ? nullptr : copied(data->manifest);
    return nullptr;
}

OrtStatus *ORT_API_CALL count_inputs(const OrtSession *, std::size_t *out) noexcept {
    *out = 1;
    return failing();
}
OrtStatus *ORT_API_CALL count_outputs(const OrtSession *session, std::size_t *out) noexcept {
    *out = session->outputs.size();
    return failing();
}
OrtStatus *ORT_API_CALL name_input(const OrtSession *, std::size_t, OrtAllocator *,
                                   char **out) noexcept {
    FAIL_HERE;
    *out = copied("frame");
    return nullptr;
}
OrtStatus *ORT_API_CALL name_output(const OrtSession *session, std::size_t i, OrtAllocator *,
                                    char **out) noexcept {
    FAIL_HERE;
    *out = copied(session->outputs[i]);
    return nullptr;
}

OrtStatus *ORT_API_CALL count_overridable(const OrtSession *session, std::size_t *out) noexcept {
    *out = session->segmentation ? 0 : 1;
    return failing();
}
OrtStatus *ORT_API_CALL name_overridable(const OrtSession *, std::size_t, OrtAllocator *,
                                         char **out) noexcept {
    FAIL_HERE;
    *out = copied("centroids");
    return nullptr;
}

void write(void *data, ONNXTensorElementDataType type, std::size_t i, float value) {
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8)
        static_cast<std::uint8_t *>(data)[i] = static_cast<std::uint8_t>(value * 255);
    else if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16)
        static_cast<std::uint16_t *>(data)[i] = trocar::detail::half_from_float(value);
    else
        static_cast<float *>(data)[i] = value;
}

std::size_t element_size(ONNXTensorElementDataType type) {
    return type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8     ? 1
           : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 ? 2
                                                           : 4;
}

void segment(const OrtSession &session, const OrtValue &input, OrtValue &labels,
             OrtValue *confidence) {
    const auto &shape = input.info.shape;
    const auto *pixels = static_cast<const std::uint8_t *>(input.data);
    auto *out = static_cast<std::uint8_t *>(labels.data);
    std::size_t at = 0;
    for (std::int64_t n = 0; n < shape[0]; ++n)
        for (int y = 0; y < session.a; ++y)
            for (int x = 0; x < session.b; ++x, ++at) {
                const std::int64_t row = n * shape[1] + y * shape[1] / session.a;
                const std::uint8_t *rgb = pixels + 3 * (row * shape[2] + x * shape[2] / session.b);
                out[at] = rgb[2] > 150 ? 1 : rgb[1] > 150 ? 2 : 0;
                if (confidence != nullptr)
                    write(confidence->data, confidence->info.type, at,
                          static_cast<float>(rgb[0]) / 255);
            }
}

void classify(const OrtValue &input, OrtValue &output) {
    const std::int64_t width = output.info.shape[1];
    const auto *pixels = static_cast<const std::uint8_t *>(input.data);
    const auto frame = static_cast<std::size_t>(input.info.shape[1] * input.info.shape[2] * 3);
    for (std::int64_t n = 0; n < input.info.shape[0]; ++n)
        for (std::int64_t k = 0; k < width; ++k)
            write(output.data, output.info.type, static_cast<std::size_t>(n * width + k),
                  static_cast<float>(pixels[static_cast<std::size_t>(n) * frame +
                                            static_cast<std::size_t>(k) % frame]));
}

OrtStatus *ORT_API_CALL run(OrtSession *session, const OrtRunOptions *, const char *const *,
                            const OrtValue *const *inputs, std::size_t given, const char *const *,
                            std::size_t count, OrtValue **outputs) noexcept {
    FAIL_HERE;
    if (delay > 0) std::this_thread::sleep_for(std::chrono::milliseconds(delay));
    const OrtValue &input = *inputs[0];
    // Reads all of the classes, so that sanitizers see where they lie.
    if (given > 1 && std::count(static_cast<const float *>(inputs[1]->data),
                                static_cast<const float *>(inputs[1]->data) +
                                    inputs[1]->info.shape[0] * inputs[1]->info.shape[1],
                                -1.0F) > 0)
        return new OrtStatus{"a class is negative"};
    const std::int64_t scores = given > 1 ? inputs[1]->info.shape[0] : session->a;
    const auto kind = session->kind == "half"   ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                      : session->kind == "byte" ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8
                                                : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    for (std::size_t i = 0; i < count; ++i) {
        if (outputs[i] != nullptr) continue;
        const bool labels = session->segmentation && i == 0;
        std::vector<std::int64_t> shape = {input.info.shape[0], i == 0 ? scores : session->b};
        if (session->segmentation) shape = {input.info.shape[0], session->a, session->b};
        const auto type = labels ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : kind;
        std::size_t bytes = element_size(type);
        for (const std::int64_t side : shape) bytes *= static_cast<std::size_t>(side);
        auto *value =
            counted(new OrtValue{{type, shape}, std::vector<std::uint8_t>(bytes), nullptr});
        value->data = value->own.data();
        outputs[i] = value;
    }
    if (session->segmentation) {
        segment(*session, input, *outputs[0], count > 1 ? outputs[1] : nullptr);
    } else {
        for (std::size_t i = 0; i < count; ++i) classify(input, *outputs[i]);
    }
    return nullptr;
}

OrtStatus *ORT_API_CALL describe(const OrtValue *value, OrtTensorTypeAndShapeInfo **out) noexcept {
    FAIL_HERE;
    *out = counted(new OrtTensorTypeAndShapeInfo(value->info));
    return nullptr;
}
OrtStatus *ORT_API_CALL type_of(const OrtTensorTypeAndShapeInfo *info,
                                ONNXTensorElementDataType *out) noexcept {
    *out = info->type;
    return failing();
}
OrtStatus *ORT_API_CALL rank_of(const OrtTensorTypeAndShapeInfo *info, std::size_t *out) noexcept {
    *out = info->shape.size();
    return failing();
}
OrtStatus *ORT_API_CALL shape_of(const OrtTensorTypeAndShapeInfo *info, std::int64_t *out,
                                 std::size_t rank) noexcept {
    std::copy_n(info->shape.begin(), rank, out);
    return failing();
}
OrtStatus *ORT_API_CALL data_of(OrtValue *value, void **out) noexcept {
    *out = value->data;
    return failing();
}

const OrtApi *ORT_API_CALL get_api(std::uint32_t) noexcept {
    static const OrtApi api = [] {
        OrtApi made{};
        made.CreateEnvWithCustomLogger = make_env;
        made.GetErrorMessage = message;
        made.ReleaseStatus = release_status;
        made.CreateSessionOptions = make_options;
        made.ReleaseSessionOptions = release<OrtSessionOptions>;
        made.SetUserLoggingFunction = set_log;
        made.SetSessionLogSeverityLevel = set_number;
        made.SetIntraOpNumThreads = set_number;
        made.AddSessionConfigEntry = set_entry;
        made.CreateSessionFromArray = make_session;
        made.ReleaseSession = release<OrtSession>;
        made.CreateCpuMemoryInfo = make_memory;
        made.ReleaseMemoryInfo = release<OrtMemoryInfo>;
        made.CreateTensorWithDataAsOrtValue = wrap;
        made.ReleaseValue = release<OrtValue>;
        made.GetAllocatorWithDefaultOptions = allocator;
        made.AllocatorFree = free_text;
        made.SessionGetModelMetadata = metadata;
        made.ModelMetadataLookupCustomMetadataMap = look_up;
        made.ReleaseModelMetadata = release<OrtModelMetadata>;
        made.SessionGetInputCount = count_inputs;
        made.SessionGetOutputCount = count_outputs;
        made.SessionGetInputName = name_input;
        made.SessionGetOutputName = name_output;
        made.SessionGetOverridableInitializerCount = count_overridable;
        made.SessionGetOverridableInitializerName = name_overridable;
        made.Run = run;
        made.GetTensorTypeAndShape = describe;
        made.GetTensorElementType = type_of;
        made.GetDimensionsCount = rank_of;
        made.GetDimensions = shape_of;
        made.ReleaseTensorTypeAndShapeInfo = release<OrtTensorTypeAndShapeInfo>;
        made.GetTensorMutableData = data_of;
        return made;
    }();
    return &api;
}
const char *ORT_API_CALL version() noexcept { return FAKE_VERSION; }

}  // namespace

extern "C" __attribute__((visibility("default"))) const OrtApiBase *OrtGetApiBase() {
    static const OrtApiBase base{get_api, version};
    return &base;
}
extern "C" __attribute__((visibility("default"))) void fake_fail_at(long call) { fail_at = call; }
extern "C" __attribute__((visibility("default"))) long fake_alive() { return alive; }
extern "C" __attribute__((visibility("default"))) bool fake_pending() { return fail_at > 0; }
extern "C" __attribute__((visibility("default"))) void fake_delay(int ms) { delay = ms; }
