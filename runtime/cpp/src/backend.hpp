// What a session needs of a backend. Each backend is one file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "trocar/trocar.h"

namespace trocar::detail {

enum class Type { byte, half, single, whole, other };

inline std::size_t bytes_of(Type type) {
    return type == Type::byte ? 1 : type == Type::half ? 2 : type == Type::other ? 0 : 4;
}

/// One output of the graph. Its data are valid until the next run.
struct Tensor {
    std::string name;
    Type type = Type::other;
    std::vector<std::int64_t> shape;  // batch first
    const void *data = nullptr;

    std::size_t per_frame() const {
        std::size_t product = 1;
        for (std::size_t i = 1; i < shape.size(); ++i)
            product *= static_cast<std::size_t>(shape[i]);
        return product;
    }
};

/// A float32 input other than the frames.
struct Input {
    std::string name;
    std::vector<std::int64_t> shape;
    std::vector<float> data;
};

/// Frames of NV12 of one size, tightly packed one behind the other.
struct Nv12Frames {
    const std::uint8_t *luma = nullptr;    // height * width bytes each
    const std::uint8_t *chroma = nullptr;  // ceil(height / 2) * ceil(width / 2) * 2 bytes each
    const float *colour = nullptr;         // 3 * 4 numbers each: RGB of (Y, U, V, 1)
};

class Backend {
  public:
    virtual ~Backend() = default;
    /// Runs `count` tightly packed RGB frames. Throws Error with TROCAR_ERROR_BACKEND.
    virtual const std::vector<Tensor> &run(const std::uint8_t *rgb, int count, int height,
                                           int width) = 0;
    /// Runs `count` frames of NV12; only a backend that was opened for NV12 does. Throws Error with
    /// TROCAR_ERROR_BACKEND.
    virtual const std::vector<Tensor> &run_nv12(const Nv12Frames &frames, int count, int height,
                                                int width);
    /// Overrides inputs that have defaults, for all later calls. Throws Error with
    /// TROCAR_ERROR_BACKEND.
    virtual void set_inputs(const std::vector<Input> &inputs) = 0;
    /// The manifest in the model's metadata; empty without one.
    virtual std::string metadata() const = 0;
    /// Name and version of the library.
    virtual std::string library() const = 0;
};

struct Device {
    bool cuda = false;
    int index = 0;
    std::string text() const { return cuda ? "cuda:" + std::to_string(index) : "cpu"; }
};

/// `cpu`, `cuda` or `cuda:N`; throws Error with TROCAR_ERROR_ARGUMENT.
Device device_from_text(const std::string &text);

/// Throws Error with TROCAR_ERROR_BACKEND if the driver has no such GPU.
void require_cuda(const Device &device);

/// How a session is opened, with the defaults filled in.
struct OpenOptions {
    std::string backend = "onnxruntime";
    Device device;
    std::string provider = "cuda";
    std::string precision;
    std::string library;
    std::string trust;  // PEM file of the key that must have signed the bundle; empty: any bundle
    bool nv12 = true;   // whether a bundle's graph for NV12 is opened
    int threads = 0;
    bool spinning = true;
    int frame_width = 0;  // of the frames that will come; 0: not known
    int frame_height = 0;
    LocationChanges location;
    trocar_log log = nullptr;
    void *log_context = nullptr;
};

/// Throws Error: BACKEND, or BUNDLE for a model that does not load.
/// `nv12`: whether the graph takes planes instead of RGB.
std::unique_ptr<Backend> open_onnxruntime(const std::string &model, const OpenOptions &options,
                                          bool nv12);

}  // namespace trocar::detail
