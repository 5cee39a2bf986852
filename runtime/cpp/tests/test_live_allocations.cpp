// After warm-up a frame of a live loop costs no allocation, from submission to reading.
#include <algorithm>
#include <vector>

#include "check.hpp"
#include "count_allocations.hpp"
#include "fixture.hpp"
#include "trocar/live.hpp"

namespace {

constexpr int height = 96;
constexpr int width = 128;

/// Most allocations of one frame, in the whole process, from the first frame on.
long per_frame(const trocar::Live &live, const std::vector<std::vector<std::uint8_t>> &pictures,
               trocar_format format) {
    trocar::LiveResult result;
    live.read(result);  // takes the reader's own memory
    long most = 0;
    for (std::size_t i = 0; i < 60; ++i) {
        const auto &picture = pictures[i % pictures.size()];
        allocations::start();
        live.submit({picture.data(), width, height, format});
        live.submit({picture.data(), width, height, format});
        // The first result of a picture may take long, under emulation or on a busy machine.
        const auto before = result.about().number;
        while (live.wait(result, result.about().number == before ? 10000 : 50)) continue;
        const trocar_live_status status = live.status();
        most = std::max(most, allocations::stop());
        CHECK(status.failed == 0);
    }
    CHECK(result.about().number >= 60);
    return most;
}

}  // namespace

int main() {
    const fixture::Folder folder;
    trocar::Options options;
    options.library = FAKE_LIBRARY;
    options.threads = 1;
    const trocar::Session session(fixture::write_bundle(folder.path / "b", "seg 48 64 half"),
                                  options);
    // The last one is noise with many regions.
    std::vector<std::vector<std::uint8_t>> pictures(4, fixture::picture(height, width));
    for (std::size_t i = 0; i < pictures[1].size(); ++i) {
        pictures[1][i] = static_cast<std::uint8_t>(i * 7);
        pictures[2][i] = 200;
        pictures[3][i] = static_cast<std::uint8_t>((i * 2654435761U) >> 24);
    }
    for (const bool spin : {false, true})
        for (const trocar_format format : {TROCAR_RGB, TROCAR_BGR, TROCAR_GRAY, TROCAR_NV12}) {
            trocar::LiveOptions live_options;
            live_options.width = width;
            live_options.height = height;
            live_options.format = format;
            live_options.spin = spin;
            live_options.outputs = TROCAR_LIVE_LABELS | TROCAR_LIVE_CONFIDENCE;
            const trocar::Live live(session, live_options);
            const long found = per_frame(live, pictures, format);
            std::printf("format %d, %s: %ld allocations a frame\n", format, spin ? "spin" : "wait",
                        found);
            CHECK(found == 0);
        }
    // Not warmed: the first frame of a larger size is not free, and is counted.
    const trocar::Live cold(session, {});
    trocar::LiveResult result;
    cold.read(result);
    allocations::start();
    cold.submit({pictures[0].data(), width, height});
    cold.wait(result, 20000);
    CHECK(allocations::stop() > 0);
    return test::report("live_allocations");
}
