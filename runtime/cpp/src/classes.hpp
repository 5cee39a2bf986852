// A classifier's classes that were enrolled after export; see contract/class_store.py.
#pragma once

#include <string>
#include <vector>

#include "backend.hpp"

namespace trocar::detail {

/// The class tensors of a state file that differ from the graph's own; nothing where none do.
/// Throws Error with TROCAR_ERROR_BUNDLE.
std::vector<Input> enrolled_classes(const std::string &file);

/// What a state file says about the class table of the manifest.
struct ClassGuard {
    bool changed = false;            // whether classes were enrolled after export
    std::vector<std::string> names;  // in order of class id
    std::string table;               // canonical form of the class table; empty without one
};

/// Throws Error with TROCAR_ERROR_BUNDLE.
ClassGuard class_guard(const std::string &file);

}  // namespace trocar::detail
