// A classifier's classes that were enrolled after export; see contract/class_store.py.
#pragma once

#include <string>
#include <vector>

#include "backend.hpp"

namespace trocar::detail {

/// The class tensors of a state file that differ from the graph's own; nothing where none do.
/// Throws Error with TROCAR_ERROR_BUNDLE.
std::vector<Input> enrolled_classes(const std::string &file);

}  // namespace trocar::detail
