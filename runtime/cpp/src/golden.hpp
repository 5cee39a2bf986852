// The golden frame: verifies that this machine computes what the exporter computed.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "npz.hpp"
#include "outputs.hpp"
#include "trocar/trocar.h"

namespace trocar::detail {

/// Smallest share of the golden frame's pixels that must lie above the margin.
inline constexpr double min_compared = 0.05;

class Golden {
  public:
    /// Reads `golden.npz`, which must outlive this. Throws Error with TROCAR_ERROR_BUNDLE for
    /// arrays that are missing or have a wrong type or shape.
    Golden(const std::string &file, bool segmentation, bool instances = false);

    const std::uint8_t *rgb() const;
    int height() const;
    /// The planes of the golden frame of the graph for NV12; valid while this lives. Throws Error
    /// with TROCAR_ERROR_BUNDLE where they are missing or malformed, and with TROCAR_ERROR_PARITY
    /// where they do not give the RGB frame beside them.
    trocar_frame nv12() const;
    int width() const;
    /// Throws Error with TROCAR_ERROR_BUNDLE where less than `min_compared` lies above
    /// `min_margin`, or a label is not of a table of `classes` rows.
    void check(double min_margin, std::size_t classes) const;
    /// Compares all that has a logit margin above `min_margin`. Throws Error with
    /// TROCAR_ERROR_PARITY for a difference; `backend` describes what was compared.
    void compare(const Outputs &outputs, double min_margin, const std::string &backend) const;

  private:
    void check_instances(double min_margin, std::size_t classes) const;
    /// What differs from the exporter's instances, in words; empty where nothing does.
    std::string instance_fault(const Outputs &outputs, double min_margin) const;
    /// Whether an instance is compared; `number` from 1.
    bool is_compared(std::size_t number, double min_margin) const;

    bool segmentation_;
    bool instances_;
    std::map<std::string, Array> arrays_;
};

}  // namespace trocar::detail
