// What the files of the C interface share: every exception becomes a status.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "body.hpp"
#include "error.hpp"
#include "log.hpp"
#include "session.hpp"

struct trocar_session {
    trocar::detail::Session session;
    std::unique_ptr<trocar::detail::Body> body;  // nullptr without an out-of-body model
    std::int32_t privacy;
};

namespace trocar::detail {

template <std::size_t size>
void put_text(char (&out)[size], const char *text) {
    std::size_t length = std::min(std::strlen(text), size - 1);
    // Does not cut a UTF-8 character.
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
    std::memcpy(out, text, length);
    out[length] = '\0';
}

inline trocar_status report(trocar_error *error, trocar_status code, const char *message,
                            const char *remedy) noexcept {
    if (error == nullptr || error->size < sizeof(std::uint32_t) * 2) return code;
    trocar_error filled{};
    filled.size = error->size;
    filled.code = code;
    put_text(filled.message, message);
    put_text(filled.remedy, remedy);
    std::memcpy(error, &filled, std::min<std::size_t>(error->size, sizeof filled));
    // A shorter struct of an older caller still ends with a 0.
    if (error->size > offsetof(trocar_error, message) && error->size < sizeof filled)
        reinterpret_cast<char *>(error)[error->size - 1] = '\0';
    return code;
}

/// Runs a call; hands what it throws to `tell(code, message, remedy)`, and returns the code.
template <class Call, class Tell>
trocar_status caught(Call call, Tell tell) noexcept {
    try {
        call();
        return TROCAR_OK;
    } catch (const Error &failed) {
        return tell(failed.code, failed.what(), failed.remedy.c_str());
    } catch (const std::bad_alloc &) {
        return tell(TROCAR_ERROR, "out of memory", "free memory, or use smaller frames or batches");
    } catch (const std::exception &failed) {
        return tell(TROCAR_ERROR, failed.what(), "");
    } catch (...) {
        return tell(TROCAR_ERROR, "unknown error", "");
    }
}

/// Runs a call; turns what it throws into a status.
template <class Call>
trocar_status guarded(trocar_error *error, Call call) noexcept {
    const auto tell = [error](trocar_status code, const char *message,
                              const char *remedy) noexcept {
        return report(error, code, message, remedy);
    };
    const trocar_status status = caught(call, tell);
    return status == TROCAR_OK ? report(error, TROCAR_OK, "", "") : status;
}

/// Refuses a call from inside the caller's log: it would wait for a lock for ever.
inline void refuse_from_log() {
    if (is_logging())
        argument_error("a log callback called a session", "call it after the callback returned");
}

inline void require(const void *pointer, const char *name) {
    if (pointer == nullptr) argument_error(std::string(name) + " is NULL", "pass a pointer");
}

}  // namespace trocar::detail
