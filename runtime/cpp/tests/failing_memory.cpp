#include "failing_memory.hpp"

#include <cstdlib>
#include <new>

namespace {
long fails_at = 0;
}

// In a file of its own: inlined, compilers would see malloc's memory given to delete.
void *operator new(std::size_t size) {
    if (fails_at > 0 && --fails_at == 0) throw std::bad_alloc();
    if (void *memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc();
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

void failing_memory::at(long allocation) { fails_at = allocation; }
bool failing_memory::pending() { return fails_at > 0; }
