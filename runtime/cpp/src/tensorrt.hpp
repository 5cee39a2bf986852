// The native TensorRT backend; compiled where its headers are given.
#pragma once

#include <memory>
#include <string>

#include "backend.hpp"

namespace trocar::detail {

/// `tensorrt` or `tensorrt-rtx`, whichever the headers were of; empty without any.
std::string tensorrt_flavour();

/// Version of the library, e.g. 10.16.1.11. Throws Error with TROCAR_ERROR_MISSING_EXTRA where it
/// is not there, with TROCAR_ERROR_BACKEND where it is of another major version than the headers.
std::string tensorrt_version(const Asked &asked);

/// Loads a plain serialized engine. A GPU must have been found before.
std::unique_ptr<Backend> open_tensorrt(const std::string &engine, const Asked &asked);

}  // namespace trocar::detail
