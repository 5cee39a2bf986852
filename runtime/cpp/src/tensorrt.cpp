#include "tensorrt.hpp"

#include "engine.hpp"
#include "error.hpp"
#include "log.hpp"

#ifndef TROCAR_TENSORRT

namespace trocar::detail {

namespace {
[[noreturn]] void missing(const OpenOptions &options) {
    throw Error(TROCAR_ERROR_MISSING_EXTRA, "backend " + options.backend + " was not compiled in",
                "build libtrocar with -DTROCAR_TENSORRT_INCLUDE=<folder of NvInferRuntime.h>");
}
}  // namespace

std::string tensorrt_flavour() { return {}; }
std::string tensorrt_version(const OpenOptions &options) { missing(options); }
std::unique_ptr<Backend> open_tensorrt(const std::string &, bool, const OpenOptions &options) {
    missing(options);
}

}  // namespace trocar::detail

#else

#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <vector>

namespace trocar::detail {

namespace {

constexpr bool rtx = std::string_view(TROCAR_TENSORRT_FLAVOUR) == "tensorrt-rtx";

/// Not closed again: the library does not survive being unloaded while its threads live.
void *loaded_library(const OpenOptions &options) {
    const std::string number = std::to_string(NV_TENSORRT_MAJOR);
    std::vector<std::string> files = {options.library};
    if (options.library.empty())
        files = rtx ? std::vector<std::string>{"libtensorrt_rtx.so." + number, "libtensorrt_rtx.so"}
                    : std::vector<std::string>{"libnvinfer.so." + number, "libnvinfer.so",
                                               "libnvinfer_lean.so." + number};
    std::string tried;
    for (const std::string &file : files) {
        if (void *handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
        const char *why = ::dlerror();
        tried += (tried.empty() ? "" : "; ") + std::string(why == nullptr ? file : why);
    }
    throw Error(TROCAR_ERROR_MISSING_EXTRA, "TensorRT cannot be loaded: " + tried,
                "install it, or name the file in trocar_options.library");
}

template <class Function>
Function find(void *handle, const char *name) {
    const auto function = reinterpret_cast<Function>(::dlsym(handle, name));
    if (function == nullptr)
        throw Error(TROCAR_ERROR_BACKEND, std::string("the library has no ") + name,
                    "name a TensorRT library of the major version that libtrocar was built for");
    return function;
}

class Logger final : public nvinfer1::ILogger {
  public:
    Logger(trocar_log heard, void *context) : log_(heard), context_(context) {}
    void log(Severity severity, const char *message) noexcept override {
        if (severity <= Severity::kERROR) std::snprintf(last_, sizeof last_, "%s", message);
        if (severity <= Severity::kWARNING)
            call_log(log_, context_, static_cast<std::int32_t>(severity), message);
    }
    const char *last() const { return last_; }

  private:
    trocar_log log_;
    void *context_;
    char last_[512] = {};  // no allocation: nothing may be thrown here
};

nvinfer1::Dims dims_from(const std::vector<std::int64_t> &shape) {
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<std::int32_t>(shape.size());
    for (std::size_t i = 0; i < shape.size(); ++i) dims.d[i] = shape[i];
    return dims;
}

std::vector<std::int64_t> shape_from(const nvinfer1::Dims &dims) {
    return {dims.d, dims.d + std::max(dims.nbDims, 0)};
}

Type type_from(nvinfer1::DataType type) {
    switch (type) {
        case nvinfer1::DataType::kUINT8:
            return Type::byte;
        case nvinfer1::DataType::kHALF:
            return Type::half;
        case nvinfer1::DataType::kFLOAT:
            return Type::single;
        case nvinfer1::DataType::kINT32:
            return Type::whole;
        default:
            return Type::other;
    }
}

class NativeEngine final : public Engine {
  public:
    NativeEngine(const std::string &data, bool has_host_code, const OpenOptions &options)
        : logger_(options.log, options.log_context), version_(tensorrt_version(options)) {
        void *handle = loaded_library(options);
        const auto create =
            find<void *(*)(void *, std::int32_t)>(handle, "createInferRuntime_INTERNAL");
        runtime_.reset(static_cast<nvinfer1::IRuntime *>(create(&logger_, NV_TENSORRT_VERSION)));
        if (!runtime_) fail("TensorRT does not start");
        // A version-compatible engine holds the lean runtime of the version that built it.
        if (has_host_code) runtime_->setEngineHostCodeAllowed(true);
        engine_.reset(runtime_->deserializeCudaEngine(data.data(), data.size()));
        if (!engine_) fail("TensorRT " + version_ + " does not load the engine");
        context_.reset(engine_->createExecutionContext());
        if (!context_) fail("TensorRT created no execution context");
    }

    std::vector<Port> ports() const override {
        std::vector<Port> ports;
        for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
            const char *name = engine_->getIOTensorName(i);
            ports.push_back({name, engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT,
                             type_from(engine_->getTensorDataType(name))});
        }
        return ports;
    }
    bool set_input_shape(const std::string &name, const std::vector<std::int64_t> &shape) override {
        return context_->setInputShape(name.c_str(), dims_from(shape));
    }
    std::vector<std::int64_t> shape_of(const std::string &name) const override {
        return shape_from(context_->getTensorShape(name.c_str()));
    }
    bool set_address(const std::string &name, void *device) override {
        return context_->setTensorAddress(name.c_str(), device);
    }
    bool enqueue(void *stream) override {
        return context_->enqueueV3(static_cast<cudaStream_t>(stream));
    }
    std::string profile() const override {
        std::string text;
        for (const Port &port : ports()) {
            if (!port.input) continue;
            for (const auto select :
                 {nvinfer1::OptProfileSelector::kMIN, nvinfer1::OptProfileSelector::kMAX}) {
                text += text.empty() ? "" : " to ";
                for (const std::int64_t side :
                     shape_from(engine_->getProfileShape(port.name.c_str(), 0, select)))
                    text += (text.empty() || text.back() == ' ' ? "" : "x") + std::to_string(side);
            }
        }
        return text;
    }
    std::string library() const override {
        return (rtx ? "TensorRT for RTX " : "TensorRT ") + version_;
    }

  private:
    [[noreturn]] void fail(const std::string &what) const {
        throw Error(
            TROCAR_ERROR_BACKEND,
            what + (*logger_.last() == '\0' ? "" : std::string(": ") + logger_.last()),
            "`trocar inspect` shows what it was built for; build it again for this machine");
    }

    Logger logger_;
    std::string version_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

}  // namespace

std::string tensorrt_flavour() { return TROCAR_TENSORRT_FLAVOUR; }

std::string tensorrt_version(const OpenOptions &options) {
    void *handle = loaded_library(options);
    std::string text;
    for (const char *part : {"Major", "Minor", "Patch", "Build"}) {
        const std::string name = "getInferLib" + std::string(part) + "Version";
        const int value = find<std::int32_t (*)()>(handle, name.c_str())();
        // The classes of another major version are laid out otherwise: calling them would crash.
        if (text.empty() && value != NV_TENSORRT_MAJOR)
            throw Error(TROCAR_ERROR_BACKEND,
                        "the TensorRT library is of version " + std::to_string(value) +
                            ", libtrocar was built for " + std::to_string(NV_TENSORRT_MAJOR),
                        "name another library, or build libtrocar with its headers");
        text += (text.empty() ? "" : ".") + std::to_string(value);
    }
    return text;
}

std::unique_ptr<Backend> open_tensorrt(const std::string &engine, bool has_host_code,
                                       const OpenOptions &options) {
    auto cuda = open_cuda(options.device.index);
    return run_engine(std::move(cuda),
                      std::make_unique<NativeEngine>(engine, has_host_code, options));
}

}  // namespace trocar::detail

#endif
