#include "live.hpp"

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <future>
#include <string>

#include "api.hpp"
#include "results.hpp"

namespace trocar::detail {

namespace {

constexpr int warm_rounds =
    2;  // of each of the three places; CUDA records a graph in the second run

double milliseconds_since(std::int64_t then, std::int64_t now) {
    return static_cast<double>(now - then) / 1e6;
}

/// Tells the processor that this is a loop that waits.
void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#else
    std::this_thread::yield();
#endif
}

trocar_info info_of(const Session &session) {
    trocar_info info{};
    session.describe(info);
    return info;
}

/// A black frame of the options' size; `bytes` holds it.
trocar_frame black_frame(const trocar_live_options &options, std::vector<std::uint8_t> &bytes) {
    const auto pixels =
        static_cast<std::size_t>(options.width) * static_cast<std::size_t>(options.height);
    bytes.assign(4 * pixels, 0);
    trocar_frame frame{};
    frame.size = sizeof frame;
    frame.format = options.format;
    frame.width = options.width;
    frame.height = options.height;
    frame.data = bytes.data();
    return frame;
}

}  // namespace

std::int64_t live_now() {
    timespec now{};
#ifdef CLOCK_BOOTTIME
    ::clock_gettime(CLOCK_BOOTTIME, &now);
#else
    ::clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return std::int64_t{1000000000} * now.tv_sec + now.tv_nsec;
}

LiveLoop::LiveLoop(Session &session, Body *body, std::int32_t privacy,
                   const trocar_live_options &options)
    : session_(session),
      body_(body),
      privacy_(privacy),
      options_(options),
      ring_(info_of(session), options) {
    spare_.prepare(info_of(session), options.outputs, options.max_instruments);
    if (options.width > 0) {
        std::vector<std::uint8_t> bytes;
        const trocar_frame black = black_frame(options, bytes);
        check_frame(black);
        frames_.reserve(black);
    }
    std::promise<void> warmed;
    std::future<void> warm = warmed.get_future();
    thread_ = std::thread([this, &warmed] {
        try {
            warm_up();
        } catch (...) {
            warmed.set_exception(std::current_exception());
            return;
        }
        warmed.set_value();
        work();
    });
    try {
        warm.get();
    } catch (...) {
        stop();
        throw;
    }
}

LiveLoop::~LiveLoop() { stop(); }

void LiveLoop::stop() {
    stopping_ = true;
    {
        const std::lock_guard<std::mutex> lock(waking_);
    }
    awake_.notify_all();
    if (thread_.joinable()) thread_.join();
}

/// Runs a frame from each place, as they will come: ONNX Runtime wraps each address.
void LiveLoop::warm_up() {
    ::pthread_setname_np(::pthread_self(), "trocar-live");
    if (options_.width == 0) return;
    for (int round = 0; round < warm_rounds; ++round)
        for (HeldFrame &one : frames_.places())
            run_judged(session_, body_, privacy_, &one.frame, 1, &spare_.cleared());
}

const HeldFrame *LiveLoop::next() {
    if (options_.spin != 0) {
        while (!frames_.has() && !stopping_) pause();
    } else {
        std::unique_lock<std::mutex> lock(waking_);
        awake_.wait(lock, [this] { return frames_.has() || stopping_; });
    }
    return stopping_ ? nullptr : frames_.take();
}

void LiveLoop::work() {
    while (const HeldFrame *held = next()) {
        const auto tell = [this](trocar_status code, const char *message, const char *remedy) {
            const std::lock_guard<std::mutex> lock(failing_);
            error_code_ = code;
            put_text(message_, message);
            put_text(remedy_, remedy);
            return code;
        };
        if (caught([&] { run(*held); }, tell) != TROCAR_OK) {
            ++failed_in_row_;
            ++failed_;
        }
        started_ns_ = 0;
    }
}

void LiveLoop::run(const HeldFrame &held) {
    const std::int64_t started = live_now();
    started_ns_ = started;
    RingEntry *place = ring_.begin();
    RingEntry &entry = place != nullptr ? *place : spare_;
    run_judged(session_, body_, privacy_, &held.frame, 1, &entry.cleared());
    entry.finish();
    const std::uint64_t number = processed_ + 1;
    trocar_live_result about{};
    about.size = sizeof about;
    about.width = held.frame.width;
    about.height = held.frame.height;
    about.number = number;
    about.frame = held.number;
    about.captured_ns = held.captured_ns;
    about.submitted_ns = held.submitted_ns;
    about.started_ns = started;
    about.finished_ns = live_now();
    entry.about = about;
    failed_in_row_ = 0;
    result_captured_ns_ = held.captured_ns;
    processed_ = number;
    if (place == nullptr) {
        ++unkept_;
        return;
    }
    ring_.publish(entry, number);
    {
        const std::lock_guard<std::mutex> lock(finishing_);
    }
    finished_.notify_all();
}

std::uint64_t LiveLoop::submit(const trocar_frame *given, std::int64_t captured_ns) {
    const std::int64_t now = live_now();
    constexpr std::int64_t second = 1000000000;
    if (captured_ns < 0 || captured_ns > now + second)
        argument_error("captured_ns is " + std::to_string(captured_ns) +
                           ", expected a time that is not after " + std::to_string(now),
                       "take the time of trocar_live_now, or pass 0 for now");
    const trocar_frame frame = frame_from(given);
    check_frame(frame);
    std::uint64_t number = 0;
    {
        const std::lock_guard<std::mutex> lock(submitting_);
        number = submitted_ + 1;
        if (frames_.put(frame, number, captured_ns == 0 ? now : captured_ns, now)) ++dropped_;
        submitted_ = number;
        given_ = number;
        if (number == 1) first_submitted_ns_ = now;
        last_submitted_ns_ = now;
    }
    if (options_.spin == 0) {
        {
            const std::lock_guard<std::mutex> lock(waking_);
        }
        awake_.notify_one();
    }
    return number;
}

void LiveLoop::read(std::uint64_t after, std::int32_t order, trocar_live_result *given,
                    trocar_result *result) const {
    trocar_live_result about{};
    const ResultRing::Held held = ring_.hold(after, order == TROCAR_LIVE_NEWEST);
    if (held.get() != nullptr) {
        if (result != nullptr) held.get()->give(result);
        about = held.get()->about;
        about.age_ms = milliseconds_since(about.captured_ns, live_now());
    }
    about.size = given->size;
    std::memcpy(given, &about, std::min<std::size_t>(given->size, sizeof about));
}

std::uint64_t LiveLoop::wait(std::uint64_t after, double timeout_ms) const {
    // A day at most: beyond that the sum with a clock may overflow.
    const std::chrono::duration<double, std::milli> longest(std::clamp(timeout_ms, 0.0, 86400e3));
    std::unique_lock<std::mutex> lock(finishing_);
    finished_.wait_for(lock, longest, [&] { return ring_.newest() > after; });
    return ring_.newest();
}

void LiveLoop::describe(trocar_live_status &status) const {
    status.processed = processed_;
    status.dropped = dropped_;
    status.failed = failed_;
    status.unkept = unkept_;
    status.submitted = given_;
    status.failed_in_row = failed_in_row_;
    status.max_age_ms = options_.max_age_ms;
    const std::int64_t captured = result_captured_ns_;
    const std::int64_t first = first_submitted_ns_;
    const std::int64_t last = last_submitted_ns_;
    const std::int64_t started = started_ns_;
    {
        const std::lock_guard<std::mutex> lock(failing_);
        status.error_code = error_code_;
        std::memcpy(status.message, message_, sizeof message_);
        std::memcpy(status.remedy, remedy_, sizeof remedy_);
    }
    const std::int64_t now = live_now();
    status.result_age_ms = status.processed == 0 ? -1 : milliseconds_since(captured, now);
    status.frame_age_ms = last == 0 ? -1 : milliseconds_since(last, now);
    status.run_ms = started == 0 ? 0 : milliseconds_since(started, now);
    // Without a result the first frame's wait counts.
    const double age = status.processed != 0 ? status.result_age_ms
                       : first == 0          ? 0
                                             : milliseconds_since(first, now);
    status.state = status.failed_in_row > 0    ? TROCAR_LIVE_FAULT
                   : age > options_.max_age_ms ? TROCAR_LIVE_STALE
                   : status.processed == 0     ? TROCAR_LIVE_WAITING
                                               : TROCAR_LIVE_RUNNING;
}

}  // namespace trocar::detail
