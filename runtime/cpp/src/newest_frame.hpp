// The newest of the frames that were handed in, between two threads that never wait for each other.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "frame.hpp"

namespace trocar::detail {

/// A copy of a frame, tightly packed, and when it came.
struct HeldFrame {
    trocar_frame frame{};
    std::vector<std::uint8_t> bytes;
    std::uint64_t number = 0;
    std::int64_t captured_ns = 0;
    std::int64_t submitted_ns = 0;
};

/// Three places: one is filled, one is worked on, and one waits or is free.
class NewestFrame {
  public:
    /// Takes the memory for such frames; before the threads start.
    void reserve(const trocar_frame &frame) {
        for (HeldFrame &one : places_) one.frame = packed_copy(frame, one.bytes);
    }
    /// All places, before the threads start.
    std::array<HeldFrame, 3> &places() { return places_; }

    /// Copies a checked frame; true if it replaced one that nobody had taken.
    bool put(const trocar_frame &frame, std::uint64_t number, std::int64_t captured_ns,
             std::int64_t submitted_ns) {
        HeldFrame &held = places_[back_];
        held.frame = packed_copy(frame, held.bytes);
        held.number = number;
        held.captured_ns = captured_ns;
        held.submitted_ns = submitted_ns;
        const unsigned before = middle_.exchange(back_ | fresh, std::memory_order_acq_rel);
        back_ = before & place;
        return (before & fresh) != 0;
    }
    bool has() const { return (middle_.load(std::memory_order_acquire) & fresh) != 0; }
    /// The newest frame, valid until the next call; nullptr if none came since.
    const HeldFrame *take() {
        if (!has()) return nullptr;
        front_ = middle_.exchange(front_, std::memory_order_acq_rel) & place;
        return &places_[front_];
    }

  private:
    static constexpr unsigned place = 3;
    static constexpr unsigned fresh = 4;
    std::array<HeldFrame, 3> places_;
    unsigned back_ = 0;   // of the thread that puts
    unsigned front_ = 1;  // of the thread that takes
    std::atomic<unsigned> middle_{2};
};

}  // namespace trocar::detail
