// Chooses the engine of a bundle that fits this machine, by the rules of
// contract/tensorrt/engines.py.
#pragma once

#include <string>
#include <vector>

#include "bundle.hpp"

namespace trocar::detail {

/// What an engine must fit: this machine and what was requested.
struct EngineEnvironment {
    std::string flavour;     // tensorrt or tensorrt-rtx
    std::string version;     // of the library, e.g. 10.16.1.11
    std::string gpu;         // name; empty without one
    std::string capability;  // e.g. 8.9; empty without one
    std::string platform;    // e.g. linux-x86_64
    std::string precision;   // required; empty for any
    int width = 0;           // of the frames that will come; 0: not known
    int height = 0;
};

/// Fills in name and compute capability of a GPU, as the driver reports them.
void describe_gpu(int index, EngineEnvironment &here);

/// Every reason why an engine does not fit, from its sidecar's text; empty if it fits.
/// Throws Error: BUNDLE or VERSION for a malformed sidecar.
std::vector<std::string> engine_reasons(const std::string &sidecar, const std::string &source,
                                        const std::string &onnx_sha256,
                                        const std::string &engine_sha256,
                                        const EngineEnvironment &here);

/// The engine that was chosen.
struct EngineChoice {
    std::string name;            // of its file
    std::string golden;          // name that its golden frame has if there is one
    std::string precision;       // of its arithmetic
    bool has_host_code = false;  // it holds the lean runtime of the version that built it
};

/// The engine that fits: of several the one tuned for the frames' size; where that is not known one
/// that takes several; then the first in alphabetical order. Throws Error with TROCAR_ERROR_BACKEND
/// that states every difference.
EngineChoice choose_engine(const Bundle &bundle, const EngineEnvironment &here);

}  // namespace trocar::detail
