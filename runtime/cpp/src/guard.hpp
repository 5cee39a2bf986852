// Whether a manifest is the one that was exported, and fits the graph beside it.
// contract/integrity/guard.py refuses the same bundles, with the same status.
#pragma once

#include <string>
#include <string_view>

#include "manifest.hpp"

namespace trocar::detail {

/// SHA-256 of the canonical form of a manifest, `files` included, and so of every file. It is what
/// a signature signs. `document` is the text of manifest.json, which was read without an error.
std::string manifest_sha256(std::string_view document);

/// Compares a manifest with its copy and its hash in `model`, with the class table in `classes`
/// (bytes of the file of enrolled classes; nullptr for a bare model), and with the graph. Throws
/// Error with TROCAR_ERROR_INTEGRITY or TROCAR_ERROR_BUNDLE.
void check_guard(std::string_view document, const Manifest &manifest, std::string_view model,
                 const std::string *classes, const std::string &source);

/// The manifest's copy in a model's metadata; empty without one.
std::string exported_text(std::string_view model);

}  // namespace trocar::detail
