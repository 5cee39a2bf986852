// Calls the caller's log, and knows that it is doing so: a log that calls the library back would
// wait for a lock that its own thread, or the thread that waits for it, holds.
#pragma once

#include <cstdint>

#include "trocar/trocar.h"

namespace trocar::detail {

/// Whether this thread is inside a log callback.
inline bool &is_logging() {
    static thread_local bool logging = false;
    return logging;
}

inline void call_log(trocar_log log, void *context, std::int32_t severity, const char *message) {
    if (log == nullptr || is_logging()) return;
    is_logging() = true;
    log(context, severity, message);
    is_logging() = false;
}

}  // namespace trocar::detail
