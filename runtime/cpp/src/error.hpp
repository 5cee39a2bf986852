// The only exception inside the library; the C interface turns it into a status.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "trocar/trocar.h"

namespace trocar::detail {

/// What happened, and what to do next.
struct Error : std::runtime_error {
    Error(trocar_status status, const std::string &message, std::string what_to_do = {})
        : std::runtime_error(message), code(status), remedy(std::move(what_to_do)) {}
    trocar_status code;
    std::string remedy;
};

[[noreturn]] inline void bundle_error(const std::string &message,
                                      const std::string &remedy = "export the bundle again") {
    throw Error(TROCAR_ERROR_BUNDLE, message, remedy);
}

[[noreturn]] inline void argument_error(const std::string &message, const std::string &remedy) {
    throw Error(TROCAR_ERROR_ARGUMENT, message, remedy);
}

}  // namespace trocar::detail
