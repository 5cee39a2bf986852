/**
 * @file trocar.hpp
 * @brief Trocar for C++17: the C interface with ownership, views and exceptions. Header only.
 *
 * @code
 *     trocar::Session session("model.trocar");
 *     for (const trocar_instrument &instrument : session.run({rgb, width, height}).instruments())
 *         draw(session.class_row(instrument.class_id).name, instrument.box);
 * @endcode
 *
 * A `Session` can be moved but not copied. `run(frame)` returns a reference to a result inside the
 * session, which is valid until the next `run`, so only one thread may call it. Threads that share
 * a session call `run(frame, result)`, each with its own `Result`.
 */
#ifndef TROCAR_HPP
#define TROCAR_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "trocar.h"

namespace trocar {

/// A failed call: `what()` states what happened, `remedy()` what to do next.
class Error : public std::runtime_error {
  public:
    /// @param error What the call filled in.
    explicit Error(const trocar_error &error)
        : std::runtime_error(error.message),
          code_(static_cast<trocar_status>(error.code)),
          remedy_(error.remedy) {}
    /// The status that the call returned.
    trocar_status code() const noexcept { return code_; }
    /// What to do next; may be empty.
    const std::string &remedy() const noexcept { return remedy_; }

  private:
    trocar_status code_;
    std::string remedy_;
};

/// A view of contiguous elements that another object owns.
template <class Element>
class View {
  public:
    constexpr View() = default;
    /// @param data  The first element.
    /// @param size  Number of elements.
    constexpr View(const Element *data, std::size_t size) : data_(data), size_(size) {}
    /// The first element.
    constexpr const Element *begin() const { return data_; }
    /// One past the last element.
    constexpr const Element *end() const { return data_ + size_; }
    /// The first element.
    constexpr const Element *data() const { return data_; }
    /// Number of elements.
    constexpr std::size_t size() const { return size_; }
    /// Whether it has no element.
    constexpr bool empty() const { return size_ == 0; }
    /// One element; `index` is not checked.
    constexpr const Element &operator[](std::size_t index) const { return data_[index]; }

  private:
    const Element *data_ = nullptr;
    std::size_t size_ = 0;
};

namespace detail {
/// A struct of the C interface with `size` set and all other members zero.
template <class Struct>
Struct sized() {
    Struct value{};
    value.size = sizeof value;
    return value;
}

inline void check(trocar_status status, const trocar_error &error) {
    if (status != TROCAR_OK) throw ::trocar::Error(error);
}
}  // namespace detail

/// How to open a session; see `trocar_options`.
struct Options {
    std::string backend;          ///< Empty: `onnxruntime`.
    std::string device;           ///< Empty: `cpu`.
    std::string provider;         ///< Empty: the device's own.
    std::string precision;        ///< Empty: the bundle's.
    std::string library;          ///< Empty: searched.
    int threads = 0;              ///< 0: one per usable core.
    bool spinning = true;         ///< Whether idle CPU threads spin.
    double min_area = 0;          ///< 0: the bundle's; below 0: no limit.
    int min_pixels = 0;           ///< 0: the bundle's.
    trocar_log log = nullptr;     ///< Receives the log of the backend's library.
    void *log_context = nullptr;  ///< Passed to `log`.
    double min_score = 0;         ///< 0: the bundle's; below 0: no limit.
    int max_instruments = 0;      ///< Of a frame; 0: the bundle's; below 0: no limit.
    std::string classes;          ///< Names with commas between; empty: the bundle's.
    std::string location;         ///< A JSON object of options of location; empty: the bundle's.
    std::string trust;            ///< PEM file of the signer's public key; empty: not verified.
    int frame_width = 0;          ///< Of the frames that will come; 0: not known.
    int frame_height = 0;         ///< See `frame_width`.
    bool nv12 = true;             ///< Whether a bundle's graph for NV12 frames is opened.
    std::string out_of_body;      ///< Bundle of an out-of-body model; empty: none.
    double body_certainty = 0;    ///< 0: 0.9; below 0: any.
    trocar_privacy privacy = TROCAR_PRIVACY_OFF;  ///< What happens to frames from outside.
};

/// A frame in memory of the caller.
struct Frame : trocar_frame {
    /// @param pixels  Top-left pixel.
    /// @param w       Width in pixels.
    /// @param h       Height in pixels.
    /// @param order   Order of the bytes.
    /// @param row     Bytes from one row to the next; 0: tightly packed.
    Frame(const std::uint8_t *pixels, int w, int h, trocar_format order = TROCAR_RGB,
          std::ptrdiff_t row = 0)
        : trocar_frame(detail::sized<trocar_frame>()) {
        format = order;
        width = w;
        height = h;
        data = pixels;
        stride = row;
    }
};

/// Result of one frame; its memory is reused from run to run.
class Result {
  public:
    /// The instruments, in order.
    View<trocar_instrument> instruments() const {
        return {instruments_.data(), raw_.instrument_count};
    }
    /// Class ids, row by row, `width()` times `height()`; empty for classifiers.
    View<std::uint8_t> labels() const {
        return {labels_.data(),
                static_cast<std::size_t>(width()) * static_cast<std::size_t>(height())};
    }
    /// Largest softmax, at network size; empty for classifiers.
    View<float> confidence() const { return {confidence_.data(), confidence_.size()}; }
    /// Which instrument each pixel belongs to: 1 + its place in `instruments()`, 0 for none; of
    /// the size of `labels()`.
    View<std::uint8_t> instrument_map() const {
        return {instrument_map_.data(), instrument_map_.size()};
    }
    /// The mask of one instrument, `width()` times `height()`: 255 inside. Throws `Error`.
    std::vector<std::uint8_t> mask(std::size_t index) const {
        std::vector<std::uint8_t> pixels(instrument_map_.size());
        auto error = detail::sized<trocar_error>();
        detail::check(trocar_instrument_mask(&raw_, static_cast<std::uint32_t>(index),
                                             pixels.data(), pixels.size(), &error),
                      error);
        return pixels;
    }
    /// Instance models: instances that reached the smallest score, also those beyond the maximum.
    int instance_count() const { return raw_.instance_count; }
    /// A classifier's class scores.
    View<float> scores() const { return {scores_.data(), scores_.size()}; }
    /// A classifier's embedding.
    View<float> embedding() const { return {embedding_.data(), embedding_.size()}; }
    /// Pixels per row of `labels()`.
    int width() const { return raw_.label_width; }
    /// Rows of `labels()`.
    int height() const { return raw_.label_height; }
    /// Whether more instruments were located than `instruments()` contains.
    bool truncated() const { return raw_.instrument_total > raw_.instrument_count; }
    /// What the frame counts as by the out-of-body model.
    trocar_body body() const { return static_cast<trocar_body>(raw_.body); }
    /// The struct of the C interface, with times and counts.
    const trocar_result &raw() const { return raw_; }

  private:
    friend class Session;

    void prepare(const trocar_info &info, const trocar_frame &frame, trocar_label_size size,
                 std::size_t max_instruments) {
        const auto product = [](int a, int b) {
            return a > 0 && b > 0 ? static_cast<std::size_t>(a) * static_cast<std::size_t>(b) : 0;
        };
        const std::size_t network = product(info.network_width, info.network_height);
        raw_ = detail::sized<trocar_result>();
        raw_.label_size = size;
        if (info.task != TROCAR_CLASSIFICATION) {
            labels_.resize(size == TROCAR_LABELS_FRAME ? product(frame.width, frame.height)
                                                       : network);
            instrument_map_.resize(labels_.size());
            confidence_.resize(info.task == TROCAR_SEGMENTATION ? network : 0);
            instruments_.resize(max_instruments);
        } else {
            scores_.resize(static_cast<std::size_t>(info.score_count));
            embedding_.resize(static_cast<std::size_t>(info.embedding_count));
        }
        raw_.labels = labels_.empty() ? nullptr : labels_.data();
        raw_.label_bytes = labels_.size();
        raw_.instrument_map = instrument_map_.empty() ? nullptr : instrument_map_.data();
        raw_.instrument_map_bytes = instrument_map_.size();
        raw_.confidence = confidence_.empty() ? nullptr : confidence_.data();
        raw_.confidence_capacity = confidence_.size();
        raw_.instruments = instruments_.empty() ? nullptr : instruments_.data();
        raw_.instrument_capacity = static_cast<std::uint32_t>(instruments_.size());
        raw_.instrument_size = sizeof(trocar_instrument);
        raw_.scores = scores_.empty() ? nullptr : scores_.data();
        raw_.score_capacity = scores_.size();
        raw_.embedding = embedding_.empty() ? nullptr : embedding_.data();
        raw_.embedding_capacity = embedding_.size();
    }

    trocar_result raw_ = detail::sized<trocar_result>();
    std::vector<std::uint8_t> labels_, instrument_map_;
    std::vector<float> confidence_, scores_, embedding_;
    std::vector<trocar_instrument> instruments_;
};

/// One row of the class table; its texts are valid as long as the session.
struct ClassRow {
    int id;                  ///< Label value.
    std::string_view name;   ///< Unique.
    std::string_view type;   ///< Instrument type; may be empty.
    std::string_view part;   ///< Instrument part; may be empty.
    std::uint8_t colour[3];  ///< Red, green, blue.
    bool instrument;         ///< Whether its regions are located.
};

/// An opened, verified and warm bundle.
class Session {
  public:
    /// Opens a bundle. Throws `Error`.
    explicit Session(const std::string &path, const Options &options = {}) {
        auto raw = detail::sized<trocar_options>();
        const auto text = [](const std::string &held) {
            return held.empty() ? nullptr : held.c_str();
        };
        raw.backend = text(options.backend);
        raw.device = text(options.device);
        raw.provider = text(options.provider);
        raw.precision = text(options.precision);
        raw.library = text(options.library);
        raw.threads = options.threads;
        raw.no_spinning = options.spinning ? 0 : 1;
        raw.min_area = options.min_area;
        raw.min_pixels = options.min_pixels;
        raw.log = options.log;
        raw.log_context = options.log_context;
        raw.min_score = options.min_score;
        raw.max_instruments = options.max_instruments;
        raw.classes = text(options.classes);
        raw.location = text(options.location);
        raw.trust = text(options.trust);
        raw.frame_width = options.frame_width;
        raw.frame_height = options.frame_height;
        raw.no_nv12 = options.nv12 ? 0 : 1;
        raw.out_of_body = text(options.out_of_body);
        raw.body_certainty = options.body_certainty;
        raw.privacy = options.privacy;
        auto error = detail::sized<trocar_error>();
        trocar_session *opened = nullptr;
        detail::check(trocar_session_open(path.c_str(), &raw, &opened, &error), error);
        session_.reset(opened);
        detail::check(trocar_session_info(opened, &info_, &error), error);
    }

    /// Properties of the session.
    const trocar_info &info() const { return info_; }
    /// The session of the C interface; still owned by this object.
    trocar_session *get() const { return session_.get(); }
    /// Sets the size of the label maps of all later runs.
    void set_label_size(trocar_label_size size) { label_size_ = size; }
    /// Sets the largest number of instruments in a result of all later runs; default: 256.
    void set_max_instruments(std::size_t count) { max_instruments_ = count; }

    /// Runs one frame; the result is valid until the next run. Throws `Error`.
    const Result &run(const Frame &frame) {
        run(frame, result_);
        return result_;
    }

    /// Runs one frame into the caller's result. Throws `Error`.
    void run(const Frame &frame, Result &result) const {
        result.prepare(info_, frame, label_size_, max_instruments_);
        auto error = detail::sized<trocar_error>();
        detail::check(trocar_session_run(session_.get(), &frame, 1, &result.raw_, &error), error);
    }

    /// Covers a frame that does not count as inside the body, in place. Throws `Error`: then do
    /// not show it.
    void cover(const Frame &frame, const Result &result) const {
        auto error = detail::sized<trocar_error>();
        detail::check(trocar_session_cover(session_.get(), &frame, &result.raw_, &error), error);
    }

    /// One row of the class table. Throws `Error`.
    ClassRow class_row(int id) const {
        auto row = detail::sized<trocar_class>();
        auto error = detail::sized<trocar_error>();
        detail::check(trocar_session_class(session_.get(), id, &row, &error), error);
        return {row.id,
                row.name,
                row.type,
                row.part,
                {row.colour[0], row.colour[1], row.colour[2]},
                row.instrument != 0};
    }

    /// Name of an instrument: its type if rows were joined, else its class.
    std::string_view name_of(const trocar_instrument &instrument) const {
        const ClassRow row = class_row(instrument.class_id);
        return instrument.joined != 0 ? row.type : row.name;
    }

  private:
    struct Close {
        void operator()(trocar_session *session) const { trocar_session_close(session); }
    };
    std::unique_ptr<trocar_session, Close> session_;
    trocar_info info_ = detail::sized<trocar_info>();
    trocar_label_size label_size_ = TROCAR_LABELS_NETWORK;
    std::size_t max_instruments_ = 256;
    Result result_;
};

}  // namespace trocar

#endif
