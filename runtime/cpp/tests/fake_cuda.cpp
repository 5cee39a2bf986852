// A stand-in for libcuda.so.1 and libcudart: one GPU whose memory is the host's. Work waits until
// its stream is waited for; what is recorded can be launched again; any call can be told to fail.
#include "fake_cuda.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#define SHOWN extern "C" __attribute__((visibility("default")))

namespace {

using Work = std::vector<std::function<void()>>;

std::atomic<long> fail_at{0};
std::atomic<long> alive{0};
std::atomic<long> launches{0};

struct Stream {
    Work waiting, recorded;
    bool recording = false;
};
/// Of the one stream; a device has more, libtrocar uses one a session.
Stream *current = nullptr;

struct Graph {
    Work work;
};

constexpr int failure = 2;

bool fails() { return fail_at.load() > 0 && --fail_at == 0; }

int take(void **out, std::size_t bytes) {
    if (fails()) return failure;
    *out = std::malloc(bytes);
    ++alive;
    return 0;
}
int give(void *memory) {
    if (memory != nullptr) --alive;
    std::free(memory);
    return 0;
}

}  // namespace

void fake::submit(std::function<void()> work) {
    (current->recording ? current->recorded : current->waiting).push_back(std::move(work));
}

SHOWN void fake_cuda_fail_at(long call) { fail_at = call; }
SHOWN bool fake_cuda_pending() { return fail_at > 0; }
SHOWN long fake_cuda_alive() { return alive; }
SHOWN long fake_cuda_launches() { return launches; }

// The driver.
SHOWN int cuInit(unsigned) { return 0; }
SHOWN int cuDeviceGetCount(int *out) {
    *out = 1;
    return 0;
}
SHOWN int cuDeviceGet(int *out, int index) {
    *out = index;
    return 0;
}
SHOWN int cuDeviceGetName(char *out, int size, int) {
    std::snprintf(out, static_cast<std::size_t>(size), "Stand-in GPU");
    return 0;
}
SHOWN int cuDeviceGetAttribute(int *out, int attribute, int) {
    *out = attribute == 75 ? 8 : 9;
    return 0;
}

// The runtime.
SHOWN int cudaSetDevice(int) { return fails() ? failure : 0; }
SHOWN const char *cudaGetErrorString(int) { return "planted"; }
SHOWN int cudaStreamCreateWithFlags(void **out, unsigned) {
    if (fails()) return failure;
    current = new Stream;
    *out = current;
    ++alive;
    return 0;
}
SHOWN int cudaStreamDestroy(void *stream) {
    delete static_cast<Stream *>(stream);
    --alive;
    return 0;
}
SHOWN int cudaStreamSynchronize(void *stream) {
    if (fails()) return failure;
    Work work;
    work.swap(static_cast<Stream *>(stream)->waiting);
    for (const auto &one : work) one();
    return 0;
}
SHOWN int cudaHostAlloc(void **out, std::size_t bytes, unsigned) { return take(out, bytes); }
SHOWN int cudaFreeHost(void *memory) { return give(memory); }
SHOWN int cudaMalloc(void **out, std::size_t bytes) { return take(out, bytes); }
SHOWN int cudaFree(void *memory) { return give(memory); }
SHOWN int cudaMemcpyAsync(void *to, const void *from, std::size_t bytes, int, void *) {
    if (fails()) return failure;
    fake::submit([=] { std::memcpy(to, from, bytes); });
    return 0;
}
SHOWN int cudaStreamBeginCapture(void *stream, int) {
    if (fails()) return failure;
    auto *held = static_cast<Stream *>(stream);
    held->recorded.clear();
    held->recording = true;
    return 0;
}
SHOWN int cudaStreamEndCapture(void *stream, void **out) {
    auto *held = static_cast<Stream *>(stream);
    held->recording = false;
    if (fails()) return failure;
    *out = new Graph{std::move(held->recorded)};
    ++alive;
    return 0;
}
SHOWN int cudaGraphInstantiateWithFlags(void **out, void *graph, unsigned long long) {
    if (fails()) return failure;
    *out = new Graph(*static_cast<Graph *>(graph));
    ++alive;
    return 0;
}
SHOWN int cudaGraphLaunch(void *graph, void *stream) {
    if (fails()) return failure;
    ++launches;
    for (const auto &one : static_cast<Graph *>(graph)->work)
        static_cast<Stream *>(stream)->waiting.push_back(one);
    return 0;
}
SHOWN int cudaGraphDestroy(void *graph) {
    delete static_cast<Graph *>(graph);
    --alive;
    return 0;
}
SHOWN int cudaGraphExecDestroy(void *graph) { return cudaGraphDestroy(graph); }
