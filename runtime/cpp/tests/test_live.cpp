// The live loop: the newest frame, counts that add up, truthful states, a ring that many read.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "check.hpp"
#include "fake_onnxruntime.hpp"
#include "fixture.hpp"
#include "newest_frame.hpp"
#include "trocar/live.hpp"

namespace {

constexpr int width = 128;
constexpr int height = 96;

trocar::Options session_options() {
    trocar::Options options;
    options.library = FAKE_LIBRARY;
    options.threads = 1;
    return options;
}

trocar::LiveOptions live_options(bool spin = false) {
    trocar::LiveOptions options;
    options.width = width;
    options.height = height;
    options.spin = spin;
    options.outputs = TROCAR_LIVE_LABELS | TROCAR_LIVE_CONFIDENCE | TROCAR_LIVE_INSTRUMENT_MAP;
    options.max_age_ms = 60000;
    return options;
}

void rest(int milliseconds) {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

std::uint64_t settled(const trocar_live_status &status) {
    return status.processed + status.dropped + status.failed;
}

/// Waits until nothing waits or runs.
trocar_live_status when_idle(const trocar::Live &live) {
    trocar_live_status status = live.status();
    for (int i = 0; i < 20000 && settled(status) < status.submitted; ++i) {
        rest(1);
        status = live.status();
    }
    CHECK(settled(status) == status.submitted);
    return status;
}

template <class Call>
std::string refused(trocar_status code, Call call) {
    try {
        call();
    } catch (const trocar::Error &error) {
        CHECK(error.code() == code && !error.remedy().empty());
        return error.what();
    }
    CHECK(false);
    return {};
}

template <class View>
bool same(const View &one, const View &other) {
    return one.size() == other.size() &&
           std::memcmp(one.data(), other.data(), one.size() * sizeof *one.data()) == 0;
}

void test_newest_frame() {
    trocar::detail::NewestFrame frames;
    std::vector<std::uint8_t> rgb(12);
    trocar_frame frame{};
    frame.size = sizeof frame;
    frame.width = frame.height = 2;
    frame.data = rgb.data();
    CHECK(frames.take() == nullptr && !frames.has());
    CHECK(!frames.put(frame, 1, 0, 0));
    CHECK(frames.put(frame, 2, 0, 0) && frames.put(frame, 3, 0, 0));
    CHECK(frames.take()->number == 3 && frames.take() == nullptr);
    // From two threads: numbers rise, and what was put is taken or dropped.
    std::atomic<bool> done{false};
    std::uint64_t dropped = 0;
    std::thread putting([&] {
        for (std::uint64_t i = 4; i < 4004; ++i) {
            std::fill(rgb.begin(), rgb.end(), static_cast<std::uint8_t>(i));
            if (frames.put(frame, i, 0, 0)) ++dropped;
            if (i % 64 == 0) std::this_thread::yield();
        }
        done = true;
    });
    std::uint64_t last = 3;
    std::uint64_t taken = 0;
    for (bool ended = false; !ended;) {
        ended = done;
        while (const trocar::detail::HeldFrame *held = frames.take()) {
            CHECK(held->number > last);
            last = held->number;
            ++taken;
            const auto value = static_cast<std::uint8_t>(held->number);
            CHECK(std::all_of(held->bytes.begin(), held->bytes.end(),
                              [&](std::uint8_t byte) { return byte == value; }));
        }
    }
    putting.join();
    CHECK(last == 4003 && taken + dropped == 4000);
}

/// Every format and stride gives what a plain run of the same frame gives.
void test_equal_to_a_run(const std::string &path) {
    trocar::Session session(path, session_options());
    const auto picture = fixture::picture(height, width);
    std::vector<std::uint8_t> padded(static_cast<std::size_t>(height) * (3 * width + 7));
    std::vector<std::uint8_t> bgra(static_cast<std::size_t>(height) * width * 4);
    std::vector<std::uint8_t> nv12(static_cast<std::size_t>(height) * (width + 16) * 3 / 2, 120);
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
            for (int k = 0; k < 3; ++k) {
                const auto from = static_cast<std::size_t>((y * width + x) * 3 + k);
                padded[static_cast<std::size_t>((height - 1 - y) * (3 * width + 7) + 3 * x + k)] =
                    picture[from];
                bgra[static_cast<std::size_t>((y * width + x) * 4 + 2 - k)] = picture[from];
            }
    for (std::size_t i = 0; i < nv12.size(); i += 3) nv12[i] = static_cast<std::uint8_t>(i);
    trocar::Frame bottom_up(padded.data() + (height - 1) * (3 * width + 7), width, height,
                            TROCAR_RGB, -(3 * width + 7));
    trocar::Frame viewed(picture.data(), width, height);
    viewed.view[0] = 60;
    viewed.view[1] = 50;
    viewed.view[2] = 45;
    trocar::Frame planes(nv12.data(), width, height, TROCAR_NV12, width + 16);
    trocar::Frame apart(nv12.data(), width, height, TROCAR_NV12, width + 8);
    apart.chroma = nv12.data() + 40;
    apart.chroma_stride = width + 2;
    apart.yuv = TROCAR_BT601_FULL;
    const trocar::Frame odd(nv12.data(), width - 1, height - 1, TROCAR_NV12);
    for (const bool spin : {false, true}) {
        const trocar::Live live(session, live_options(spin));
        trocar::LiveResult result;
        for (const trocar::Frame &frame :
             {trocar::Frame(picture.data(), width, height), bottom_up,
              trocar::Frame(bgra.data(), width, height, TROCAR_BGRA), viewed, planes, odd, apart}) {
            const std::int64_t captured = trocar_live_now();
            const std::uint64_t number = live.submit(frame, captured);
            CHECK(live.wait(result, 20000));
            const trocar_live_result &about = result.about();
            CHECK(about.frame == number && about.number == number);
            CHECK(about.width == frame.width && about.height == frame.height);
            CHECK(about.captured_ns == captured);
            CHECK(captured <= about.submitted_ns && about.submitted_ns <= about.started_ns);
            CHECK(about.started_ns < about.finished_ns);
            CHECK(about.age_ms >= static_cast<double>(about.finished_ns - captured) / 1e6);
            const trocar::Result &expected = session.run(frame);
            CHECK(same(result.labels(), expected.labels()));
            CHECK(same(result.confidence(), expected.confidence()));
            CHECK(same(result.instrument_map(), expected.instrument_map()));
            CHECK(same(result.instruments(), expected.instruments()));
            CHECK(result.raw().label_width == 64 && result.raw().infer_ms > 0);
        }
        CHECK(result.about().number == 7 && !live.read(result));
        CHECK(!result.instruments().empty());  // what was read last stays
        const trocar_live_status status = live.status();
        CHECK(status.state == TROCAR_LIVE_RUNNING && status.processed == 7 && status.dropped == 0);
    }
}

void test_frame_size(const std::string &path) {
    trocar::Session session(path, session_options());
    const auto picture = fixture::picture(2 * height, 3 * width);
    trocar::LiveOptions options = live_options();
    options.outputs = TROCAR_LIVE_LABELS;
    const trocar::Live live(session, options);
    // Larger than the options state: taken, too.
    const trocar::Frame frame(picture.data(), 3 * width, 2 * height);
    live.submit(frame);
    CHECK(trocar_live_wait(live.get(), 0, 20000) == 1);
    session.set_label_size(TROCAR_LABELS_FRAME);
    const trocar::Result &expected = session.run(frame);
    std::vector<std::uint8_t> labels(expected.labels().size());
    auto result = trocar::detail::sized<trocar_result>();
    result.label_size = TROCAR_LABELS_FRAME;
    result.labels = labels.data();
    result.label_bytes = labels.size();
    auto about = trocar::detail::sized<trocar_live_result>();
    auto error = trocar::detail::sized<trocar_error>();
    const auto read = [&] {
        return trocar_live_read(live.get(), 0, TROCAR_LIVE_NEWEST, &about, &result, &error);
    };
    CHECK(read() == TROCAR_OK && about.width == 3 * width);
    CHECK(std::memcmp(labels.data(), expected.labels().data(), labels.size()) == 0);
    CHECK(result.instrument_total == expected.instruments().size());
    result.label_bytes = 5;
    CHECK(read() == TROCAR_ERROR_ARGUMENT && std::strstr(error.message, "the buffer has 5"));
    result.labels = nullptr;
    std::vector<float> confidence(64 * 48);
    result.confidence = confidence.data();
    result.confidence_capacity = confidence.size();
    CHECK(read() == TROCAR_ERROR_ARGUMENT && std::strstr(error.message, "does not keep"));
    CHECK(std::strstr(error.remedy, "TROCAR_LIVE_CONFIDENCE") != nullptr);
}

void test_dropped(const std::string &path) {
    trocar::Session session(path, session_options());
    const auto picture = fixture::picture(height, width);
    const trocar::Live live(session, live_options());
    CHECK(live.status().state == TROCAR_LIVE_WAITING && live.status().frame_age_ms == -1);
    constexpr int frames = 400;
    for (int i = 1; i <= frames; ++i)
        CHECK(live.submit({picture.data(), width, height}) == static_cast<std::uint64_t>(i));
    const trocar_live_status status = when_idle(live);
    CHECK(status.submitted == frames && status.failed == 0 && status.processed >= 1);
    trocar::LiveResult result;
    CHECK(live.read(result) && result.about().frame == frames);  // the last one is never dropped
    CHECK(result.about().number == status.processed);
    CHECK(status.result_age_ms > 0 && status.frame_age_ms > 0 && status.run_ms >= 0);
}

void test_states(const std::string &path) {
    trocar::Session session(path, session_options());
    const auto picture = fixture::picture(height, width);
    const trocar::Frame frame(picture.data(), width, height);
    trocar::LiveOptions options = live_options();
    options.max_age_ms = 40;
    const trocar::Live live(session, options);
    trocar::LiveResult result;
    const auto state = [&] { return live.status().state; };
    rest(60);
    CHECK(state() == TROCAR_LIVE_WAITING);  // no frame: nothing is old
    live.submit(frame);
    CHECK(live.wait(result, 20000));
    rest(60);
    CHECK(state() == TROCAR_LIVE_STALE && live.status().result_age_ms > 40);
    // A model that fails is a state, and not the end.
    for (int i = 1; i <= 2; ++i) {
        fake_fail_at(1);
        live.submit(frame);
        const trocar_live_status status = when_idle(live);
        CHECK(status.state == TROCAR_LIVE_FAULT && status.failed_in_row == i);
        CHECK(status.error_code == TROCAR_ERROR_BACKEND);
        CHECK(std::strstr(status.message, "planted") != nullptr && status.remedy[0] != '\0');
        CHECK(!live.read(result));
    }
    live.submit(frame);
    CHECK(live.wait(result, 20000) && result.about().number == 2 && result.about().frame == 4);
    const trocar_live_status status = live.status();
    CHECK(status.state != TROCAR_LIVE_FAULT && status.failed == 2 && status.failed_in_row == 0);
    // The age counts from capture, not from submission.
    live.submit(frame, trocar_live_now() - 1000000000);
    CHECK(live.wait(result, 20000) && result.about().age_ms >= 1000);
    CHECK(state() == TROCAR_LIVE_STALE);
}

/// A model that is slower than the frames are allowed to get old.
void test_slow_model(const std::string &path) {
    trocar::Session session(path, session_options());
    const auto picture = fixture::picture(height, width);
    trocar::LiveOptions options = live_options();
    options.max_age_ms = 20;
    const trocar::Live live(session, options);
    fake_delay(200);
    for (int i = 0; i < 3; ++i) live.submit({picture.data(), width, height});
    bool was_stale = false;
    bool was_running = false;
    for (trocar_live_status status = live.status(); status.processed == 0; status = live.status()) {
        was_stale |= status.state == TROCAR_LIVE_STALE && status.run_ms > 20;
        was_running |= status.state == TROCAR_LIVE_RUNNING;
        rest(1);
    }
    CHECK(was_stale && !was_running);
    trocar::LiveResult result;
    CHECK(live.wait(result, 20000) && result.about().age_ms >= 200);
    CHECK(live.status().state == TROCAR_LIVE_STALE);
    fake_delay(0);
    when_idle(live);
}

/// Many readers, one of which reads all in order, while frames come; a ring of the least size.
void test_ring(const std::string &path) {
    trocar::Session session(path, session_options());
    std::vector<std::uint8_t> pictures[2] = {fixture::picture(height, width),
                                             std::vector<std::uint8_t>(width * height * 3, 40)};
    const std::size_t found[2] = {
        session.run({pictures[0].data(), width, height}).instruments().size(), 0};
    CHECK(found[0] == 2);
    trocar::LiveOptions options = live_options();
    options.ring = 3;
    const trocar::Live live(session, options);
    std::atomic<bool> ended{false};
    std::atomic<long> reads{0}, wrong{0};
    const auto reading = [&](trocar_live_order order) {
        trocar::LiveResult result;
        std::uint64_t last = 0;
        for (bool last_round = false; !last_round;) {
            last_round = ended;
            while (live.wait(result, 1, order)) {
                ++reads;
                // Frames are by turns: a torn result would mix both.
                const std::size_t kind = (result.about().frame + 1) % 2;
                const auto &labels = result.labels();
                const long marked = std::count(labels.begin(), labels.end(), 1);
                if (result.about().number <= last || result.instruments().size() != found[kind] ||
                    (marked > 0) != (kind == 0))
                    ++wrong;
                last = result.about().number;
            }
        }
    };
    std::vector<std::thread> readers;
    for (const auto order : {TROCAR_LIVE_NEWEST, TROCAR_LIVE_NEXT, TROCAR_LIVE_NEWEST})
        readers.emplace_back(reading, order);
    for (int i = 0; i < 600; ++i) {
        live.submit({pictures[i % 2].data(), width, height});
        if (i % 3 == 0) std::this_thread::yield();
    }
    const trocar_live_status status = when_idle(live);
    ended = true;
    for (std::thread &one : readers) one.join();
    CHECK(wrong == 0 && reads > 0 && status.failed == 0);
    CHECK(status.unkept <= status.processed);
}

void test_refusals(const std::string &path) {
    trocar::Session session(path, session_options());
    const auto picture = fixture::picture(height, width);
    const auto opening = [&](auto change) {
        trocar::LiveOptions options = live_options();
        change(options);
        return refused(TROCAR_ERROR_ARGUMENT, [&] { const trocar::Live live(session, options); });
    };
    const auto says = [](const std::string &text, const char *part) {
        if (text.find(part) != std::string::npos) return true;
        std::printf("said: %s\n", text.c_str());
        return false;
    };
    CHECK(says(opening([](auto &o) { o.width = 0; }), "both 0"));
    CHECK(says(opening([](auto &o) { o.height = 40000; }), "40000"));
    CHECK(says(opening([](auto &o) { o.format = static_cast<trocar_format>(7); }), "format is 7"));
    CHECK(says(opening([](auto &o) { o.ring = 2; }), "3..256"));
    CHECK(says(opening([](auto &o) { o.outputs = 8; }), "outputs is 8"));
    CHECK(says(opening([](auto &o) { o.max_instruments = 1U << 20; }), "max_instruments"));
    CHECK(says(opening([](auto &o) { o.max_age_ms = -1; }), "max_age_ms"));
    CHECK(says(opening([](auto &o) { o.max_age_ms = std::nan(""); }), "max_age_ms"));
    // A model that does not take the frames says so at once.
    fake_fail_at(1);
    refused(TROCAR_ERROR_BACKEND, [&] { const trocar::Live live(session, live_options()); });
    const trocar::Live live(session, live_options());
    const trocar::Frame frame(picture.data(), width, height);
    const auto submitting = [&](const trocar::Frame &given, std::int64_t captured = 0) {
        return refused(TROCAR_ERROR_ARGUMENT, [&] { live.submit(given, captured); });
    };
    CHECK(says(submitting(frame, trocar_live_now() + 5000000000), "captured_ns"));
    CHECK(says(submitting(frame, -1), "captured_ns"));
    CHECK(says(submitting({nullptr, width, height}), "NULL"));
    trocar::Frame small = frame;
    small.data_bytes = 7;
    CHECK(says(submitting(small), "the buffer has 7"));
    CHECK(live.status().submitted == 0);
    auto error = trocar::detail::sized<trocar_error>();
    auto about = trocar::detail::sized<trocar_live_result>();
    CHECK(trocar_live_read(live.get(), 0, 2, &about, nullptr, &error) == TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_live_read(live.get(), 0, 0, nullptr, nullptr, &error) == TROCAR_ERROR_ARGUMENT);
    about.size = 4;
    CHECK(trocar_live_read(live.get(), 0, 0, &about, nullptr, &error) == TROCAR_ERROR_ARGUMENT);
    trocar_live_status status{};
    CHECK(trocar_live_get_status(live.get(), &status, &error) == TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_live_get_status(nullptr, &status, nullptr) == TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_live_open(nullptr, nullptr, nullptr, nullptr) == TROCAR_ERROR_ARGUMENT);
    trocar_live *none = nullptr;
    CHECK(trocar_live_open(nullptr, nullptr, &none, nullptr) == TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_live_wait(nullptr, 0, 0) == 0 && trocar_live_wait(live.get(), 0, -5) == 0);
    trocar_live_close(nullptr);
    // An older caller's shorter structs.
    status.size = offsetof(trocar_live_status, message) + 10;
    std::memset(status.message, 'x', sizeof status.message);
    CHECK(trocar_live_get_status(live.get(), &status, &error) == TROCAR_OK);
    CHECK(status.message[9] == '\0' && status.message[10] == 'x');
}

void test_classifier(const std::filesystem::path &folder) {
    const std::string path = fixture::write_bundle(folder / "cls", "cls 3 5 single");
    trocar::Session session(path, session_options());
    const auto picture = fixture::picture(height, width);
    trocar::LiveOptions options = live_options();
    options.outputs = 0;
    const trocar::Live live(session, options);
    const trocar::Frame frame(picture.data(), width, height);
    live.submit(frame);
    trocar::LiveResult result;
    CHECK(live.wait(result, 20000));
    const trocar::Result &expected = session.run(frame);
    CHECK(same(result.scores(), expected.scores()) && result.scores().size() == 3);
    CHECK(same(result.embedding(), expected.embedding()) && result.embedding().size() == 5);
    CHECK(result.instruments().empty());
}

}  // namespace

int main() {
    const fixture::Folder folder;
    const std::string path = fixture::write_bundle(folder.path / "seg", "seg 48 64 half");
    test_newest_frame();
    test_equal_to_a_run(path);
    test_frame_size(path);
    test_dropped(path);
    test_states(path);
    test_slow_model(path);
    test_ring(path);
    test_refusals(path);
    test_classifier(folder.path);
    CHECK(fake_alive() == 0);
    return test::report("live");
}
