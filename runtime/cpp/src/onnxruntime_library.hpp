// Finds and loads the ONNX Runtime library; nothing is linked, so a host's own copy is not touched.
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

/// Looks at `named`, else the variable TROCAR_ONNXRUNTIME, else beside this library, else where the
/// loader looks. The library stays loaded: it does not survive being unloaded.
/// Throws Error with TROCAR_ERROR_MISSING_EXTRA or TROCAR_ERROR_BACKEND.
const OrtLibrary &onnxruntime_library(const std::string &named);

}  // namespace trocar::detail
