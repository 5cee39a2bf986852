#include "open.hpp"

#include "engine_choice.hpp"
#include "error.hpp"
#include "tensorrt.hpp"

namespace trocar::detail {

const std::vector<Tensor> &Backend::run_nv12(const Nv12Frames &, int, int, int) {
    throw Error(TROCAR_ERROR_BACKEND, "this backend takes RGB frames only",
                "export the bundle again");
}

bool is_tensorrt(const OpenOptions &options) {
    return options.backend == "tensorrt" || options.backend == "tensorrt-rtx";
}

OpenedEngine open_engine(const Bundle &bundle, const OpenOptions &options) {
    if (tensorrt_flavour() != options.backend)
        throw Error(TROCAR_ERROR_MISSING_EXTRA,
                    "backend " + options.backend + " was not compiled in",
                    "build libtrocar with -DTROCAR_TENSORRT_INCLUDE=<folder of NvInferRuntime.h>");
    // Without a driver, TensorRT creates a runtime that crashes on use.
    require_cuda(options.device);
    EngineEnvironment environment;
    environment.flavour = options.backend;
    environment.version = tensorrt_version(options);
    environment.platform = TROCAR_PLATFORM;
    environment.precision = options.precision;
    environment.width = options.frame_width;
    environment.height = options.frame_height;
    describe_gpu(options.device.index, environment);
    const EngineChoice choice = choose_engine(bundle, environment);
    const bool has_golden = bundle.manifest.files.count(choice.golden) > 0;
    return {open_tensorrt(read_listed(bundle, choice.name), choice.has_host_code, options),
            has_golden ? read_listed(bundle, choice.golden) : bundle.golden, choice.precision};
}

std::unique_ptr<Backend> open_graph(const std::string &model, const OpenOptions &options,
                                    bool nv12) {
    if (options.backend == "onnxruntime") return open_onnxruntime(model, options, nv12);
    throw Error(
        TROCAR_ERROR_BACKEND,
        "backend is '" + options.backend + "', expected onnxruntime, tensorrt or tensorrt-rtx",
        "use one of these");
}

}  // namespace trocar::detail
