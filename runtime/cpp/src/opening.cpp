#include "opening.hpp"

#include "engine_choice.hpp"
#include "error.hpp"
#include "tensorrt.hpp"

namespace trocar::detail {

bool is_tensorrt(const Asked &asked) {
    return asked.backend == "tensorrt" || asked.backend == "tensorrt-rtx";
}

std::unique_ptr<Backend> open_engine(const Bundle &bundle, const Asked &asked, std::string &golden,
                                     std::string &precision) {
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

std::unique_ptr<Backend> open_graph(const std::string &model, const Asked &asked) {
    if (asked.backend == "onnxruntime") return open_onnxruntime(model, asked);
    throw Error(
        TROCAR_ERROR_BACKEND,
        "backend is '" + asked.backend + "', expected onnxruntime, tensorrt or tensorrt-rtx",
        "name one of these");
}

}  // namespace trocar::detail
