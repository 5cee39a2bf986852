// The native TensorRT backend from bundle to instruments on a stand-in GPU: the driver, the CUDA
// runtime and, where TensorRT's headers were given, libnvinfer are stand-ins; all of libtrocar is
// the real code. LD_LIBRARY_PATH leads to them.
#include <cstring>
#include <string>
#include <vector>

#include "check.hpp"
#include "engine.hpp"
#include "engine_choice.hpp"
#include "error.hpp"
#include "fake_cuda.hpp"
#include "fixture.hpp"
#include "session_kit.hpp"
#include "tensorrt.hpp"
#include "trocar/trocar.hpp"

using namespace trocar::detail;
using namespace kit;

namespace {

template <class Call>
std::string refusal(Call call, trocar_status code) {
    try {
        call();
    } catch (const Error &error) {
        CHECK(error.code == code && !error.remedy.empty());
        return error.what();
    }
    CHECK(false);
    return {};
}

void test_cuda() {
    Device first;
    first.cuda = true;
    require_cuda(first);
    Device second = first;
    second.index = 1;
    CHECK(refusal([&] { require_cuda(second); }, TROCAR_ERROR_BACKEND).find("1 GPU") !=
          std::string::npos);
    EngineEnvironment here;
    describe_gpu(0, here);
    CHECK(here.gpu == "Stand-in GPU" && here.capability == "8.9");
    {
        const auto cuda = open_cuda(0);
        cuda->enter();
        auto *from = static_cast<char *>(cuda->pinned(4));
        auto *there = cuda->device(4);
        auto *to = static_cast<char *>(cuda->pinned(4));
        std::memcpy(from, "abc", 4);
        cuda->begin_capture();
        cuda->to_device(there, from, 4);
        cuda->to_host(to, there, 4);
        void *graph = cuda->end_capture();
        for (const char *text : {"abc", "xyz"}) {
            std::memcpy(from, text, 4);
            cuda->launch(graph);
            cuda->wait();
            CHECK(std::string(to) == text);
        }
        cuda->release_graph(graph);
        cuda->release_graph(nullptr);
        cuda->release_device(there);
        for (char *memory : {from, to}) cuda->release_pinned(memory);
    }
    fake_cuda_fail_at(2);
    CHECK(refusal([] { open_cuda(0); }, TROCAR_ERROR_BACKEND).find("planted") != std::string::npos);
    CHECK(fake_cuda_alive() == 0);
}

#ifdef TROCAR_TENSORRT

/// What the stand-in calls itself, with `major` added to its first number.
std::string version() {
    OpenOptions options;
    options.library = FAKE_TENSORRT;
    return tensorrt_version(options);
}

struct Kind {
    std::string engine = "engine 48 64 4";
    std::string changes;  // further members of the sidecar
    std::string model = "seg 48 64 half";
    std::string classes;
};

std::string with_engine(const std::filesystem::path &path, const Kind &kind) {
    fixture::write_bundle(path, kind.model, 48, 64, kind.classes);
    const std::string sidecar =
        R"({"schema": "1.0", "flavour": ")" + tensorrt_flavour() + R"(", "version": ")" +
        version() + R"(", "onnx_sha256": ")" + sha256_hex(kind.model) + R"(", "engine_sha256": ")" +
        sha256_hex(kind.engine) +
        R"(", "precision_found": "fp16", "gpu": "Stand-in GPU", "capability": "8.9", "platform": ")" +
        TROCAR_PLATFORM + "\"" + kind.changes + "}";
    std::filesystem::create_directories(path / "engines");
    fixture::write_file(path / "engines" / "a.engine", kind.engine);
    fixture::write_file(path / "engines" / "a.json", sidecar);
    std::ifstream file(path / "manifest.json");
    std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::string files = "\"files\": {";
    text.insert(text.find(files) + files.size(),
                "\"engines/a.engine\": \"" + sha256_hex(kind.engine) +
                    "\", \"engines/a.json\": \"" + sha256_hex(sidecar) + "\", ");
    fixture::write_file(path / "manifest.json", text);
    return path.string();
}

trocar::Options engine_options() {
    trocar::Options options;
    options.backend = tensorrt_flavour();
    options.library = FAKE_TENSORRT;
    return options;
}

bool same(const trocar::Result &one, const trocar::Result &other) {
    const auto equal = [](auto a, auto b) {
        return a.size() == b.size() &&
               std::memcmp(a.data(), b.data(), a.size() * sizeof *a.data()) == 0;
    };
    return equal(one.labels(), other.labels()) && equal(one.confidence(), other.confidence()) &&
           equal(one.instruments(), other.instruments());
}

void test_equal_to_onnxruntime(const std::string &path) {
    trocar::Options onnx;
    onnx.library = FAKE_LIBRARY;
    trocar::Session theirs(path, onnx);
    {
        trocar::Session ours(path, engine_options());
        CHECK(std::string(ours.info().backend) == tensorrt_flavour());
        CHECK(std::string(ours.info().device) == "cuda:0");
        CHECK(std::string(ours.info().precision) == "fp16" && ours.info().golden == 1);
        CHECK(std::string(ours.info().library).find(version()) != std::string::npos);
        const long before = fake_cuda_launches();
        for (const auto &[height, width] : {std::pair{96, 128}, {48, 64}, {33, 51}, {1, 1}}) {
            auto rgb = fixture::picture(height, width);
            for (int i = 0; i < 5; ++i) {
                rgb[rgb.size() / 2] = static_cast<std::uint8_t>(50 * i);
                const trocar::Frame frame(rgb.data(), width, height);
                trocar::Result expected;
                theirs.run(frame, expected);
                CHECK(same(ours.run(frame), expected));
            }
        }
        // Of five runs of one size the first is plain, the second recorded, all further replayed.
        CHECK(fake_cuda_launches() - before == 4 * 4);
    }
    CHECK(fake_cuda_alive() == 0);
}

void test_batches(const std::string &path) {
    const trocar::Session session(path, engine_options());
    const auto rgb = fixture::picture(96, 128);
    for (const std::uint32_t count : {2U, 4U, 5U, 1U}) {
        std::vector<trocar_frame> frames(count, frame_of(rgb, 96, 128));
        std::vector<Room> rooms(count);
        std::vector<trocar_result> results;
        for (const Room &room : rooms) results.push_back(room.result);
        trocar_error error{};
        error.size = sizeof error;
        const trocar_status status =
            trocar_session_run(session.get(), frames.data(), count, results.data(), &error);
        if (count == 5) {
            CHECK(status == TROCAR_ERROR_BACKEND);
            CHECK(std::string(error.message).find("1x1x1x3 to 4x4096x4096x3") != std::string::npos);
            continue;
        }
        CHECK(status == TROCAR_OK);
        for (const trocar_result &result : results) CHECK(result.instrument_count == 2);
    }
}

std::string refused(const std::string &path, const trocar::Options &options,
                    trocar_status code = TROCAR_ERROR_BACKEND) {
    try {
        const trocar::Session session(path, options);
    } catch (const trocar::Error &error) {
        CHECK(error.code() == code && !error.remedy().empty());
        CHECK(fake_cuda_alive() == 0);
        return error.what();
    }
    CHECK(false);
    return {};
}

bool says(const std::string &text, const char *part) {
    if (text.find(part) != std::string::npos) return true;
    std::printf("said: %s\n", text.c_str());
    return false;
}

void test_refusals(const std::filesystem::path &folder) {
    const auto bundle = [&](const Kind &kind) { return with_engine(folder / "refused", kind); };
    CHECK(says(refused(bundle({"nothing", {}, "seg 48 64 half", {}}), engine_options()),
               "the magic tag does not match"));
    CHECK(says(refused(bundle({"contextless", {}, "seg 48 64 half", {}}), engine_options()),
               "no execution context"));
    Kind other;
    other.changes = R"(, "gpu": "Another GPU")";
    CHECK(says(refused(bundle(other), engine_options()), "Another GPU"));
    trocar::Options options = engine_options();
    options.library = FAKE_TENSORRT_OTHER;
    CHECK(says(refused(bundle({}), options), "libtrocar was built for"));
    options.library = "/nowhere/libnvinfer.so";
    CHECK(says(refused(bundle({}), options, TROCAR_ERROR_MISSING_EXTRA), "/nowhere"));
    options.library = FAKE_LIBRARY;
    CHECK(says(refused(bundle({}), options), "getInferLibMajorVersion"));
    options = engine_options();
    options.device = "cuda:1";
    CHECK(says(refused(bundle({}), options), "1 GPU"));
    options = engine_options();
    options.precision = "fp32";
    CHECK(says(refused(bundle({}), options), "fp32"));
    // Labels other than the golden frame's.
    CHECK(says(refused(bundle({"engine 24 64 4", {}, "seg 48 64 half", {}}), engine_options(),
                       TROCAR_ERROR_PARITY),
               "golden frame"));
    options = engine_options();
    options.backend = tensorrt_flavour() == "tensorrt" ? "tensorrt-rtx" : "tensorrt";
    CHECK(says(refused(bundle({}), options, TROCAR_ERROR_MISSING_EXTRA), "not compiled in"));
}

void test_log(const std::string &path) {
    std::string heard;
    trocar::Options options = engine_options();
    options.log = [](void *context, std::int32_t, const char *text) {
        *static_cast<std::string *>(context) = text;
    };
    options.log_context = &heard;
    const trocar::Session session(path, options);
    CHECK(heard == "loading");
}

/// Lets every call of CUDA fail, one after the other, while opening and running.
void test_failures(const std::string &path) {
    const auto rgb = fixture::picture(96, 128);
    int failed = 0;
    for (long call = 1; call < 1000; ++call) {
        fake_cuda_fail_at(call);
        bool reached = true;
        try {
            trocar::Session session(path, engine_options());
            for (int i = 0; i < 4; ++i) {
                try {
                    CHECK(session.run({rgb.data(), 128, 96}).instruments().size() == 2);
                } catch (const trocar::Error &error) {
                    CHECK(error.code() == TROCAR_ERROR_BACKEND && says(error.what(), "planted"));
                    ++failed;
                }
            }
            reached = !fake_cuda_pending();
            fake_cuda_fail_at(0);
            CHECK(session.run({rgb.data(), 128, 96}).instruments().size() == 2);
        } catch (const trocar::Error &error) {
            CHECK(error.code() == TROCAR_ERROR_BACKEND && says(error.what(), "planted"));
            ++failed;
        }
        CHECK(fake_cuda_alive() == 0);
        if (!reached) break;
    }
    fake_cuda_fail_at(0);
    std::printf("%d planted failures\n", failed);
    CHECK(failed > 30);
}

void test_all() {
    const fixture::Folder folder;
    const std::string path = with_engine(folder.path / "whole", {});
    test_equal_to_onnxruntime(path);
    test_batches(path);
    test_refusals(folder.path);
    test_log(path);
    test_failures(path);
    std::printf("against the headers of %s %s\n", tensorrt_flavour().c_str(), version().c_str());
}

#else

void test_all() { std::printf("no headers of TensorRT: the driver and the CUDA runtime only\n"); }

#endif

}  // namespace

int main() {
    test_cuda();
    test_all();
    return test::report("tensorrt");
}
