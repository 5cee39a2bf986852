// The TensorRT backend's buffers, shapes, graph and failures on a stand-in engine and a stand-in
// CUDA, and the choice of the engine that fits.
#include <cstring>
#include <functional>
#include <vector>

#include "check.hpp"
#include "engine.hpp"
#include "engine_choice.hpp"
#include "error.hpp"
#include "fixture.hpp"
#include "tensorrt.hpp"

using namespace trocar::detail;

namespace {

/// What both stand-ins share: calls that are recorded, counted and made to fail.
struct World {
    int alive = 0;
    int fail_at = 0;
    int launches = 0;
    int enqueued = 0;
    int captures = 0;
    bool capturing = false;
    bool recordable = true;
    bool known_sizes = true;
    Type input = Type::byte;
    std::vector<std::int64_t> shape;
    std::vector<std::pair<std::string, void *>> addresses;
    std::vector<std::function<void()>> pending, graph;

    void step() {
        if (fail_at > 0 && --fail_at == 0) throw Error(TROCAR_ERROR_BACKEND, "planted", "nothing");
    }
    void submit(const std::function<void()> &work) {
        if (capturing)
            graph.push_back(work);
        else
            pending.push_back(work);
    }
    void *address(const std::string &name) const {
        void *found = nullptr;
        for (const auto &[other, memory] : addresses)
            if (other == name) found = memory;
        return found;
    }
};

class FakeCuda final : public Cuda {
  public:
    explicit FakeCuda(World &world) : world_(world) {}
    void enter() override { world_.step(); }
    void *pinned(std::size_t bytes) override { return take(bytes); }
    void *device(std::size_t bytes) override { return take(bytes); }
    void release_pinned(void *memory) noexcept override { give(memory); }
    void release_device(void *memory) noexcept override { give(memory); }
    void to_device(void *to, const void *from, std::size_t bytes) override {
        copy(to, from, bytes);
    }
    void to_host(void *to, const void *from, std::size_t bytes) override { copy(to, from, bytes); }
    void *stream() override { return this; }
    void wait() override {
        world_.step();
        for (const auto &work : world_.pending) work();
        world_.pending.clear();
    }
    void begin_capture() override {
        world_.step();
        world_.graph.clear();
        world_.capturing = true;
        ++world_.captures;
    }
    void *end_capture() override {
        world_.capturing = false;
        if (!world_.recordable) return nullptr;
        ++world_.alive;
        return &world_;
    }
    void launch(void *) override {
        world_.step();
        ++world_.launches;
        for (const auto &work : world_.graph) world_.pending.push_back(work);
    }
    void release_graph(void *graph) noexcept override {
        if (graph != nullptr) --world_.alive;
    }

  private:
    void *take(std::size_t bytes) {
        world_.step();
        ++world_.alive;
        return std::malloc(bytes + 1);
    }
    void give(void *memory) noexcept {
        --world_.alive;
        std::free(memory);
    }
    void copy(void *to, const void *from, std::size_t bytes) {
        world_.step();
        world_.submit([=] { std::memcpy(to, from, bytes); });
    }
    World &world_;
};

/// Labels are the first byte of each pixel, at the frame's size; takes up to 4 frames.
class FakeEngine final : public Engine {
  public:
    explicit FakeEngine(World &world) : world_(world) {}
    std::vector<Port> ports() const override {
        return {{"frame", true, world_.input}, {"labels", false, Type::byte}};
    }
    bool set_input_shape(const std::string &, const std::vector<std::int64_t> &shape) override {
        world_.shape = shape;
        return shape[0] <= 4;
    }
    std::vector<std::int64_t> shape_of(const std::string &name) const override {
        if (name == "frame") return world_.shape;
        return {world_.shape[0], world_.known_sizes ? world_.shape[1] : -1, world_.shape[2]};
    }
    bool set_address(const std::string &name, void *device) override {
        world_.step();
        world_.addresses.emplace_back(name, device);
        return true;
    }
    bool enqueue(void *) override {
        if (world_.fail_at > 0 && --world_.fail_at == 0) return false;
        ++world_.enqueued;
        const auto *in = static_cast<const std::uint8_t *>(world_.address("frame"));
        auto *out = static_cast<std::uint8_t *>(world_.address("labels"));
        const auto count = world_.shape[0] * world_.shape[1] * world_.shape[2];
        world_.submit([=] {
            for (std::int64_t i = 0; i < count; ++i) out[i] = in[3 * i];
        });
        return true;
    }
    std::string profile() const override { return "1x1x1x3 to 4x9x9x3"; }
    std::string library() const override { return "stand-in"; }

  private:
    World &world_;
};

std::unique_ptr<Backend> made(World &world) {
    return run_engine(std::make_unique<FakeCuda>(world), std::make_unique<FakeEngine>(world));
}

bool right(Backend &backend, std::uint8_t value, int count, int height, int width) {
    const auto pixels = static_cast<std::size_t>(count) * static_cast<std::size_t>(height * width);
    const std::vector<std::uint8_t> rgb(3 * pixels, value);
    const Tensor &labels = backend.run(rgb.data(), count, height, width)[0];
    const auto *out = static_cast<const std::uint8_t *>(labels.data);
    return labels.shape == std::vector<std::int64_t>{count, height, width} && out[0] == value &&
           out[pixels - 1] == value;
}

template <class Call>
trocar_status status_of(Call call) {
    try {
        call();
    } catch (const Error &error) {
        return error.code;
    }
    return TROCAR_OK;
}

void test_graph() {
    World world;
    {
        const auto backend = made(world);
        for (std::uint8_t i = 1; i < 6; ++i) CHECK(right(*backend, i, 1, 4, 5));
        // The first run plain, the second recorded, the rest replayed.
        CHECK(world.captures == 1 && world.enqueued == 2 && world.launches == 4);
        CHECK(right(*backend, 9, 2, 3, 3) && world.captures == 1);
        CHECK(right(*backend, 8, 2, 3, 3) && world.captures == 2);
        CHECK(status_of([&] { right(*backend, 1, 5, 3, 3); }) == TROCAR_ERROR_BACKEND);
        CHECK(right(*backend, 7, 1, 4, 5));
        CHECK(status_of([&] { backend->set_inputs({}); }) == TROCAR_ERROR_BACKEND);
    }
    CHECK(world.alive == 0);
    World plain;
    plain.recordable = false;
    {
        const auto backend = made(plain);
        for (std::uint8_t i = 1; i < 6; ++i) CHECK(right(*backend, i, 1, 4, 5));
        CHECK(plain.captures == 1 && plain.launches == 0);
    }
    CHECK(plain.alive == 0);
}

/// Every call of CUDA and of the engine fails in turn; nothing stays behind, the next run is right.
void test_failures() {
    int failed = 0;
    for (int call = 1; call < 200; ++call) {
        World world;
        {
            const auto backend = made(world);
            world.fail_at = call;
            for (std::uint8_t i = 1; i < 4; ++i)
                if (status_of([&] { CHECK(right(*backend, i, 1, 4, 5)); }) == TROCAR_ERROR_BACKEND)
                    ++failed;
            world.fail_at = 0;
            world.pending.clear();
            CHECK(right(*backend, 77, 1, 4, 5) && right(*backend, 78, 1, 4, 5));
        }
        CHECK(world.alive == 0);
    }
    CHECK(failed >= 15);
    World unknown;
    unknown.known_sizes = false;
    CHECK(status_of([&] { right(*made(unknown), 1, 1, 2, 2); }) == TROCAR_ERROR_BACKEND);
    CHECK(unknown.alive == 0);
    World floats;
    floats.input = Type::single;
    CHECK(status_of([&] { made(floats); }) == TROCAR_ERROR_BUNDLE);
    World other;
    other.input = Type::other;
    CHECK(status_of([&] { made(other); }) == TROCAR_ERROR_BUNDLE);
}

std::string sidecar(const std::string &changes = "") {
    return R"({"schema": "1.0", "flavour": "tensorrt", "version": "10.16.1.11", "onnx_sha256": "aa",
 "engine_sha256": "bb", "precision": "fp16", "precision_found": "fp16", "gpu": "NVIDIA L4",
 "capability": "8.9", "platform": "linux-x86_64")" +
           changes + "}";
}

void test_choice() {
    const EngineEnvironment l4{"tensorrt",     "10.16.1.11", "NVIDIA L4", "8.9",
                               "linux-x86_64", "",           0,           0};
    const auto reasons = [&](const std::string &changes,
                             const std::function<void(EngineEnvironment &)> &change) {
        EngineEnvironment here = l4;
        change(here);
        return engine_reasons(sidecar(changes), "x.json", "aa", "bb", here).size();
    };
    const auto same = [](EngineEnvironment &) {};
    CHECK(reasons("", same) == 0);
    CHECK(reasons("", [](EngineEnvironment &here) { here.precision = "fp16"; }) == 0);
    CHECK(reasons("", [](EngineEnvironment &here) { here.precision = "fp32"; }) == 1);
    CHECK(reasons("", [](EngineEnvironment &here) { here.flavour = "tensorrt-rtx"; }) == 1);
    CHECK(reasons("", [](EngineEnvironment &here) { here.version = "10.16.1.12"; }) == 1);
    const auto later = [](EngineEnvironment &here) { here.version = "10.17.0.1"; };
    CHECK(reasons("", later) == 1);
    CHECK(reasons(R"(, "version_compatible": true)", later) == 0);
    CHECK(reasons(R"(, "version_compatible": true)",
                  [](EngineEnvironment &h) { h.version = "10.2.0.1"; }) == 1);
    CHECK(reasons(R"(, "version_compatible": true)",
                  [](EngineEnvironment &h) { h.version = "11.0.0.1"; }) == 1);
    const auto a10 = [](EngineEnvironment &here) {
        here.gpu = "NVIDIA A10";
        here.capability = "8.6";
    };
    CHECK(reasons("", a10) == 1);
    CHECK(reasons(R"(, "hardware": "ampere-and-later")", a10) == 0);
    CHECK(reasons(R"(, "hardware": "ampere-and-later")",
                  [](EngineEnvironment &h) { h.capability = "7.5"; }) == 1);
    CHECK(reasons(R"(, "hardware": "any-rtx")", a10) == 0);
    CHECK(reasons(R"(, "hardware": "any-rtx")",
                  [](EngineEnvironment &h) { h.capability = "9.0"; }) == 1);
    CHECK(reasons("", [](EngineEnvironment &here) { here.gpu = "NVIDIA L40"; }) == 1);
    CHECK(reasons(R"(, "hardware": "same-capability")",
                  [](EngineEnvironment &h) { h.gpu = "NVIDIA L40"; }) == 0);
    CHECK(reasons("", [](EngineEnvironment &here) { here.platform = "linux-aarch64"; }) == 1);
    CHECK(reasons("", [](EngineEnvironment &here) { here.gpu = here.capability = ""; }) == 1);
    CHECK(reasons(R"(, "stripped": true)", same) == 1);
    const char *profile = R"(, "profile": {"minimum": [1, 720, 1280], "optimum": [1, 720, 1280],
 "maximum": [2, 1080, 1920]})";
    const auto frames = [](int height, int width) {
        return [=](EngineEnvironment &here) {
            here.height = height;
            here.width = width;
        };
    };
    CHECK(reasons(profile, frames(1080, 1920)) == 0);
    CHECK(reasons(profile, frames(480, 640)) == 1);
    CHECK(status_of([&] { reasons(R"(, "profile": {"minimum": [1, 720]})", frames(480, 640)); }) ==
          TROCAR_ERROR_BUNDLE);
    CHECK(engine_reasons(sidecar(), "x.json", "other", "bb", l4).size() == 1);
    CHECK(status_of([&] { engine_reasons(sidecar(), "x.json", "aa", "cc", l4); }) ==
          TROCAR_ERROR_BUNDLE);
    CHECK(status_of([&] { engine_reasons("{", "x.json", "aa", "bb", l4); }) == TROCAR_ERROR_BUNDLE);
    CHECK(status_of([&] {
              engine_reasons(sidecar(R"(, "schema": "2.0")"), "x", "aa", "bb", l4);
          }) == TROCAR_ERROR_VERSION);
    CHECK(status_of([&] { engine_reasons(sidecar(R"(, "stripped": 1)"), "x", "aa", "bb", l4); }) ==
          TROCAR_ERROR_BUNDLE);
}

/// TensorRT requested but not available: the reason is stated, and no other backend is opened.
void test_missing_tensorrt() {
    const fixture::Folder folder;
    const std::string path = fixture::write_bundle(folder.path / "b", "seg 48 64 half");
    for (const char *backend : {"tensorrt", "tensorrt-rtx"}) {
        trocar_options options{};
        options.size = sizeof options;
        options.backend = backend;
        trocar_session *session = nullptr;
        trocar_error error{};
        error.size = sizeof error;
        const trocar_status status = trocar_session_open(path.c_str(), &options, &session, &error);
        // No engine in the bundle, and as a rule no GPU; without headers not compiled in.
        CHECK(status ==
              (tensorrt_flavour() == backend ? TROCAR_ERROR_BACKEND : TROCAR_ERROR_MISSING_EXTRA));
        CHECK(session == nullptr && error.remedy[0] != '\0');
        trocar_session_close(session);
    }
}

}  // namespace

int main() {
    test_graph();
    test_failures();
    test_choice();
    test_missing_tensorrt();
    return test::report("engine");
}
