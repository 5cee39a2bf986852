// The last results of a live loop: one thread writes, any number of threads reads, none waits.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "backend.hpp"
#include "trocar/live.h"

namespace trocar::detail {

/// One place of the ring.
struct RingEntry {
    /// Takes the buffers for the results of a model.
    void prepare(const trocar_info &info, int outputs, std::uint32_t max_instruments);
    /// The struct for a run, with the buffers' full capacity.
    trocar_result &cleared();
    /// Fits the list of instruments to what the run has found.
    void finish();
    /// Copies what the ring keeps into the caller's buffers. Throws Error with
    /// TROCAR_ERROR_ARGUMENT.
    void give(trocar_result *given) const;

    std::atomic<std::uint64_t> number{0};  // 0: nothing in it, or being written
    std::atomic<std::uint32_t> readers{0};
    trocar_live_result about{};
    trocar_result result{};
    std::vector<std::uint8_t> labels, instrument_map;
    std::vector<float> confidence, scores, embedding;
    std::vector<trocar_instrument> instruments;
    Tensor label_tensor, confidence_tensor, score_tensor, embedding_tensor;
    std::uint32_t capacity = 0;
    bool is_segmentation = true;
};

class ResultRing {
  public:
    ResultRing(const trocar_info &info, const trocar_live_options &options);

    /// A place to write to, which no reader holds; nullptr if they hold all but the newest.
    RingEntry *begin();
    /// Makes what was written readable, and moves on.
    void publish(RingEntry &entry, std::uint64_t number);

    /// Holds a result for reading while it lives.
    class Held {
      public:
        explicit Held(RingEntry *entry) : entry_(entry) {}
        Held(Held &&other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
        Held(const Held &) = delete;
        Held &operator=(const Held &) = delete;
        ~Held() {
            if (entry_ != nullptr) entry_->readers.fetch_sub(1);
        }
        const RingEntry *get() const { return entry_; }

      private:
        RingEntry *entry_;
    };
    /// The newest or the next result whose number is above `after`; of nullptr if there is none.
    Held hold(std::uint64_t after, bool newest) const;

    /// Number of the newest result; 0: none.
    std::uint64_t newest() const { return newest_.load(); }

  private:
    std::unique_ptr<RingEntry[]> entries_;
    std::size_t size_;
    std::size_t next_ = 0;  // of the thread that writes
    std::atomic<std::uint64_t> newest_{0};
};

}  // namespace trocar::detail
