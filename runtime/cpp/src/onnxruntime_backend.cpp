// ONNX Runtime on the CPU or on CUDA, through its C interface.
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>
#include <utility>

#include "backend.hpp"
#include "error.hpp"
#include "log.hpp"
#include "onnxruntime_library.hpp"

namespace trocar::detail {

namespace {

constexpr const char *metadata_key = "trocar_manifest";

/// Throws what a failed call says; `what` makes the text, so that success costs nothing.
template <class What>
void check(const OrtApi &api, OrtStatus *status, trocar_status code, What what,
           const char *remedy) {
    if (status == nullptr) return;
    const std::string message = api.GetErrorMessage(status);
    api.ReleaseStatus(status);
    throw Error(code, what() + (": " + message.substr(0, message.find('\n'))), remedy);
}

/// Gives back what ONNX Runtime handed out.
template <class Held>
class Owned {
  public:
    using Release = void(ORT_API_CALL *)(Held *);
    explicit Owned(Release release) : release_(release) {}
    Owned(const Owned &) = delete;
    Owned &operator=(const Owned &) = delete;
    ~Owned() { reset(); }
    void reset() {
        if (held_ != nullptr) release_(held_);
        held_ = nullptr;
    }
    Held *get() const { return held_; }
    Held **fresh() {
        reset();
        return &held_;
    }

  private:
    Release release_;
    Held *held_ = nullptr;
};

Type type_from(ONNXTensorElementDataType type) {
    switch (type) {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
            return Type::byte;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
            return Type::half;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
            return Type::single;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
            return Type::whole;
        default:
            return Type::other;
    }
}

ONNXTensorElementDataType type_of(Type type) {
    return type == Type::byte    ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8
           : type == Type::half  ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
           : type == Type::whole ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32
                                 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

int usable_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
    return std::max(1U, std::thread::hardware_concurrency());
}

class OnnxRuntimeBackend final : public Backend {
  public:
    OnnxRuntimeBackend(const OrtLibrary &library, const std::string &model,
                       const OpenOptions &options, bool nv12)
        : library_(library),
          api_(*library.api),
          log_(options.log),
          log_context_(options.log_context),
          session_(api_.ReleaseSession),
          memory_(api_.ReleaseMemoryInfo),
          ports_(nv12 ? std::vector<Port>{{"luma"}, {"chroma"}, {"colour"}}
                      : std::vector<Port>(1)) {
        Owned<OrtSessionOptions> settings(api_.ReleaseSessionOptions);
        fill(options, settings);
        check(
            api_,
            api_.CreateSessionFromArray(library.env, model.data(), model.size(), settings.get(),
                                        session_.fresh()),
            options.device.cuda ? TROCAR_ERROR_BACKEND : TROCAR_ERROR_BUNDLE,
            [&] { return "ONNX Runtime " + library.version + " cannot load the model"; },
            "install a newer ONNX Runtime, or export the bundle again with this release");
        require(api_.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, memory_.fresh()));
        name_ends();
    }
    OnnxRuntimeBackend(const OnnxRuntimeBackend &) = delete;
    OnnxRuntimeBackend &operator=(const OnnxRuntimeBackend &) = delete;
    ~OnnxRuntimeBackend() override {
        for (Port &port : ports_)
            for (const Wrapped &one : port.wrapped)
                if (one.value != nullptr) api_.ReleaseValue(one.value);
        drop(values_);
        drop(given_values_);
    }

    void set_inputs(const std::vector<Input> &inputs) override {
        std::vector<std::string> known = overridable();
        given_ = inputs;
        drop(given_values_);
        input_names_.resize(ports_.size());
        for (Input &input : given_) {
            if (std::find(known.begin(), known.end(), input.name) == known.end())
                throw Error(TROCAR_ERROR_BACKEND,
                            "the graph has no input " + input.name + " with a default",
                            "export the bundle again");
            given_values_.push_back(nullptr);
            require(api_.CreateTensorWithDataAsOrtValue(
                memory_.get(), input.data.data(), input.data.size() * sizeof(float),
                input.shape.data(), input.shape.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                &given_values_.back()));
            input_names_.push_back(input.name.c_str());
        }
        // The outputs may have another size now.
        drop(values_);
    }

    const std::vector<Tensor> &run(const std::uint8_t *rgb, int count, int height,
                                   int width) override {
        if (ports_.size() != 1) return Backend::run_nv12({}, 0, 0, 0);
        const bool known = is_known({count, height, width});
        feed(ports_[0], rgb, {count, height, width, 3}, 4, Type::byte);
        return run_fed(known, {count, height, width});
    }

    const std::vector<Tensor> &run_nv12(const Nv12Frames &frames, int count, int height,
                                        int width) override {
        if (ports_.size() != 3) return Backend::run_nv12(frames, count, height, width);
        const bool known = is_known({count, height, width});
        feed(ports_[0], frames.luma, {count, height, width}, 3, Type::byte);
        feed(ports_[1], frames.chroma, {count, (height + 1) / 2, (width + 1) / 2, 2}, 4,
             Type::byte);
        feed(ports_[2], frames.colour, {count, 3, 4}, 3, Type::single);
        return run_fed(known, {count, height, width});
    }

    std::string metadata() const override {
        Owned<OrtModelMetadata> data(api_.ReleaseModelMetadata);
        require(api_.SessionGetModelMetadata(session_.get(), data.fresh()));
        OrtAllocator *allocator = nullptr;
        require(api_.GetAllocatorWithDefaultOptions(&allocator));
        char *text = nullptr;
        require(
            api_.ModelMetadataLookupCustomMetadataMap(data.get(), allocator, metadata_key, &text));
        return text == nullptr ? std::string() : taken(allocator, text);
    }

    std::string library() const override { return "ONNX Runtime " + library_.version; }

  private:
    using FrameShape = std::array<std::int64_t, 3>;  // count, height, width

    /// An input of the graph that every call fills.
    /// Data of the caller as a value of ONNX Runtime.
    struct Wrapped {
        const void *data = nullptr;
        std::array<std::int64_t, 4> shape{};
        OrtValue *value = nullptr;
    };

    /// One input of the graph, with the data that it was given lately.
    struct Port {
        std::string name;
        std::array<Wrapped, 4> wrapped{};
        std::size_t next = 0;
        const OrtValue *value = nullptr;  // one of them: of the run
    };

    bool is_known(const FrameShape &shape) const { return shape == shape_ && !values_.empty(); }

    /// Lets an input point at the caller's data. A value is only an address and a shape, so a
    /// caller that fills the same few buffers in turn, as a live loop does, costs no allocation.
    void feed(Port &port, const void *data, const std::array<std::int64_t, 4> &shape,
              std::size_t rank, Type type) {
        for (const Wrapped &one : port.wrapped)
            if (one.value != nullptr && one.data == data && one.shape == shape) {
                port.value = one.value;
                return;
            }
        Wrapped &oldest = port.wrapped[port.next];
        port.value = nullptr;
        if (oldest.value != nullptr) api_.ReleaseValue(std::exchange(oldest.value, nullptr));
        std::size_t bytes = bytes_of(type);
        for (std::size_t i = 0; i < rank; ++i) bytes *= static_cast<std::size_t>(shape[i]);
        // ONNX Runtime takes the pointer as writable and does not write.
        require(api_.CreateTensorWithDataAsOrtValue(memory_.get(), const_cast<void *>(data), bytes,
                                                    shape.data(), rank, type_of(type),
                                                    &oldest.value));
        oldest.data = data;
        oldest.shape = shape;
        port.value = oldest.value;
        port.next = (port.next + 1) % port.wrapped.size();
    }

    const std::vector<Tensor> &run_fed(bool known, const FrameShape &shape) {
        if (known)
            call(values_.data());
        else
            run_unknown(shape);
        return tensors_;
    }

    void require(OrtStatus *status) const {
        check(
            api_, status, TROCAR_ERROR_BACKEND, [] { return std::string("ONNX Runtime failed"); },
            "check the free memory; `trocar inspect` shows the model's input");
    }

    std::string taken(OrtAllocator *allocator, char *text) const {
        const std::string copy = text;
        if (OrtStatus *status = api_.AllocatorFree(allocator, text)) api_.ReleaseStatus(status);
        return copy;
    }

    static void ORT_API_CALL forward(void *self, OrtLoggingLevel level, const char *, const char *,
                                     const char *, const char *message) {
        const auto *backend = static_cast<const OnnxRuntimeBackend *>(self);
        call_log(backend->log_, backend->log_context_, level, message);
    }

    void fill(const OpenOptions &options, Owned<OrtSessionOptions> &settings) {
        require(api_.CreateSessionOptions(settings.fresh()));
        OrtSessionOptions *raw = settings.get();
        require(api_.SetUserLoggingFunction(raw, forward, this));
        // 3 = errors only: its warnings concern its own optimisations.
        require(api_.SetSessionLogSeverityLevel(raw, log_ != nullptr ? 2 : 3));
        require(
            api_.SetIntraOpNumThreads(raw, options.threads > 0 ? options.threads : usable_cores()));
        require(api_.AddSessionConfigEntry(raw, "session.intra_op.allow_spinning",
                                           options.spinning ? "1" : "0"));
        if (!options.device.cuda) return;
        require_cuda(options.device);
        cuda_folders_ = load_cuda_wheels(library_);
        if (options.provider == "tensorrt") add_tensorrt(options, raw);
        if (options.provider == "tensorrt-rtx") add_named("NvTensorRTRTXExecutionProvider", raw);
        add_cuda(options, raw);
    }

    void provided(OrtStatus *status, const std::string &provider) const {
        if (status == nullptr) return;
        const std::string remedy =
            "install the library that it names, in one of " + cuda_folders_ +
            " (pip install 'onnxruntime-gpu[cuda,cudnn]') or in a folder of LD_LIBRARY_PATH";
        check(
            api_, status, TROCAR_ERROR_BACKEND,
            [&] {
                return "ONNX Runtime " + library_.version + " cannot load the " + provider +
                       " provider";
            },
            remedy.c_str());
    }

    void add_cuda(const OpenOptions &options, OrtSessionOptions *settings) const {
        Owned<OrtCUDAProviderOptionsV2> cuda(api_.ReleaseCUDAProviderOptions);
        provided(api_.CreateCUDAProviderOptions(cuda.fresh()), "CUDA");
        const std::string index = std::to_string(options.device.index);
        // On by default in ONNX Runtime, although it is another precision than float32.
        const char *tf32 = options.precision == "tf32" ? "1" : "0";
        const char *keys[] = {"device_id", "use_tf32"};
        const char *values[] = {index.c_str(), tf32};
        provided(api_.UpdateCUDAProviderOptions(cuda.get(), keys, values, 2), "CUDA");
        provided(api_.SessionOptionsAppendExecutionProvider_CUDA_V2(settings, cuda.get()), "CUDA");
    }

    void add_tensorrt(const OpenOptions &options, OrtSessionOptions *settings) const {
        Owned<OrtTensorRTProviderOptionsV2> rt(api_.ReleaseTensorRTProviderOptions);
        provided(api_.CreateTensorRTProviderOptions(rt.fresh()), "TensorRT");
        const std::string index = std::to_string(options.device.index);
        const char *keys[] = {"device_id"};
        const char *values[] = {index.c_str()};
        provided(api_.UpdateTensorRTProviderOptions(rt.get(), keys, values, 1), "TensorRT");
        provided(api_.SessionOptionsAppendExecutionProvider_TensorRT_V2(settings, rt.get()),
                 "TensorRT");
    }

    void add_named(const char *name, OrtSessionOptions *settings) const {
        provided(api_.SessionOptionsAppendExecutionProvider(settings, name, nullptr, nullptr, 0),
                 name);
    }

    void name_ends() {
        OrtAllocator *allocator = nullptr;
        require(api_.GetAllocatorWithDefaultOptions(&allocator));
        std::size_t inputs = 0;
        std::size_t outputs = 0;
        require(api_.SessionGetInputCount(session_.get(), &inputs));
        require(api_.SessionGetOutputCount(session_.get(), &outputs));
        if (inputs != ports_.size())
            bundle_error("the model has " + std::to_string(inputs) + " inputs, expected " +
                         std::to_string(ports_.size()));
        char *text = nullptr;
        if (inputs == 1) {
            require(api_.SessionGetInputName(session_.get(), 0, allocator, &text));
            ports_[0].name = taken(allocator, text);
        }
        for (const Port &port : ports_) input_names_.push_back(port.name.c_str());
        tensors_.resize(outputs);
        for (std::size_t i = 0; i < outputs; ++i) {
            require(api_.SessionGetOutputName(session_.get(), i, allocator, &text));
            tensors_[i].name = taken(allocator, text);
        }
        for (const Tensor &tensor : tensors_) output_names_.push_back(tensor.name.c_str());
    }

    std::vector<std::string> overridable() const {
        OrtAllocator *allocator = nullptr;
        require(api_.GetAllocatorWithDefaultOptions(&allocator));
        std::size_t count = 0;
        require(api_.SessionGetOverridableInitializerCount(session_.get(), &count));
        std::vector<std::string> names;
        for (std::size_t i = 0; i < count; ++i) {
            char *text = nullptr;
            require(api_.SessionGetOverridableInitializerName(session_.get(), i, allocator, &text));
            names.push_back(taken(allocator, text));
        }
        return names;
    }

    void call(OrtValue **outputs) {
        inputs_.clear();
        for (const Port &port : ports_) inputs_.push_back(port.value);
        inputs_.insert(inputs_.end(), given_values_.begin(), given_values_.end());
        require(api_.Run(session_.get(), nullptr, input_names_.data(), inputs_.data(),
                         inputs_.size(), output_names_.data(), output_names_.size(), outputs));
    }

    /// Lets ONNX Runtime choose the outputs' shapes, and takes buffers of these for next time.
    void run_unknown(const FrameShape &shape) {
        drop(values_);
        std::vector<OrtValue *> given(tensors_.size(), nullptr);
        struct Releaser {
            const OrtApi &api;
            std::vector<OrtValue *> &values;
            ~Releaser() {
                for (OrtValue *value : values)
                    if (value != nullptr) api.ReleaseValue(value);
            }
        } releaser{api_, given};
        call(given.data());
        buffers_.resize(tensors_.size());
        std::vector<OrtValue *> values;
        Releaser values_releaser{api_, values};
        for (std::size_t i = 0; i < tensors_.size(); ++i) {
            keep(given[i], tensors_[i], buffers_[i]);
            values.push_back(nullptr);
            require(api_.CreateTensorWithDataAsOrtValue(
                memory_.get(), buffers_[i].data(), buffers_[i].size(), tensors_[i].shape.data(),
                tensors_[i].shape.size(), type_of(tensors_[i].type), &values.back()));
        }
        std::swap(values_, values);
        shape_ = shape;
    }

    void keep(OrtValue *value, Tensor &tensor, std::vector<std::uint8_t> &buffer) const {
        Owned<OrtTensorTypeAndShapeInfo> info(api_.ReleaseTensorTypeAndShapeInfo);
        require(api_.GetTensorTypeAndShape(value, info.fresh()));
        ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        require(api_.GetTensorElementType(info.get(), &type));
        tensor.type = type_from(type);
        if (tensor.type == Type::other)
            bundle_error("output " + tensor.name +
                         " is of a type that is neither uint8, float16, float32 nor int32");
        std::size_t rank = 0;
        require(api_.GetDimensionsCount(info.get(), &rank));
        tensor.shape.resize(rank);
        require(api_.GetDimensions(info.get(), tensor.shape.data(), rank));
        std::size_t bytes = bytes_of(tensor.type);
        for (const std::int64_t side : tensor.shape) bytes *= static_cast<std::size_t>(side);
        void *data = nullptr;
        require(api_.GetTensorMutableData(value, &data));
        buffer.resize(bytes);
        if (bytes > 0) std::memcpy(buffer.data(), data, bytes);
        tensor.data = buffer.data();
    }

    void drop(std::vector<OrtValue *> &values) const {
        for (OrtValue *value : values)
            if (value != nullptr) api_.ReleaseValue(value);
        values.clear();
    }

    const OrtLibrary &library_;
    const OrtApi &api_;
    std::string cuda_folders_;  // where CUDA's libraries were looked for
    trocar_log log_;
    void *log_context_;
    Owned<OrtSession> session_;
    Owned<OrtMemoryInfo> memory_;
    std::vector<Port> ports_;
    std::vector<const char *> input_names_;
    std::vector<const OrtValue *> inputs_;
    std::vector<Input> given_;  // what given_values_ point at
    std::vector<OrtValue *> given_values_;
    std::vector<const char *> output_names_;
    FrameShape shape_{};                              // of the frames that values_ are made for
    std::vector<std::vector<std::uint8_t>> buffers_;  // what values_ point at
    std::vector<OrtValue *> values_;
    std::vector<Tensor> tensors_;
};

}  // namespace

std::unique_ptr<Backend> open_onnxruntime(const std::string &model, const OpenOptions &options,
                                          bool nv12) {
    return std::make_unique<OnnxRuntimeBackend>(onnxruntime_library(options.library), model,
                                                options, nv12);
}

}  // namespace trocar::detail
