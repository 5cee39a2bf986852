// Counts what the process allocates while `counting` is on, through malloc itself.
#pragma once

namespace allocations {
void start();
/// Allocations since `start`, of all threads.
long stop();
}  // namespace allocations
