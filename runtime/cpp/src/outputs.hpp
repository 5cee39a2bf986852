// The graph's outputs by what they mean, and whether they fit each other and the manifest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend.hpp"

namespace trocar::detail {

/// Absent ones are nullptr.
struct Outputs {
    const Tensor *labels = nullptr;
    const Tensor *confidence = nullptr;
    const Tensor *scores = nullptr;
    const Tensor *embedding = nullptr;
    // Of an instance model; its scores are those of the instances.
    const Tensor *instances = nullptr;
    const Tensor *classes = nullptr;
    const Tensor *count = nullptr;
};

/// Throws Error with `code` where the main output is missing, or one does not fit `count` frames.
Outputs outputs_from(const std::vector<Tensor> &tensors, int count, bool segmentation,
                     const std::string &backend, trocar_status code);

/// The same for an instance model. Throws Error with `code` where an output is missing or does not
/// fit the others.
Outputs instance_outputs_from(const std::vector<Tensor> &tensors, int count,
                              const std::string &backend, trocar_status code);

/// Throws Error with TROCAR_ERROR_BACKEND where an output holds NaN or infinity.
void check_finite(const Outputs &outputs);

/// A shape in words, e.g. [1, 4, 5].
std::string shape_text(const std::vector<std::int64_t> &shape);

}  // namespace trocar::detail
