// Frames come from elsewhere, by callback:   callback model.trocar [frames]
//
// A capture SDK hands in frames from its own thread, faster than the model runs. A live loop infers
// the newest one, drops the others and counts them; the SDK's thread never waits for the model.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <trocar/live.hpp>
#include <vector>

constexpr int width = 320;
constexpr int height = 240;

// In place of the SDK: a bar that moves across the picture, 200 frames a second.
static void capture(const trocar::Live &live, int frames) {
    std::vector<std::uint8_t> bgra(static_cast<std::size_t>(width) * height * 4);
    for (int n = 0; n < frames; ++n) {
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x) {
                const bool bar = y / 12 == (40 + n) / 12 % 20 && x < 200;
                std::uint8_t *pixel = &bgra[(static_cast<std::size_t>(y) * width + x) * 4];
                pixel[0] = bar ? 210 : 50;
                pixel[1] = 60;
                pixel[2] = bar ? 60 : 180;
            }
        live.submit({bgra.data(), width, height, TROCAR_BGRA});  // copied: the SDK lends its buffer
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

int main(int count, char **arguments) try {
    if (count < 2) return std::fprintf(stderr, "usage: callback MODEL.trocar [FRAMES]\n"), 2;
    trocar::Options options;
    options.spinning = false;  // leave the cores to capture and display
    const trocar::Session session(arguments[1], options);
    trocar::LiveOptions live_options;
    live_options.width = width;
    live_options.height = height;
    live_options.format = TROCAR_BGRA;
    const trocar::Live live(session, live_options);
    const int frames = count > 2 ? std::atoi(arguments[2]) : 100;
    std::thread sdk([&] { capture(live, frames); });
    trocar::LiveResult result;
    long shown = 0, found = 0;
    double oldest = 0;
    for (trocar_live_status status{};
         status.processed + status.dropped + status.failed < static_cast<std::uint64_t>(frames);
         status = live.status()) {
        while (live.wait(result, 20, TROCAR_LIVE_NEXT)) {
            found += static_cast<long>(result.instruments().size());
            oldest = std::max(oldest, result.about().age_ms);
            ++shown;
        }
    }
    sdk.join();
    const trocar_live_status status = live.status();
    std::printf("%ld frames shown, %llu dropped, %ld instruments, at most %.1f ms old\n", shown,
                static_cast<unsigned long long>(status.dropped), found, oldest);
    if (status.failed > 0) std::fprintf(stderr, "%s\n  -> %s\n", status.message, status.remedy);
    return status.failed == 0 ? 0 : status.error_code;
} catch (const trocar::Error &error) {
    std::fprintf(stderr, "%s\n  -> %s\n", error.what(), error.remedy().c_str());
    return error.code();
}
