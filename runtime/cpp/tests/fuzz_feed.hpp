// Malformed manifests, archives, bundles, class states and sidecars to everything that reads them.
// Shared by the driver (fuzz.cpp) and libFuzzer's entry (fuzz_clang.cpp).
#pragma once

#include <string>

namespace fuzz {

/// What an input is for: its first byte, counted modulo `kinds`.
enum Kind : char {
    manifest_text,    // a manifest alone
    archive,          // an .npz
    golden_archive,   // a whole bundle with this golden.npz
    bundle_manifest,  // a whole bundle with this manifest.json
    array_file,       // an .npy in an archive whose checksums are right
    classes_archive,  // a whole classifier with this state of enrolled classes
    classes_text,     // the same, with this text in it
    sidecar,          // what lies beside an engine
    kinds
};

/// Reads the input; ends the process where anything but a foreseen refusal happens.
void feed(const std::string &input);

}  // namespace fuzz
