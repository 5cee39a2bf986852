// Chooses the engine of a bundle that fits this machine, as contract/engines.py does.
#pragma once

#include <string>
#include <vector>

#include "bundle.hpp"

namespace trocar::detail {

/// What an engine must fit.
struct Here {
    std::string flavour;     // tensorrt or tensorrt-rtx
    std::string version;     // of the library, e.g. 10.16.1.11
    std::string gpu;         // name; empty without one
    std::string capability;  // e.g. 8.9; empty without one
    std::string platform;    // e.g. linux-x86_64
    std::string precision;   // wanted; empty for any
};

/// Name and compute capability of a GPU, asked of the driver.
void describe_gpu(int index, Here &here);

/// Why an engine does not fit, from its sidecar's text; empty where it does.
/// Throws Error: BUNDLE or VERSION for a malformed sidecar.
std::vector<std::string> engine_reasons(const std::string &sidecar, const std::string &source,
                                        const std::string &onnx_sha256,
                                        const std::string &engine_sha256, const Here &here);

/// Name of the first engine that fits; `here.precision` becomes what it computes in.
/// Throws Error with TROCAR_ERROR_BACKEND: says what differs.
std::string choose_engine(const Bundle &bundle, Here &here);

}  // namespace trocar::detail
