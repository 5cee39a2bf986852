/**
 * @file live.hpp
 * @brief The live loop for C++17, with ownership and exceptions. Header only.
 *
 * @code
 *     trocar::LiveOptions options;
 *     options.width = 1920;
 *     options.height = 1080;
 *     trocar::Live live(session, options);
 *     live.submit({rgb, 1920, 1080});                       // from the camera's thread
 *     trocar::LiveResult result;
 *     while (live.wait(result, 100))                        // from the display's thread
 *         draw(result.instruments(), result.about().age_ms);
 * @endcode
 */
#ifndef TROCAR_LIVE_HPP
#define TROCAR_LIVE_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "live.h"
#include "trocar.hpp"

namespace trocar {

/// How a live loop works; see `trocar_live_options`.
struct LiveOptions {
    int width = 0;                      ///< Of the frames that will come; 0: not known.
    int height = 0;                     ///< See `width`.
    trocar_format format = TROCAR_RGB;  ///< Of these frames.
    bool spin = false;                  ///< Whether the thread spins while it waits.
    int outputs = 0;                    ///< Sum of `trocar_live_output`.
    unsigned max_instruments = 64;      ///< Of a frame that are kept, 1 or more.
    unsigned ring = 8;                  ///< Results in the ring.
    double max_age_ms = 200;            ///< From which age on the newest result is stale.
};

/// A result of the ring; its memory is reused from read to read.
class LiveResult {
  public:
    /// Number, times and age; `number` is 0 before the first read.
    const trocar_live_result &about() const { return about_; }
    /// The instruments, in order.
    View<trocar_instrument> instruments() const {
        return {instruments_.data(), raw_.instrument_count};
    }
    /// Class ids at network size; empty if the ring keeps none.
    View<std::uint8_t> labels() const { return {labels_.data(), labels_.size()}; }
    /// Confidence at network size; empty if the ring keeps none.
    View<float> confidence() const { return {confidence_.data(), confidence_.size()}; }
    /// Which instrument each pixel belongs to; empty if the ring keeps none.
    View<std::uint8_t> instrument_map() const {
        return {instrument_map_.data(), instrument_map_.size()};
    }
    /// A classifier's class scores.
    View<float> scores() const { return {scores_.data(), scores_.size()}; }
    /// A classifier's embedding.
    View<float> embedding() const { return {embedding_.data(), embedding_.size()}; }
    /// The struct of the C interface, with times and counts.
    const trocar_result &raw() const { return raw_; }

  private:
    friend class Live;

    /// A struct that names the buffers, for the next read.
    trocar_result prepare(const trocar_info &info, const LiveOptions &options) {
        const auto pixels = static_cast<std::size_t>(info.network_width) *
                            static_cast<std::size_t>(info.network_height);
        const auto kept = [&](trocar_live_output output) {
            return (options.outputs & output) != 0 ? pixels : 0;
        };
        auto raw = detail::sized<trocar_result>();
        if (info.task == TROCAR_CLASSIFICATION) {
            scores_.resize(static_cast<std::size_t>(info.score_count));
            embedding_.resize(static_cast<std::size_t>(info.embedding_count));
        } else {
            labels_.resize(kept(TROCAR_LIVE_LABELS));
            confidence_.resize(info.task == TROCAR_SEGMENTATION ? kept(TROCAR_LIVE_CONFIDENCE) : 0);
            instrument_map_.resize(kept(TROCAR_LIVE_INSTRUMENT_MAP));
            instruments_.resize(options.max_instruments);
        }
        const auto start = [](auto &held) { return held.empty() ? nullptr : held.data(); };
        raw.labels = start(labels_);
        raw.label_bytes = labels_.size();
        raw.confidence = start(confidence_);
        raw.confidence_capacity = confidence_.size();
        raw.instrument_map = start(instrument_map_);
        raw.instrument_map_bytes = instrument_map_.size();
        raw.instruments = start(instruments_);
        raw.instrument_capacity = static_cast<std::uint32_t>(instruments_.size());
        raw.instrument_size = sizeof(trocar_instrument);
        raw.scores = start(scores_);
        raw.score_capacity = scores_.size();
        raw.embedding = start(embedding_);
        raw.embedding_capacity = embedding_.size();
        return raw;
    }

    trocar_live_result about_ = detail::sized<trocar_live_result>();
    trocar_result raw_ = detail::sized<trocar_result>();
    std::vector<std::uint8_t> labels_, instrument_map_;
    std::vector<float> confidence_, scores_, embedding_;
    std::vector<trocar_instrument> instruments_;
};

/// A thread that infers the newest frame; closed with the object, before its session.
class Live {
  public:
    /// Starts it, warm for the frames of the options. Throws `Error`.
    explicit Live(const Session &session, const LiveOptions &options = {})
        : info_(session.info()), options_(options) {
        auto raw = detail::sized<trocar_live_options>();
        raw.width = options.width;
        raw.height = options.height;
        raw.format = options.format;
        raw.spin = options.spin ? 1 : 0;
        raw.outputs = options.outputs;
        raw.max_instruments = options.max_instruments;
        raw.ring = options.ring;
        raw.max_age_ms = options.max_age_ms;
        auto error = detail::sized<trocar_error>();
        trocar_live *opened = nullptr;
        detail::check(trocar_live_open(session.get(), &raw, &opened, &error), error);
        live_.reset(opened);
    }

    /// The loop of the C interface; still owned by this object.
    trocar_live *get() const { return live_.get(); }

    /// Hands in a frame, which is copied; gives its number. Throws `Error`.
    std::uint64_t submit(const Frame &frame, std::int64_t captured_ns = 0) const {
        auto error = detail::sized<trocar_error>();
        std::uint64_t number = 0;
        detail::check(trocar_live_submit(live_.get(), &frame, captured_ns, &number, &error), error);
        return number;
    }

    /// Reads a result that is newer than the one in `result`; false without one. Throws `Error`.
    bool read(LiveResult &result, trocar_live_order order = TROCAR_LIVE_NEWEST) const {
        trocar_result raw = result.prepare(info_, options_);
        auto about = detail::sized<trocar_live_result>();
        auto error = detail::sized<trocar_error>();
        detail::check(
            trocar_live_read(live_.get(), result.about_.number, order, &about, &raw, &error),
            error);
        if (about.number == 0) return false;
        result.about_ = about;
        result.raw_ = raw;
        return true;
    }

    /// Waits for a result that is newer than the one in `result`, and reads it; false if the time
    /// is over. Throws `Error`.
    bool wait(LiveResult &result, double timeout_ms,
              trocar_live_order order = TROCAR_LIVE_NEWEST) const {
        trocar_live_wait(live_.get(), result.about_.number, timeout_ms);
        return read(result, order);
    }

    /// State and counts at this moment.
    trocar_live_status status() const {
        auto status = detail::sized<trocar_live_status>();
        auto error = detail::sized<trocar_error>();
        detail::check(trocar_live_get_status(live_.get(), &status, &error), error);
        return status;
    }

  private:
    struct Close {
        void operator()(trocar_live *live) const { trocar_live_close(live); }
    };
    trocar_info info_;
    LiveOptions options_;
    std::unique_ptr<trocar_live, Close> live_;
};

}  // namespace trocar

#endif
