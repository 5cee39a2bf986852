// The native TensorRT backend; compiled if its headers are given.
#pragma once

#include <memory>
#include <string>

#include "backend.hpp"

namespace trocar::detail {

/// `tensorrt` or `tensorrt-rtx`, according to the headers; empty without headers.
std::string tensorrt_flavour();

/// Version of the library, e.g. 10.16.1.11. Throws Error with TROCAR_ERROR_MISSING_EXTRA if it is
/// missing, with TROCAR_ERROR_BACKEND if its major version is not that of the headers.
std::string tensorrt_version(const OpenOptions &options);

/// Loads a plain serialized engine; with `has_host_code`, the code in it may run. A GPU must have
/// been found before.
std::unique_ptr<Backend> open_tensorrt(const std::string &engine, bool has_host_code,
                                       const OpenOptions &options);

}  // namespace trocar::detail
