// libFuzzer's entry:   fuzz_clang -runs=40000 -seed=1 CORPUS     (fuzz seeds CORPUS … writes one)
#include <cstddef>
#include <cstdint>

#include "fuzz_feed.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    fuzz::feed({reinterpret_cast<const char *>(data), size});
    return 0;
}
