// Whether a bundle is the one that was signed: the file model.sig, an in-toto statement in a DSSE
// envelope. contract/signatures/ refuses the same bundles, with the same status.
#pragma once

#include <string>

#include "bundle.hpp"

namespace trocar::detail {

/// Verifies an opened bundle with the public key in a PEM file. Throws Error: INTEGRITY for a
/// bundle that is not signed by it or was changed, CONFIG for a file that holds no key,
/// MISSING_EXTRA where there is no libcrypto.
void verify_signature(const Bundle &bundle, const std::string &trust);

}  // namespace trocar::detail
