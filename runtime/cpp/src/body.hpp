// Judges whether a frame was taken inside the body, as runtime/privacy/body.py: doubt and failures
// count as outside.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "resize.hpp"
#include "session.hpp"

namespace trocar::detail {

class Body {
  public:
    /// Opens a classifier with a class `inside` and another one, on one CPU thread. Throws Error:
    /// what `Session` throws, and BUNDLE for another model.
    Body(const std::string &path, double certainty, const OpenOptions &options);

    /// What a frame counts as. The frame was checked.
    trocar_body judge(const trocar_frame &frame);

  private:
    trocar_body judged(const trocar_frame &frame);

    std::mutex mutex_;
    double certainty_;
    Session session_;
    std::size_t inside_ = 0;
    ResizeMemory memory_;
    std::vector<std::uint8_t> rgb_, small_;
    std::vector<float> scores_;
};

/// Runs frames after each was judged. With `privacy`, results of frames that do not count as inside
/// show nothing. Throws what `Session::run` throws.
void run_judged(Session &session, Body *body, std::int32_t privacy, const trocar_frame *frames,
                std::uint32_t count, trocar_result *results);

}  // namespace trocar::detail
