// What tests of sessions share: options, frames, a session that closes itself, room for a result.
#pragma once

#include <string>
#include <vector>

#include "trocar/trocar.h"

namespace kit {

/// The file that sessions are opened with.
inline std::string library;

inline trocar_options options_for() {
    trocar_options options{};
    options.size = sizeof options;
    options.library = library.c_str();
    options.threads = 1;
    return options;
}

inline trocar_frame frame_of(const std::vector<std::uint8_t> &data, int height, int width,
                             int format = TROCAR_RGB) {
    trocar_frame frame{};
    frame.size = sizeof frame;
    frame.format = format;
    frame.width = width;
    frame.height = height;
    frame.data = data.data();
    return frame;
}

struct Opened {
    explicit Opened(const std::string &path) {
        error.size = sizeof error;
        const trocar_options options = options_for();
        status = trocar_session_open(path.c_str(), &options, &session, &error);
    }
    Opened(const Opened &) = delete;
    Opened &operator=(const Opened &) = delete;
    ~Opened() { trocar_session_close(session); }
    trocar_session *session = nullptr;
    trocar_error error{};
    trocar_status status;
};

struct Room {
    explicit Room(std::size_t pixels = 64 * 48)
        : labels(pixels), confidence(pixels), found(8), scores(16), embedding(16) {
        result.size = sizeof result;
        result.labels = labels.data();
        result.label_bytes = labels.size();
        result.confidence = confidence.data();
        result.confidence_capacity = confidence.size();
        result.instruments = found.data();
        result.instrument_capacity = static_cast<std::uint32_t>(found.size());
        result.instrument_size = sizeof found[0];
        result.scores = scores.data();
        result.score_capacity = scores.size();
        result.embedding = embedding.data();
        result.embedding_capacity = embedding.size();
    }
    std::vector<std::uint8_t> labels;
    std::vector<float> confidence;
    std::vector<trocar_instrument> found;
    std::vector<float> scores, embedding;
    trocar_result result{};
};

}  // namespace kit
