// A `new` that fails when it is told to. The stand-in library has one of its own.
#pragma once

namespace failing_memory {
/// The allocation that fails, counted from 1; 0: none.
void at(long allocation);
/// Whether it has not come yet.
bool pending();
}  // namespace failing_memory
