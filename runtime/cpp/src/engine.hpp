// Runs a TensorRT engine with pinned buffers and a CUDA graph. TensorRT and CUDA are seen through
// two small interfaces, so the code here runs in tests without a GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend.hpp"

namespace trocar::detail {

/// CUDA as far as it is used; every function throws Error with TROCAR_ERROR_BACKEND.
class Cuda {
  public:
    virtual ~Cuda() = default;
    /// Makes the device the calling thread's.
    virtual void enter() = 0;
    virtual void *pinned(std::size_t bytes) = 0;
    virtual void *device(std::size_t bytes) = 0;
    virtual void release_pinned(void *memory) noexcept = 0;
    virtual void release_device(void *memory) noexcept = 0;
    virtual void to_device(void *to, const void *from, std::size_t bytes) = 0;
    virtual void to_host(void *to, const void *from, std::size_t bytes) = 0;
    /// The stream of all the above.
    virtual void *stream() = 0;
    virtual void wait() = 0;
    virtual void begin_capture() = 0;
    /// Ends the capture; nullptr where nothing could be recorded.
    virtual void *end_capture() = 0;
    virtual void launch(void *graph) = 0;
    virtual void release_graph(void *graph) noexcept = 0;
};

/// A deserialized engine with one execution context.
class Engine {
  public:
    struct Port {
        std::string name;
        bool input = false;
        Type type = Type::other;
    };
    virtual ~Engine() = default;
    virtual std::vector<Port> ports() const = 0;
    /// False where the profile excludes the shape.
    virtual bool set_input_shape(const std::string &name,
                                 const std::vector<std::int64_t> &shape) = 0;
    /// Of an input or output, once the input's shape is set; negative where it is not known.
    virtual std::vector<std::int64_t> shape_of(const std::string &name) const = 0;
    virtual bool set_address(const std::string &name, void *device) = 0;
    virtual bool enqueue(void *stream) = 0;
    /// What shapes it takes, in words.
    virtual std::string profile() const = 0;
    virtual std::string library() const = 0;
};

/// Throws Error with TROCAR_ERROR_BUNDLE for an engine that takes no frames.
std::unique_ptr<Backend> run_engine(std::unique_ptr<Cuda> cuda, std::unique_ptr<Engine> engine);

/// The CUDA runtime library on a device. Throws Error with TROCAR_ERROR_MISSING_EXTRA or BACKEND.
std::unique_ptr<Cuda> open_cuda(int device);

}  // namespace trocar::detail
