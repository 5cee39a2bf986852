#include "count_allocations.hpp"

#include <atomic>
#include <cstddef>

extern "C" {
void *__libc_malloc(std::size_t size);
void *__libc_calloc(std::size_t count, std::size_t size);
void *__libc_realloc(void *old, std::size_t size);
void *__libc_memalign(std::size_t alignment, std::size_t size);
}

namespace {
std::atomic<bool> counting{false};
std::atomic<long> counted{0};
void count() {
    if (counting.load(std::memory_order_relaxed)) counted.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace

// glibc lets a program define these; every library of the process then calls them.
extern "C" {
void *malloc(std::size_t size) {
    count();
    return __libc_malloc(size);
}
void *calloc(std::size_t n, std::size_t size) {
    count();
    return __libc_calloc(n, size);
}
void *realloc(void *old, std::size_t size) {
    count();
    return __libc_realloc(old, size);
}
void *memalign(std::size_t alignment, std::size_t size) {
    count();
    return __libc_memalign(alignment, size);
}
void *aligned_alloc(std::size_t alignment, std::size_t size) {
    count();
    return __libc_memalign(alignment, size);
}
int posix_memalign(void **out, std::size_t alignment, std::size_t size) {
    count();
    *out = __libc_memalign(alignment, size);
    return *out == nullptr ? 12 : 0;
}
}

namespace allocations {
void start() {
    counted = 0;
    counting = true;
}
long stop() {
    counting = false;
    return counted;
}
}  // namespace allocations
