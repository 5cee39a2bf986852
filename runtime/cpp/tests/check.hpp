// The least that a test needs: checks that count, print where they fail, and set the exit status.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace test {
inline long checks = 0;
inline long failures = 0;
inline int report(const char *name) {
    std::printf("%s: %ld checks, %ld failures\n", name, checks, failures);
    return failures == 0 && checks > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
}  // namespace test

#define CHECK(...)                                                                \
    do {                                                                          \
        ++test::checks;                                                           \
        if (!(__VA_ARGS__)) {                                                     \
            ++test::failures;                                                     \
            std::printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #__VA_ARGS__); \
        }                                                                         \
    } while (false)
