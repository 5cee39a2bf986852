// A thread that always infers the newest frame.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "body.hpp"
#include "newest_frame.hpp"
#include "result_ring.hpp"
#include "session.hpp"
#include "trocar/live.h"

namespace trocar::detail {

/// Nanoseconds that go on while the machine is suspended.
std::int64_t live_now();

class LiveLoop {
  public:
    /// Returns when the thread is warm. Throws what warming throws.
    LiveLoop(Session &session, Body *body, std::int32_t privacy,
             const trocar_live_options &options);
    LiveLoop(const LiveLoop &) = delete;
    LiveLoop &operator=(const LiveLoop &) = delete;
    ~LiveLoop();

    /// Returns the frame's number.
    std::uint64_t submit(const trocar_frame *frame, std::int64_t captured_ns);
    void read(std::uint64_t after, std::int32_t order, trocar_live_result *about,
              trocar_result *result) const;
    std::uint64_t wait(std::uint64_t after, double timeout_ms) const;
    void describe(trocar_live_status &status) const;

  private:
    void work();
    void warm_up();
    /// The next frame; nullptr at the end.
    const HeldFrame *next();
    void run(const HeldFrame &held);
    void stop();

    Session &session_;
    Body *const body_;  // nullptr without an out-of-body model
    const std::int32_t privacy_;
    const trocar_live_options options_;
    NewestFrame frames_;
    ResultRing ring_;
    RingEntry spare_;  // for results that find no place

    std::mutex submitting_;
    std::uint64_t submitted_ = 0;  // under submitting_
    std::atomic<std::uint64_t> given_{0}, dropped_{0}, processed_{0}, failed_{0}, unkept_{0};
    std::atomic<std::int64_t> first_submitted_ns_{0}, last_submitted_ns_{0}, started_ns_{0};
    std::atomic<std::int64_t> result_captured_ns_{0};
    std::atomic<std::int32_t> failed_in_row_{0};

    mutable std::mutex failing_;  // taken by runs that fail, and by those who ask for the state
    std::int32_t error_code_ = 0;
    char message_[sizeof trocar_live_status::message] = {};
    char remedy_[sizeof trocar_live_status::remedy] = {};

    std::mutex waking_;
    std::condition_variable awake_;
    std::atomic<bool> stopping_{false};
    mutable std::mutex finishing_;
    mutable std::condition_variable finished_;
    std::thread thread_;
};

}  // namespace trocar::detail
