// Opens the requested backend or throws; there is no fallback to another.
#pragma once

#include <memory>
#include <string>

#include "backend.hpp"
#include "bundle.hpp"

namespace trocar::detail {

/// Whether an engine of the bundle is run, not its graph.
bool is_tensorrt(const OpenOptions &options);

/// An engine of a bundle.
struct OpenedEngine {
    std::unique_ptr<Backend> backend;
    std::string golden;     // golden frame of the engine's size, or the bundle's if it has none
    std::string precision;  // of its arithmetic
};

/// Opens the engine of a bundle that fits this machine.
OpenedEngine open_engine(const Bundle &bundle, const OpenOptions &options);

/// Opens a graph; `nv12`: whether it takes planes instead of RGB.
std::unique_ptr<Backend> open_graph(const std::string &model, const OpenOptions &options,
                                    bool nv12 = false);

}  // namespace trocar::detail
