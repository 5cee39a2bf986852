#include "result_ring.hpp"

#include <string>

#include "error.hpp"
#include "results.hpp"

namespace trocar::detail {

namespace {

template <class Value>
Value *start(std::vector<Value> &held) {
    return held.empty() ? nullptr : held.data();
}

template <class Value>
Tensor tensor_of(const char *name, Type type, std::vector<std::int64_t> shape,
                 std::vector<Value> &held) {
    Tensor tensor;
    tensor.name = name;
    tensor.type = type;
    tensor.shape = std::move(shape);
    tensor.data = start(held);
    return tensor;
}

void require_kept(const void *wanted, bool is_kept, const char *output, const char *bit) {
    if (wanted != nullptr && !is_kept)
        argument_error(
            std::string("the result asks for the ") + output + ", which the ring does not keep",
            std::string("add ") + bit + " to trocar_live_options.outputs");
}

}  // namespace

void RingEntry::prepare(const trocar_info &info, int outputs, std::uint32_t max_instruments) {
    const std::int64_t height = info.network_height;
    const std::int64_t width = info.network_width;
    is_segmentation = info.task != TROCAR_CLASSIFICATION;
    if (is_segmentation) {
        const auto pixels = static_cast<std::size_t>(height * width);
        capacity = max_instruments;
        instruments.resize(capacity);
        if ((outputs & TROCAR_LIVE_LABELS) != 0) labels.resize(pixels);
        if ((outputs & TROCAR_LIVE_INSTRUMENT_MAP) != 0) instrument_map.resize(pixels);
        if ((outputs & TROCAR_LIVE_CONFIDENCE) != 0 && info.task == TROCAR_SEGMENTATION)
            confidence.resize(pixels);
    } else {
        scores.resize(static_cast<std::size_t>(info.score_count));
        embedding.resize(static_cast<std::size_t>(info.embedding_count));
    }
    const auto count = [](const auto &held) { return static_cast<std::int64_t>(held.size()); };
    label_tensor = tensor_of("labels", Type::byte, {1, height, width}, labels);
    confidence_tensor = tensor_of("confidence", Type::single, {1, height, width}, confidence);
    score_tensor = tensor_of("scores", Type::single, {1, count(scores)}, scores);
    embedding_tensor = tensor_of("embedding", Type::single, {1, count(embedding)}, embedding);
}

trocar_result &RingEntry::cleared() {
    instruments.resize(capacity);
    result = {};
    result.size = sizeof result;
    result.labels = start(labels);
    result.label_bytes = labels.size();
    result.confidence = start(confidence);
    result.confidence_capacity = confidence.size();
    result.instruments = start(instruments);
    result.instrument_capacity = capacity;
    result.instrument_size = sizeof(trocar_instrument);
    result.scores = start(scores);
    result.score_capacity = scores.size();
    result.embedding = start(embedding);
    result.embedding_capacity = embedding.size();
    result.instrument_map = start(instrument_map);
    result.instrument_map_bytes = instrument_map.size();
    return result;
}

void RingEntry::finish() { instruments.resize(result.instrument_count); }

void RingEntry::give(trocar_result *given) const {
    check_result(given);
    trocar_result out = result_from(given);
    out.convert_ms = result.convert_ms;
    out.infer_ms = result.infer_ms;
    out.locate_ms = result.locate_ms;
    out.instance_count = result.instance_count;
    require_kept(out.labels, !labels.empty(), "labels", "TROCAR_LIVE_LABELS");
    require_kept(out.confidence, !confidence.empty(), "confidence", "TROCAR_LIVE_CONFIDENCE");
    require_kept(out.instrument_map, !instrument_map.empty(), "instrument map",
                 "TROCAR_LIVE_INSTRUMENT_MAP");
    if (is_segmentation) {
        trocar_frame frame{};
        frame.width = about.width;
        frame.height = about.height;
        give_labels(label_tensor, 0, frame, out);
        copy_floats(confidence_tensor, 0, out.confidence, out.confidence_capacity,
                    "confidence_capacity");
        if (out.instrument_map != nullptr)
            give_instrument_map(instrument_map.data(), result.label_width, result.label_height,
                                frame, out);
        give_instruments(instruments, out);
        out.instrument_total = result.instrument_total;
    } else {
        copy_floats(score_tensor, 0, out.scores, out.score_capacity, "score_capacity");
        copy_floats(embedding_tensor, 0, embedding.empty() ? nullptr : out.embedding,
                    out.embedding_capacity, "embedding_capacity");
    }
    give_back(out, given);
    give_body(given, static_cast<trocar_body>(body_of(&result)));
}

ResultRing::ResultRing(const trocar_info &info, const trocar_live_options &options)
    : entries_(new RingEntry[options.ring]), size_(options.ring) {
    for (std::size_t i = 0; i < size_; ++i)
        entries_[i].prepare(info, options.outputs, options.max_instruments);
}

// The writer empties a place and then looks for readers; a reader announces itself and then looks
// whether the place is still the same. In one order of all of these, at least one of both sees the
// other, so no place is written while it is read.
RingEntry *ResultRing::begin() {
    for (std::size_t i = 0; i < size_; ++i, next_ = (next_ + 1) % size_) {
        RingEntry &entry = entries_[next_];
        // The newest one stays, even if readers hold all others.
        if (newest_ != 0 && entry.number == newest_) continue;
        const std::uint64_t number = entry.number.exchange(0);
        if (entry.readers.load() == 0) return &entry;
        entry.number.store(number);
    }
    return nullptr;
}

void ResultRing::publish(RingEntry &entry, std::uint64_t number) {
    entry.number.store(number);
    newest_.store(number);
    next_ = (next_ + 1) % size_;
}

ResultRing::Held ResultRing::hold(std::uint64_t after, bool newest) const {
    for (;;) {
        RingEntry *best = nullptr;
        std::uint64_t best_number = 0;
        for (std::size_t i = 0; i < size_; ++i) {
            const std::uint64_t number = entries_[i].number.load();
            if (number <= after) continue;
            if (best == nullptr || (newest ? number > best_number : number < best_number)) {
                best = &entries_[i];
                best_number = number;
            }
        }
        if (best == nullptr) return Held(nullptr);
        Held held(best);
        best->readers.fetch_add(1);
        if (best->number.load() == best_number) return held;
    }
}

}  // namespace trocar::detail
