// The CUDA runtime, loaded when it is asked for. Its types are pointers and numbers here: nothing
// of CUDA is needed to compile this file.
#include <dlfcn.h>

#include "engine.hpp"
#include "error.hpp"

namespace trocar::detail {

namespace {

constexpr unsigned non_blocking = 1;
constexpr int host_to_device = 1;
constexpr int device_to_host = 2;
constexpr int thread_local_capture = 1;

class CudaRuntime final : public Cuda {
  public:
    explicit CudaRuntime(int device) : device_(device) {
        for (const char *file : {"libcudart.so.13", "libcudart.so.12", "libcudart.so"}) {
            library_ = ::dlopen(file, RTLD_NOW | RTLD_LOCAL);
            if (library_ != nullptr) break;
        }
        if (library_ == nullptr)
            throw Error(TROCAR_ERROR_MISSING_EXTRA, "the CUDA runtime (libcudart) is not installed",
                        "install CUDA 12 or 13");
        find(set_device_, "cudaSetDevice");
        find(error_text_, "cudaGetErrorString");
        find(stream_create_, "cudaStreamCreateWithFlags");
        find(stream_destroy_, "cudaStreamDestroy");
        find(stream_wait_, "cudaStreamSynchronize");
        find(host_alloc_, "cudaHostAlloc");
        find(host_free_, "cudaFreeHost");
        find(malloc_, "cudaMalloc");
        find(free_, "cudaFree");
        find(copy_, "cudaMemcpyAsync");
        find(capture_begin_, "cudaStreamBeginCapture");
        find(capture_end_, "cudaStreamEndCapture");
        find(instantiate_, "cudaGraphInstantiateWithFlags");
        find(launch_, "cudaGraphLaunch");
        find(graph_destroy_, "cudaGraphDestroy");
        find(exec_destroy_, "cudaGraphExecDestroy");
        enter();
        check(stream_create_(&stream_, non_blocking), "make a stream");
    }
    CudaRuntime(const CudaRuntime &) = delete;
    CudaRuntime &operator=(const CudaRuntime &) = delete;
    ~CudaRuntime() override {
        if (stream_ != nullptr) stream_destroy_(stream_);
    }

    void enter() override { check(set_device_(device_), "use the device"); }
    void *pinned(std::size_t bytes) override {
        void *memory = nullptr;
        check(host_alloc_(&memory, bytes, 0), "take pinned memory");
        return memory;
    }
    void *device(std::size_t bytes) override {
        void *memory = nullptr;
        check(malloc_(&memory, bytes), "take device memory");
        return memory;
    }
    void release_pinned(void *memory) noexcept override { host_free_(memory); }
    void release_device(void *memory) noexcept override { free_(memory); }
    void to_device(void *to, const void *from, std::size_t bytes) override {
        check(copy_(to, from, bytes, host_to_device, stream_), "copy to the device");
    }
    void to_host(void *to, const void *from, std::size_t bytes) override {
        check(copy_(to, from, bytes, device_to_host, stream_), "copy from the device");
    }
    void *stream() override { return stream_; }
    void wait() override { check(stream_wait_(stream_), "run"); }
    void begin_capture() override {
        check(capture_begin_(stream_, thread_local_capture), "record a graph");
    }
    void *end_capture() override {
        void *graph = nullptr;
        void *exec = nullptr;
        if (capture_end_(stream_, &graph) != 0 || graph == nullptr) return nullptr;
        const int status = instantiate_(&exec, graph, 0);
        graph_destroy_(graph);
        return status == 0 ? exec : nullptr;
    }
    void launch(void *graph) override { check(launch_(graph, stream_), "launch a graph"); }
    void release_graph(void *graph) noexcept override {
        if (graph != nullptr) exec_destroy_(graph);
    }

  private:
    template <class Function>
    void find(Function &function, const char *name) {
        function = reinterpret_cast<Function>(::dlsym(library_, name));
        if (function == nullptr)
            throw Error(TROCAR_ERROR_BACKEND, std::string("the CUDA runtime has no ") + name,
                        "install CUDA 12 or 13");
    }
    void check(int status, const char *what) const {
        if (status != 0)
            throw Error(TROCAR_ERROR_BACKEND,
                        std::string("CUDA cannot ") + what + ": " + error_text_(status),
                        "check the driver and the free memory with nvidia-smi");
    }

    int device_;
    void *library_ = nullptr;
    void *stream_ = nullptr;
    int (*set_device_)(int) = nullptr;
    const char *(*error_text_)(int) = nullptr;
    int (*stream_create_)(void **, unsigned) = nullptr;
    int (*stream_destroy_)(void *) = nullptr;
    int (*stream_wait_)(void *) = nullptr;
    int (*host_alloc_)(void **, std::size_t, unsigned) = nullptr;
    int (*host_free_)(void *) = nullptr;
    int (*malloc_)(void **, std::size_t) = nullptr;
    int (*free_)(void *) = nullptr;
    int (*copy_)(void *, const void *, std::size_t, int, void *) = nullptr;
    int (*capture_begin_)(void *, int) = nullptr;
    int (*capture_end_)(void *, void **) = nullptr;
    int (*instantiate_)(void **, void *, unsigned long long) = nullptr;
    int (*launch_)(void *, void *) = nullptr;
    int (*graph_destroy_)(void *) = nullptr;
    int (*exec_destroy_)(void *) = nullptr;
};

}  // namespace

std::unique_ptr<Cuda> open_cuda(int device) { return std::make_unique<CudaRuntime>(device); }

}  // namespace trocar::detail
