// Opens the backend that was asked for: this one, or an error.
#pragma once

#include <memory>
#include <string>

#include "backend.hpp"
#include "bundle.hpp"

namespace trocar::detail {

/// Whether an engine of the bundle is to be run, not its graph.
bool is_tensorrt(const Asked &asked);

/// The engine of a bundle that fits; `golden` becomes the golden frame of its size where it has
/// one of its own, `precision` what it computes in.
std::unique_ptr<Backend> open_engine(const Bundle &bundle, const Asked &asked, std::string &golden,
                                     std::string &precision);

/// Runs a graph.
std::unique_ptr<Backend> open_graph(const std::string &model, const Asked &asked);

}  // namespace trocar::detail
