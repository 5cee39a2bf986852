#include "engine.hpp"

#include <algorithm>
#include <cstring>

#include "error.hpp"

namespace trocar::detail {

namespace {

class EngineBackend final : public Backend {
  public:
    EngineBackend(std::unique_ptr<Cuda> cuda, std::unique_ptr<Engine> engine)
        : cuda_(std::move(cuda)), engine_(std::move(engine)), ports_(engine_->ports()) {
        std::size_t inputs = 0;
        for (std::size_t i = 0; i < ports_.size(); ++i) {
            if (ports_[i].type == Type::other)
                bundle_error("the engine's " + ports_[i].name +
                                 " is of a type that is neither uint8, float16 nor float32",
                             rebuild);
            if (ports_[i].input) {
                ++inputs;
                input_ = i;
            } else {
                outputs_.push_back(i);
                Tensor tensor;
                tensor.name = ports_[i].name;
                tensor.type = ports_[i].type;
                tensors_.push_back(tensor);
            }
        }
        if (inputs != 1 || ports_[input_].type != Type::byte)
            bundle_error("the engine takes " + std::to_string(inputs) +
                             " inputs, expected one of uint8 frames",
                         rebuild);
        buffers_.resize(ports_.size());
    }
    EngineBackend(const EngineBackend &) = delete;
    EngineBackend &operator=(const EngineBackend &) = delete;
    ~EngineBackend() override { release(); }

    const std::vector<Tensor> &run(const std::uint8_t *rgb, int count, int height,
                                   int width) override {
        cuda_->enter();
        const std::int64_t shape[] = {count, height, width, 3};
        if (!std::equal(shape_.begin(), shape_.end(), shape, shape + 4)) resize({shape, shape + 4});
        try {
            std::memcpy(buffers_[input_].host, rgb, buffers_[input_].bytes);
            go();
            cuda_->wait();
        } catch (...) {
            // Nothing of a failed run is trusted: the next one starts afresh, after what is on its
            // way to or from the buffers has arrived.
            drain();
            release();
            throw;
        }
        return tensors_;
    }

    void set_inputs(const std::vector<Input> &) override {
        throw Error(TROCAR_ERROR_BACKEND,
                    "the bundle has enrolled classes, which an engine does not support",
                    "use backend onnxruntime");
    }
    std::string metadata() const override { return {}; }
    std::string library() const override { return engine_->library(); }

  private:
    static constexpr const char *rebuild = "build it again with `trocar export BUNDLE --engine …`";

    struct Buffer {
        void *host = nullptr;
        void *device = nullptr;
        std::size_t bytes = 0;
    };

    void resize(std::vector<std::int64_t> shape) {
        release();
        if (!engine_->set_input_shape(ports_[input_].name, shape))
            throw Error(TROCAR_ERROR_BACKEND,
                        "the engine does not take " + std::to_string(shape[0]) + " frames of " +
                            std::to_string(shape[1]) + "x" + std::to_string(shape[2]) +
                            ": its profile takes " + engine_->profile(),
                        "trocar export BUNDLE --engine … --engine-shape " +
                            std::to_string(shape[2]) + "x" + std::to_string(shape[1]) +
                            " --batch " + std::to_string(shape[0]));
        try {
            for (std::size_t i = 0; i < ports_.size(); ++i) bind(i);
        } catch (...) {
            release();
            throw;
        }
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            tensors_[i].shape = engine_->shape_of(ports_[outputs_[i]].name);
            tensors_[i].data = buffers_[outputs_[i]].host;
        }
        shape_ = std::move(shape);
    }

    void bind(std::size_t i) {
        const std::string &name = ports_[i].name;
        std::size_t bytes = bytes_of(ports_[i].type);
        for (const std::int64_t side : engine_->shape_of(name)) {
            if (side < 0)
                throw Error(TROCAR_ERROR_BACKEND, "output " + name + " has an unknown size",
                            "build the engine again; outputs may not depend on values");
            bytes *= static_cast<std::size_t>(side);
        }
        Buffer &buffer = buffers_[i];
        buffer.bytes = bytes;
        buffer.host = cuda_->pinned(bytes);
        buffer.device = cuda_->device(bytes);
        if (!engine_->set_address(name, buffer.device))
            throw Error(TROCAR_ERROR_BACKEND, "TensorRT refused the buffer of " + name,
                        "report this as a bug");
    }

    void go() {
        // Recorded on the second run: the first lets the engine allocate what it needs.
        if (graph_ == nullptr && runs_ == 1 && !unrecordable_) record();
        ++runs_;
        if (graph_ != nullptr)
            cuda_->launch(graph_);
        else
            enqueue();
    }

    void record() {
        cuda_->begin_capture();
        try {
            enqueue();
        } catch (...) {
            cuda_->release_graph(cuda_->end_capture());
            throw;
        }
        graph_ = cuda_->end_capture();
        unrecordable_ = graph_ == nullptr;
    }

    void enqueue() {
        const Buffer &input = buffers_[input_];
        cuda_->to_device(input.device, input.host, input.bytes);
        if (!engine_->enqueue(cuda_->stream()))
            throw Error(TROCAR_ERROR_BACKEND,
                        "TensorRT could not run the engine; its log states why",
                        "check the GPU's free memory with nvidia-smi");
        for (const std::size_t i : outputs_)
            cuda_->to_host(buffers_[i].host, buffers_[i].device, buffers_[i].bytes);
    }

    void drain() noexcept {
        try {
            cuda_->wait();
        } catch (...) {  // the failure that led here is the one to tell
        }
    }

    void release() noexcept {
        shape_.clear();
        runs_ = 0;
        unrecordable_ = false;
        if (graph_ != nullptr) cuda_->release_graph(graph_);
        graph_ = nullptr;
        for (Buffer &buffer : buffers_) {
            if (buffer.host != nullptr) cuda_->release_pinned(buffer.host);
            if (buffer.device != nullptr) cuda_->release_device(buffer.device);
            buffer = {};
        }
    }

    std::unique_ptr<Cuda> cuda_;  // outlives what lies on the device
    std::unique_ptr<Engine> engine_;
    std::vector<Engine::Port> ports_;
    std::size_t input_ = 0;
    std::vector<std::size_t> outputs_;
    std::vector<Buffer> buffers_;
    std::vector<Tensor> tensors_;
    std::vector<std::int64_t> shape_;
    int runs_ = 0;
    void *graph_ = nullptr;
    bool unrecordable_ = false;
};

}  // namespace

std::unique_ptr<Backend> run_engine(std::unique_ptr<Cuda> cuda, std::unique_ptr<Engine> engine) {
    return std::make_unique<EngineBackend>(std::move(cuda), std::move(engine));
}

}  // namespace trocar::detail
