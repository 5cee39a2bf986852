// The C interface of live loops.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "api.hpp"
#include "live.hpp"

struct trocar_live {
    trocar::detail::LiveLoop loop;
};

namespace {

using trocar::detail::argument_error;
using trocar::detail::guarded;
using trocar::detail::max_frame_side;
using trocar::detail::require;

constexpr int all_outputs =
    TROCAR_LIVE_LABELS | TROCAR_LIVE_CONFIDENCE | TROCAR_LIVE_INSTRUMENT_MAP;
constexpr std::uint32_t most_instruments = 65536;

template <class Struct>
void check_size(const Struct &given, std::size_t least, const char *name, const char *type) {
    if (given.size < least)
        argument_error(std::string(name) + ".size is " + std::to_string(given.size) +
                           ", expected " + std::to_string(sizeof given),
                       std::string("set size to sizeof(") + type + ")");
}

trocar_live_options options_from(const trocar_live_options *given) {
    trocar_live_options options{};
    if (given != nullptr) {
        check_size(*given, offsetof(trocar_live_options, spin), "options", "trocar_live_options");
        std::memcpy(&options, given, std::min<std::size_t>(given->size, sizeof options));
    }
    if (options.ring == 0) options.ring = 8;
    if (options.max_instruments == 0) options.max_instruments = 64;
    if (options.max_age_ms == 0) options.max_age_ms = 200;
    if (std::min(options.width, options.height) < 0 ||
        std::max(options.width, options.height) > max_frame_side ||
        (options.width == 0) != (options.height == 0))
        argument_error("options.width and height are " + std::to_string(options.width) + " and " +
                           std::to_string(options.height) + ", expected 1..32768, or both 0",
                       "state both, or neither");
    if (options.ring < 3 || options.ring > 256)
        argument_error("options.ring is " + std::to_string(options.ring) + ", expected 3..256",
                       "pass 0 for 8 results");
    if (options.max_instruments > most_instruments)
        argument_error("options.max_instruments is " + std::to_string(options.max_instruments) +
                           ", expected 1.." + std::to_string(most_instruments),
                       "pass 0 for 64");
    if ((options.outputs & ~all_outputs) != 0)
        argument_error("options.outputs is " + std::to_string(options.outputs) +
                           ", expected a sum of trocar_live_output",
                       "use the names of trocar_live_output");
    if (!std::isfinite(options.max_age_ms) || options.max_age_ms < 0)
        argument_error("options.max_age_ms is " + std::to_string(options.max_age_ms) +
                           ", expected a number of milliseconds above 0",
                       "pass 0 for 200 ms");
    return options;
}

}  // namespace

std::int64_t trocar_live_now(void) { return trocar::detail::live_now(); }

trocar_status trocar_live_open(trocar_session *session, const trocar_live_options *options,
                               trocar_live **live, trocar_error *error) {
    return guarded(error, [&] {
        require(live, "live");
        *live = nullptr;
        trocar::detail::refuse_from_log();
        require(session, "session");
        *live = new trocar_live{
            {session->session, session->body.get(), session->privacy, options_from(options)}};
    });
}

void trocar_live_close(trocar_live *live) {
    // From inside a log it would wait for its own thread.
    if (!trocar::detail::is_logging()) delete live;
}

trocar_status trocar_live_submit(trocar_live *live, const trocar_frame *frame,
                                 std::int64_t captured_ns, std::uint64_t *number,
                                 trocar_error *error) {
    return guarded(error, [&] {
        require(live, "live");
        const std::uint64_t given = live->loop.submit(frame, captured_ns);
        if (number != nullptr) *number = given;
    });
}

trocar_status trocar_live_read(const trocar_live *live, std::uint64_t after, std::int32_t order,
                               trocar_live_result *about, trocar_result *result,
                               trocar_error *error) {
    return guarded(error, [&] {
        require(live, "live");
        require(about, "about");
        check_size(*about, offsetof(trocar_live_result, frame), "about", "trocar_live_result");
        if (order != TROCAR_LIVE_NEWEST && order != TROCAR_LIVE_NEXT)
            argument_error("order is " + std::to_string(order) + ", expected 0 or 1",
                           "use a trocar_live_order");
        live->loop.read(after, order, about, result);
    });
}

std::uint64_t trocar_live_wait(const trocar_live *live, std::uint64_t after, double timeout_ms) {
    return live == nullptr ? 0 : live->loop.wait(after, timeout_ms >= 0 ? timeout_ms : 0);
}

trocar_status trocar_live_get_status(const trocar_live *live, trocar_live_status *status,
                                     trocar_error *error) {
    return guarded(error, [&] {
        require(live, "live");
        require(status, "status");
        check_size(*status, offsetof(trocar_live_status, processed), "status",
                   "trocar_live_status");
        trocar_live_status filled{};
        filled.size = status->size;
        live->loop.describe(filled);
        std::memcpy(status, &filled, std::min<std::size_t>(status->size, sizeof filled));
        // A shorter struct of an older caller still ends with a 0.
        if (status->size > offsetof(trocar_live_status, message) && status->size < sizeof filled)
            reinterpret_cast<char *>(status)[status->size - 1] = '\0';
    });
}
