// What a live loop adds to a plain run; benchmarks/cpp_live.py builds and runs it.
//
//     cpp_live LIBRARY BUNDLE HEIGHT WIDTH ROUNDS THREADS
//
// In every round the same frame takes three ways, in an order that moves on: a plain run, a loop
// that waits asleep, and a loop that spins. The time of a loop is from the call of submit until the
// result has been read; the plain run is given a copy of the frame too, as a program with a queue
// would make it. Prints one JSON object: medians and lowest values in microseconds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <trocar/live.hpp>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::time_point start) {
    return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

struct Times {
    std::vector<double> all;
    void print(const char *name) {
        std::sort(all.begin(), all.end());
        std::printf("\"%s\": %.2f, \"least_%s\": %.2f, ", name, all[all.size() / 2], name, all[0]);
    }
};

}  // namespace

int main(int count, char **arguments) try {
    if (count < 7) return 2;
    const int height = std::atoi(arguments[3]);
    const int width = std::atoi(arguments[4]);
    const int rounds = std::atoi(arguments[5]);
    std::vector<std::uint8_t> rgb(static_cast<std::size_t>(height) *
                                  static_cast<std::size_t>(width) * 3);
    for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<std::uint8_t>(i / 97 * 31);
    std::vector<std::uint8_t> copy(rgb.size());
    trocar::Options options;
    options.library = arguments[1];
    options.threads = std::atoi(arguments[6]);
    options.spinning = false;
    trocar::Session session(arguments[2], options);
    trocar::LiveOptions live_options;
    live_options.width = width;
    live_options.height = height;
    const trocar::Live asleep(session, live_options);
    live_options.spin = true;
    const trocar::Frame frame(rgb.data(), width, height);
    const trocar::Frame copied(copy.data(), width, height);
    trocar::LiveResult results[2];
    Times plain, run[2], total[2], submitting[2], starting[2], reading[2];
    for (int round = -3; round < rounds; ++round) {
        double plain_time = 0, loop_time[2] = {};
        for (int turn = 0; turn < 3; ++turn) {
            const int way = (turn + round + 3) % 3;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            if (way == 0) {
                const auto start = Clock::now();
                std::memcpy(copy.data(), rgb.data(), rgb.size());
                session.run(copied);
                plain_time = microseconds(start);
                continue;
            }
            // A spinning loop takes a core: it lives for its own turn only.
            const auto work = [&](const trocar::Live &live, int kind) {
                trocar::LiveResult &result = results[kind];
                auto start = Clock::now();
                live.submit(frame);
                const double submit_time = microseconds(start);
                while (!live.wait(result, 1000)) continue;
                loop_time[kind] = microseconds(start);
                if (round < 0) return;
                trocar::LiveResult again;
                live.read(again);
                again = {};
                start = Clock::now();
                live.read(again);
                reading[kind].all.push_back(microseconds(start));
                submitting[kind].all.push_back(submit_time);
                const trocar_live_result &about = result.about();
                starting[kind].all.push_back(
                    static_cast<double>(about.started_ns - about.submitted_ns) / 1e3);
                run[kind].all.push_back(static_cast<double>(about.finished_ns - about.started_ns) /
                                        1e3);
            };
            if (way == 1) {
                work(asleep, 0);
            } else {
                const trocar::Live spinning(session, live_options);
                results[1] = {};
                std::this_thread::sleep_for(std::chrono::milliseconds(5));
                work(spinning, 1);
            }
        }
        if (round < 0) continue;
        plain.all.push_back(plain_time);
        for (const int kind : {0, 1}) total[kind].all.push_back(loop_time[kind]);
    }
    std::printf("{");
    plain.print("plain");
    const char *const kinds[2] = {"wait", "spin"};
    for (const int kind : {0, 1}) {
        const std::string name = kinds[kind];
        total[kind].print((name + "_total").c_str());
        submitting[kind].print((name + "_submit").c_str());
        starting[kind].print((name + "_start").c_str());
        run[kind].print((name + "_run").c_str());
        reading[kind].print((name + "_read").c_str());
    }
    std::printf("\"rounds\": %d}\n", rounds);
    return 0;
} catch (const trocar::Error &error) {
    std::fprintf(stderr, "%s\n  -> %s\n", error.what(), error.remedy().c_str());
    return error.code();
}
