// Many threads with a session each, opened and closed again and again, and threads that share one:
// results stay right and memory stays flat.
//
//     test_threads LIBRARY BUNDLE|- FRAMES [shared]
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "check.hpp"
#include "fixture.hpp"
#include "trocar/trocar.hpp"

namespace {

constexpr int threads = 8;

double resident_megabytes() {
    long pages = 0;
    long resident = 0;
    std::FILE *file = std::fopen("/proc/self/statm", "r");
    const bool read = file != nullptr && std::fscanf(file, "%ld %ld", &pages, &resident) == 2;
    if (file != nullptr) std::fclose(file);
    return read ? static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1e6
                : 0;
}

struct Work {
    std::string path;
    trocar::Options options;
    std::vector<std::uint8_t> rgb;
    std::atomic<long> wrong{0};
};

/// Opens, runs 25 frames, closes, until `frames` are done.
void with_own_session(Work &work, int frames) {
    try {
        for (int done = 0; done < frames;) {
            trocar::Session session(work.path, work.options);
            for (int i = 0; i < 25 && done < frames; ++i, ++done) {
                const trocar::Result &result = session.run({work.rgb.data(), 128, 96});
                if (result.instruments().size() != 2) ++work.wrong;
            }
        }
    } catch (const std::exception &error) {
        std::printf("%s\n", error.what());
        ++work.wrong;
    }
}

void together(Work &work, int frames) {
    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i)
        running.emplace_back([&work, frames] { with_own_session(work, frames / threads); });
    for (std::thread &one : running) one.join();
}

void sharing(Work &work, int frames) {
    const trocar::Session session(work.path, work.options);
    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i)
        running.emplace_back([&] {
            trocar::Result result;
            for (int done = 0; done < frames / threads; ++done) {
                session.run({work.rgb.data(), 128, 96}, result);
                if (result.instruments().size() != 2) ++work.wrong;
            }
        });
    for (std::thread &one : running) one.join();
}

}  // namespace

int main(int count, char **arguments) {
    const int frames = count > 3 ? std::atoi(arguments[3]) : 800;
    const fixture::Folder folder;
    Work work;
    work.options.library = count > 1 ? arguments[1] : FAKE_LIBRARY;
    work.options.threads = 1;
    work.path = count > 2 && std::string(arguments[2]) != "-"
                    ? arguments[2]
                    : fixture::write_bundle(folder.path / "b", "seg 48 64 half");
    work.rgb = fixture::picture(96, 128);
    together(work, frames / 5);
    const double before = resident_megabytes();
    together(work, frames);
    const double after = resident_megabytes();
    sharing(work, frames / 5);
    std::printf("%d threads, %d frames: %.1f MB before, %.1f MB after\n", threads, frames, before,
                after);
    CHECK(work.wrong == 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    // A leak of one label map a frame would be 30 MB in 10,000.
    CHECK(after < before * 1.1 + 8);
#endif
    return test::report("threads");
}
