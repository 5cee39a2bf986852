// A bundle on disk: opened only when every hash is right, as contract/bundle.py does.
#pragma once

#include <string>

#include "manifest.hpp"

namespace trocar::detail {

struct Bundle {
    std::string root;
    std::string document;  // bytes of manifest.json
    std::string sha256;    // of its canonical form; covers every file
    Manifest manifest;
    std::string model;   // bytes of model.onnx, the very ones that were hashed
    std::string golden;  // bytes of golden.npz
    std::string nv12;    // bytes of nv12.onnx; empty where the bundle takes RGB alone
    std::string nv12_golden;
    std::string classes;  // bytes of a classifier's enrolled classes; empty without
};

/// Throws Error: BUNDLE, INTEGRITY or VERSION.
Bundle open_bundle(const std::string &path);

/// Reads a bundle's listed file and checks its hash again.
std::string read_listed(const Bundle &bundle, const std::string &name);

/// All bytes of a regular file; throws Error with TROCAR_ERROR_BUNDLE.
std::string read_file(const std::string &path);

bool is_regular_file(const std::string &path);

}  // namespace trocar::detail
