// What libtrocar costs over ONNX Runtime's own Run; benchmarks/cpp_overhead.py builds and runs it.
//
//     cpp_overhead LIBRARY BUNDLE HEIGHT WIDTH ROUNDS THREADS
//
// Both take the same packed RGB frame; the bare loop has its input and outputs bound beforehand.
// Two sessions of one model differ in speed by some percent, by where their weights lie in memory:
// several of each kind are opened by turns, all run in every round, in an order that moves on, and
// their means are compared. Between runs idle threads get time to stop spinning. Prints one JSON
// object; "noise" is the same ratio between two halves of the bare sessions.
#include <dlfcn.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <trocar/trocar.hpp>
#include <vector>

#define ORT_API_MANUAL_INIT
#include <onnxruntime_c_api.h>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t copies = 4;

double since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// Processor time of the process, all threads: what other programs take is not in it.
double processor_ms() {
    timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t n = values.size();
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// The same Run by hand.
class Bare {
  public:
    Bare(const char *library, const std::string &model, int threads,
         const std::vector<std::uint8_t> &rgb, int height, int width) {
        void *handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) std::exit(2);
        const auto base =
            reinterpret_cast<const OrtApiBase *(*)()>(::dlsym(handle, "OrtGetApiBase"))();
        api_ = base->GetApi(ORT_API_VERSION);
        OrtEnv *env = nullptr;
        OrtSessionOptions *options = nullptr;
        OrtMemoryInfo *memory = nullptr;
        check(api_->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bare", &env));
        check(api_->CreateSessionOptions(&options));
        check(api_->SetIntraOpNumThreads(options, threads));
        check(api_->CreateSession(env, model.c_str(), options, &session_));
        check(api_->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
        const std::int64_t shape[] = {1, height, width, 3};
        check(api_->CreateTensorWithDataAsOrtValue(memory, const_cast<std::uint8_t *>(rgb.data()),
                                                   rgb.size(), shape, 4,
                                                   ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &input_));
        run();  // the first run makes the outputs, the later ones write into them
    }
    void run() {
        static const char *const in[] = {"frame"};
        static const char *const out[] = {"labels", "confidence"};
        check(api_->Run(session_, nullptr, in, &input_, 1, out, 2, outputs_));
    }

  private:
    void check(OrtStatus *status) const {
        if (status == nullptr) return;
        std::fprintf(stderr, "%s\n", api_->GetErrorMessage(status));
        std::exit(2);
    }
    const OrtApi *api_ = nullptr;
    OrtSession *session_ = nullptr;
    OrtValue *input_ = nullptr;
    OrtValue *outputs_[2] = {};
};

}  // namespace

int main(int count, char **arguments) try {
    if (count < 7) return 2;
    const std::string bundle = arguments[2];
    const int height = std::atoi(arguments[3]);
    const int width = std::atoi(arguments[4]);
    const int rounds = std::atoi(arguments[5]);
    // Red tissue, a blue bar from the left and a green one from the top.
    std::vector<std::uint8_t> rgb;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            const bool blue =
                std::abs(y * 100 / height - 35 - x * 25 / width) < 5 && x * 100 < width * 55;
            const bool green =
                std::abs(x * 100 / width - 80 + y * 20 / height) < 5 && y * 100 < height * 60;
            rgb.push_back(blue || green ? 60 : 170);
            rgb.push_back(green ? 200 : 60);
            rgb.push_back(blue ? 210 : 55);
        }
    trocar::Options options;
    options.library = arguments[1];
    options.threads = std::atoi(arguments[6]);
    const auto start = Clock::now();
    trocar::Session session(bundle, options);
    const double opened = since(start);
    const trocar::Frame frame(rgb.data(), width, height);
    const std::size_t found = session.run(frame).instruments().size();
    const double first = since(start);
    std::vector<trocar::Session> sessions;
    std::vector<Bare> bares;
    for (std::size_t i = 0; i < copies; ++i) {
        if (i == 0)
            sessions.push_back(std::move(session));
        else
            sessions.emplace_back(bundle, options);
        bares.emplace_back(arguments[1], bundle + "/model.onnx", options.threads, rgb, height,
                           width);
    }
    std::vector<double> ours, theirs, ratios, work_ratios, noises, outside, locating;
    for (int round = -2; round < rounds; ++round) {
        double own = 0, other = 0, own_work = 0, other_work = 0, halves[2] = {};
        for (std::size_t turn = 0; turn < 2 * copies; ++turn) {
            const std::size_t place = (turn + static_cast<std::size_t>(round + 2)) % (2 * copies);
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            const auto begin = Clock::now();
            const double work = processor_ms();
            if (place % 2 == 0) {
                const trocar_result &result = sessions[place / 2].run(frame).raw();
                const double took = since(begin);
                own += took / copies;
                own_work += processor_ms() - work;
                if (round >= 0) {
                    outside.push_back(took / result.infer_ms);
                    locating.push_back(result.locate_ms);
                }
            } else {
                bares[place / 2].run();
                const double took = since(begin);
                other += took / copies;
                other_work += processor_ms() - work;
                halves[place / 2 % 2] += took;
            }
        }
        if (round < 0) continue;
        ours.push_back(own);
        theirs.push_back(other);
        ratios.push_back(own / other);
        work_ratios.push_back(own_work / other_work);
        noises.push_back(halves[0] / halves[1]);
    }
    std::printf(
        "{\"instruments\": %zu, \"open_ms\": %.2f, \"first_result_ms\": %.2f, "
        "\"trocar_ms\": %.3f, \"bare_ms\": %.3f, \"ratio\": %.5f, \"work_ratio\": %.5f, "
        "\"noise\": %.5f, \"outside\": %.5f, \"locate_ms\": %.4f, \"least_locate_ms\": %.4f}\n",
        found, opened, first, median(ours), median(theirs), median(ratios), median(work_ratios),
        median(noises), median(outside), median(locating),
        *std::min_element(locating.begin(), locating.end()));
    return 0;
} catch (const trocar::Error &error) {
    std::fprintf(stderr, "%s\n  -> %s\n", error.what(), error.remedy().c_str());
    return error.code();
}
