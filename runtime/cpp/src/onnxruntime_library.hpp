// Finds and loads the ONNX Runtime library. It is not linked, so a copy of the program is not used.
#pragma once

#define ORT_API_MANUAL_INIT
#include <onnxruntime_c_api.h>

#include <string>

namespace trocar::detail {

struct OrtLibrary {
    const OrtApi *api = nullptr;
    OrtEnv *env = nullptr;
    std::string file;
    std::string version;
};

/// Tries `named`, else the variable TROCAR_ONNXRUNTIME, else the folder of this library, else the
/// loader's paths. The library stays loaded: unloading it crashes.
/// Throws Error with TROCAR_ERROR_MISSING_EXTRA or TROCAR_ERROR_BACKEND.
const OrtLibrary &onnxruntime_library(const std::string &named);

/// Loads CUDA and cuDNN from NVIDIA's Python wheels, where ONNX Runtime lies in a Python
/// installation that has them: the dynamic loader does not look there. Returns the folders that it
/// looked for them in, for messages.
std::string load_cuda_wheels(const OrtLibrary &library);

}  // namespace trocar::detail
