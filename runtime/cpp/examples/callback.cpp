// Frames come from elsewhere, by callback:   callback model.trocar [frames]
//
// A capture SDK calls on_frame from its own thread, faster than the model runs. Only the newest
// frame is kept, so results are never older than one run; the callback never waits for the model.
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <trocar/trocar.hpp>
#include <vector>

class Newest {
  public:
    void on_frame(const std::uint8_t *bgra, int width, int height) {  // the SDK's buffer is lent
        const std::lock_guard<std::mutex> lock(mutex_);
        if (fresh_) ++dropped_;
        pixels_.assign(bgra, bgra + static_cast<std::size_t>(width) * height * 4);
        width_ = width;
        height_ = height;
        fresh_ = true;
        arrived_.notify_one();
    }
    void stop() {
        const std::lock_guard<std::mutex> lock(mutex_);
        stopped_ = true;
        arrived_.notify_one();
    }
    /// Swaps the newest frame into `pixels`; false after the end.
    bool take(std::vector<std::uint8_t> &pixels, int &width, int &height) {
        std::unique_lock<std::mutex> lock(mutex_);
        arrived_.wait(lock, [this] { return fresh_ || stopped_; });
        if (!fresh_) return false;
        pixels.swap(pixels_);
        width = width_;
        height = height_;
        fresh_ = false;
        return true;
    }
    long dropped() const { return dropped_; }

  private:
    std::mutex mutex_;
    std::condition_variable arrived_;
    std::vector<std::uint8_t> pixels_;
    int width_ = 0, height_ = 0;
    long dropped_ = 0;
    bool fresh_ = false, stopped_ = false;
};

// In place of the SDK: a bar that moves across the picture, 200 frames a second.
static void capture(Newest &newest, int frames) {
    const int width = 320, height = 240;
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
        newest.on_frame(bgra.data(), width, height);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    newest.stop();
}

int main(int count, char **arguments) try {
    if (count < 2) return std::fprintf(stderr, "usage: callback MODEL.trocar [FRAMES]\n"), 2;
    trocar::Options options;
    options.spinning = false;  // leave the cores to capture and display
    trocar::Session session(arguments[1], options);
    Newest newest;
    const int frames = count > 2 ? std::atoi(arguments[2]) : 100;
    std::thread sdk([&] { capture(newest, frames); });
    std::vector<std::uint8_t> pixels;
    int width = 0, height = 0;
    long shown = 0, found = 0;
    while (newest.take(pixels, width, height)) {
        const auto &result = session.run({pixels.data(), width, height, TROCAR_BGRA});
        found += static_cast<long>(result.instruments().size());
        ++shown;
    }
    sdk.join();
    std::printf("%ld frames shown, %ld dropped, %ld instruments\n", shown, newest.dropped(), found);
    return shown + newest.dropped() == frames ? 0 : 1;
} catch (const trocar::Error &error) {
    std::fprintf(stderr, "%s\n  -> %s\n", error.what(), error.remedy().c_str());
    return error.code();
}
