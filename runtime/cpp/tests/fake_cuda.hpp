// The stand-in CUDA's controls, and how other stand-ins put work on its stream.
#pragma once

#include <functional>

extern "C" {
/// The n-th call of the CUDA runtime from now on fails; 0: none.
void fake_cuda_fail_at(long call);
/// Whether that call has not come yet.
bool fake_cuda_pending();
/// Buffers, streams and graphs that were not given back.
long fake_cuda_alive();
/// Graphs that were launched.
long fake_cuda_launches();
}

namespace fake {
/// Runs the work when the stream gets there, or records it.
__attribute__((visibility("default"))) void submit(std::function<void()> work);
}  // namespace fake
