// The golden frame: a bundle's own proof that this machine computes what the exporter did.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "npz.hpp"
#include "outputs.hpp"

namespace trocar::detail {

class Golden {
  public:
    /// Reads `golden.npz`, which must outlive this. Throws Error with TROCAR_ERROR_BUNDLE for
    /// arrays that are not of the kinds that the exporter writes.
    Golden(const std::string &file, bool segmentation);

    const std::uint8_t *rgb() const;
    int height() const;
    int width() const;
    /// Compares what is no near-tie: nothing within `near` of one. Throws Error with
    /// TROCAR_ERROR_PARITY where it differs; `who` says what was compared.
    void compare(const Outputs &outputs, double near, const std::string &who) const;

  private:
    bool segmentation_;
    std::map<std::string, Array> arrays_;
};

}  // namespace trocar::detail
