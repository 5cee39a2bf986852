// Sessions on the stand-in library: results, formats, old structs, wrong arguments.
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "check.hpp"
#include "fake_onnxruntime.hpp"
#include "fixture.hpp"
#include "session_kit.hpp"
#include "trocar/trocar.hpp"

using namespace kit;

namespace {

void test_segmentation(const std::string &path) {
    Opened opened(path);
    CHECK(opened.status == TROCAR_OK);
    if (opened.session == nullptr) {
        std::printf("%s\n", opened.error.message);
        return;
    }
    trocar_info info{};
    info.size = sizeof info;
    CHECK(trocar_session_info(opened.session, &info, nullptr) == TROCAR_OK);
    CHECK(info.network_height == 48 && info.network_width == 64 && info.golden == 1);
    CHECK(std::string(info.library) == "ONNX Runtime 1.21.0");
    trocar_class row{};
    row.size = sizeof row;
    CHECK(trocar_session_class(opened.session, 1, &row, nullptr) == TROCAR_OK);
    CHECK(std::string(row.name) == "grasper" && row.colour[2] == 3 && row.instrument == 1);
    CHECK(trocar_session_class(opened.session, 3, &row, nullptr) == TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_session_class(opened.session, -1, &row, nullptr) == TROCAR_ERROR_ARGUMENT);

    const auto rgb = fixture::picture(96, 128);
    Room room;
    const trocar_frame frame = frame_of(rgb, 96, 128);
    CHECK(trocar_session_run(opened.session, &frame, 1, &room.result, &opened.error) == TROCAR_OK);
    CHECK(room.result.instrument_count == 2 && room.result.instrument_total == 2);
    CHECK(room.found[0].class_id == 1 && room.found[1].class_id == 2);
    CHECK(room.found[0].touches_border == 1 && room.found[0].tip_count == 1);
    CHECK(room.found[0].size == sizeof(trocar_instrument));
    CHECK(room.result.label_width == 64 && room.result.label_height == 48);
    CHECK(room.labels[0] == 0 && room.labels[20 * 64] == 1);
}

/// The same picture in every format and both directions gives the same labels.
void test_formats(const std::string &path) {
    Opened opened(path);
    const auto rgb = fixture::picture(48, 64);
    Room expected;
    const trocar_frame plain = frame_of(rgb, 48, 64);
    CHECK(trocar_session_run(opened.session, &plain, 1, &expected.result, nullptr) == TROCAR_OK);
    const std::pair<int, std::array<int, 3>> formats[] = {
        {TROCAR_BGR, {2, 1, 0}}, {TROCAR_RGBA, {0, 1, 2}}, {TROCAR_BGRA, {2, 1, 0}}};
    for (const auto &[format, place] : formats) {
        const std::size_t step = format == TROCAR_BGR ? 3 : 4;
        for (const bool upside_down : {false, true}) {
            const std::size_t stride = 64 * step + 5;
            std::vector<std::uint8_t> data(stride * 48);
            for (std::size_t y = 0; y < 48; ++y)
                for (std::size_t x = 0; x < 64; ++x)
                    for (std::size_t k = 0; k < 3; ++k)
                        data[(upside_down ? 47 - y : y) * stride + x * step +
                             static_cast<std::size_t>(place[k])] = rgb[(y * 64 + x) * 3 + k];
            trocar_frame frame = frame_of(data, 48, 64, format);
            frame.stride = static_cast<std::ptrdiff_t>(stride);
            if (upside_down) {
                frame.data += 47 * stride;
                frame.stride = -frame.stride;
            }
            Room room;
            CHECK(trocar_session_run(opened.session, &frame, 1, &room.result, nullptr) ==
                  TROCAR_OK);
            CHECK(room.labels == expected.labels);
        }
    }
    // Grey 235 in limited range is white, whatever the matrix; in two planes and in one piece.
    std::vector<std::uint8_t> nv12(64 * 48 * 3 / 2, 128);
    std::fill_n(nv12.begin(), 64 * 48, 235);
    for (int yuv = 0; yuv < 6; ++yuv) {
        trocar_frame frame = frame_of(nv12, 48, 64, TROCAR_NV12);
        frame.yuv = yuv;
        Room room;
        CHECK(trocar_session_run(opened.session, &frame, 1, &room.result, nullptr) == TROCAR_OK);
        const bool limited = yuv < 2 || yuv == TROCAR_BT2020_LIMITED;
        CHECK(room.confidence[0] == (limited ? 1.0F : room.confidence[0]));
        frame.chroma = nv12.data() + 64 * 48;
        frame.chroma_stride = 64;
        Room other;
        CHECK(trocar_session_run(opened.session, &frame, 1, &other.result, nullptr) == TROCAR_OK);
        CHECK(room.labels == other.labels);
    }
}

void test_arguments(const std::string &path) {
    Opened opened(path);
    const auto rgb = fixture::picture(96, 128);
    {
        trocar_frame exact = frame_of(rgb, 96, 128);
        exact.data_bytes = rgb.size();
        Room room;
        CHECK(trocar_session_run(opened.session, &exact, 1, &room.result, nullptr) == TROCAR_OK);
    }
    const auto refused = [&](auto change) {
        trocar_frame frame = frame_of(rgb, 96, 128);
        Room room;
        change(frame, room);
        const trocar_status status =
            trocar_session_run(opened.session, &frame, 1, &room.result, &opened.error);
        CHECK(opened.error.code == status && opened.error.message[0] != '\0' &&
              opened.error.remedy[0] != '\0');
        return status == TROCAR_ERROR_ARGUMENT;
    };
    CHECK(refused([](auto &frame, auto &) { frame.size = 8; }));
    CHECK(refused([](auto &frame, auto &) { frame.format = 6; }));
    CHECK(refused([](auto &frame, auto &) { frame.format = -1; }));
    CHECK(refused([](auto &frame, auto &) { frame.width = 0; }));
    CHECK(refused([](auto &frame, auto &) { frame.height = -4; }));
    CHECK(refused([](auto &frame, auto &) { frame.width = 32769; }));
    CHECK(refused([](auto &frame, auto &) { frame.data = nullptr; }));
    CHECK(refused([](auto &frame, auto &) { frame.stride = 128 * 3 - 1; }));
    CHECK(refused([](auto &frame, auto &) { frame.stride = -1; }));
    CHECK(refused([](auto &frame, auto &) { frame.stride = std::ptrdiff_t{1} << 58; }));
    CHECK(refused(
        [](auto &frame, auto &) { frame.stride = std::numeric_limits<std::ptrdiff_t>::min(); }));
    CHECK(refused([](auto &frame, auto &) { frame.data_bytes = 128 * 96 * 3 - 1; }));
    for (int i = 0; i < 3; ++i) {
        CHECK(refused([i](auto &frame, auto &) { frame.view[i] = std::nan(""); }));
        CHECK(refused([i](auto &frame, auto &) { frame.view[i] = HUGE_VAL; }));
    }
    CHECK(refused([](auto &frame, auto &) { frame.view[2] = -1; }));
    CHECK(refused([](auto &, auto &room) { room.result.label_stride = std::ptrdiff_t{1} << 58; }));
    CHECK(refused([](auto &, auto &room) { room.result.label_stride = -64; }));
    CHECK(refused([](auto &frame, auto &) {
        frame.format = TROCAR_NV12;
        frame.width = frame.stride = frame.chroma_stride = 127;  // a row of UV has 128
    }));
    CHECK(refused([](auto &frame, auto &) {
        frame.format = TROCAR_NV12;
        frame.yuv = 6;
    }));
    CHECK(refused([](auto &frame, auto &) {
        frame.format = TROCAR_NV12;
        frame.stride = -128;
    }));
    CHECK(refused([](auto &, auto &room) { room.result.size = 16; }));
    CHECK(refused([](auto &, auto &room) { room.result.label_size = 2; }));
    CHECK(refused([](auto &, auto &room) { room.result.label_bytes = 64 * 48 - 1; }));
    CHECK(refused([](auto &, auto &room) { room.result.label_stride = 63; }));
    CHECK(refused([](auto &, auto &room) { room.result.confidence_capacity = 5; }));
    CHECK(refused([](auto &, auto &room) { room.result.instrument_size = 4; }));
    CHECK(refused([](auto &, auto &room) { room.result.label_size = TROCAR_LABELS_FRAME; }));

    Room room;
    const trocar_frame frame = frame_of(rgb, 96, 128);
    CHECK(trocar_session_run(nullptr, &frame, 1, &room.result, nullptr) == TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_session_run(opened.session, nullptr, 1, &room.result, nullptr) ==
          TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_session_run(opened.session, &frame, 1, nullptr, nullptr) == TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_session_run(opened.session, &frame, 0, &room.result, nullptr) ==
          TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_session_run(opened.session, &frame, 65, &room.result, nullptr) ==
          TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_session_info(opened.session, nullptr, nullptr) == TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_check_manifest(nullptr, 3, nullptr) == TROCAR_ERROR_ARGUMENT);
    CHECK(trocar_session_open(path.c_str(), nullptr, nullptr, nullptr) == TROCAR_ERROR_ARGUMENT);
    trocar_session *session = opened.session;
    CHECK(trocar_session_open(nullptr, nullptr, &session, nullptr) == TROCAR_ERROR_ARGUMENT);
    CHECK(session == nullptr);
    trocar_session_close(nullptr);
    // After all these refusals the session still works.
    CHECK(trocar_session_run(opened.session, &frame, 1, &room.result, nullptr) == TROCAR_OK);
}

/// Callers of another version: shorter and longer structs than this library's.
void test_other_versions(const std::string &path) {
    Opened opened(path);
    const auto rgb = fixture::picture(48, 64);
    trocar_frame frame = frame_of(rgb, 48, 64);
    frame.size = offsetof(trocar_frame, view);
    std::vector<char> longer(2 * (sizeof(trocar_instrument) + 24), '\x55');
    Room room;
    room.result.size = offsetof(trocar_result, convert_ms);
    room.result.convert_ms = -1;
    room.result.instruments = reinterpret_cast<trocar_instrument *>(longer.data());
    room.result.instrument_size = sizeof(trocar_instrument) + 24;
    room.result.instrument_capacity = 2;
    CHECK(trocar_session_run(opened.session, &frame, 1, &room.result, nullptr) == TROCAR_OK);
    CHECK(room.result.convert_ms == -1 && room.result.instrument_count == 2);
    trocar_instrument second;
    std::memcpy(&second, longer.data() + room.result.instrument_size, sizeof second);
    CHECK(second.class_id == 2 && longer[sizeof(trocar_instrument)] == '\x55');

    char shorter[2][offsetof(trocar_instrument, area)];
    room.result.instruments = reinterpret_cast<trocar_instrument *>(shorter);
    room.result.instrument_size = sizeof shorter[0];
    CHECK(trocar_session_run(opened.session, &frame, 1, &room.result, nullptr) == TROCAR_OK);
    std::uint32_t written = 0;
    std::memcpy(&written, shorter[1], sizeof written);
    CHECK(written == sizeof shorter[0]);

    struct {
        std::uint32_t size;
        std::int32_t code;
        char message[12];
    } small{sizeof small, 0, {}};
    trocar_session *none = nullptr;
    CHECK(trocar_session_open("/nowhere", nullptr, &none,
                              reinterpret_cast<trocar_error *>(&small)) == TROCAR_ERROR_BUNDLE);
    CHECK(small.code == TROCAR_ERROR_BUNDLE && small.message[11] == '\0');
}

void test_batch_and_classes(const std::string &seg, const std::string &cls) {
    Opened opened(seg);
    const auto first = fixture::picture(48, 64);
    std::vector<std::uint8_t> second(first.size(), 10);
    const trocar_frame frames[] = {frame_of(first, 48, 64), frame_of(second, 48, 64)};
    Room rooms[2];
    trocar_result results[] = {rooms[0].result, rooms[1].result};
    CHECK(trocar_session_run(opened.session, frames, 2, results, nullptr) == TROCAR_OK);
    CHECK(results[0].instrument_count == 2 && results[1].instrument_count == 0);
    trocar_frame mixed[] = {frames[0], frame_of(second, 24, 128)};
    CHECK(trocar_session_run(opened.session, mixed, 2, results, nullptr) == TROCAR_ERROR_ARGUMENT);

    Opened classifier(cls);
    CHECK(classifier.status == TROCAR_OK);
    trocar_info info{};
    info.size = sizeof info;
    CHECK(trocar_session_info(classifier.session, &info, nullptr) == TROCAR_OK);
    CHECK(info.score_count == 3 && info.embedding_count == 5);
    float scores[3];
    float embedding[5];
    trocar_result result{};
    result.size = sizeof result;
    result.scores = scores;
    result.score_capacity = 3;
    result.embedding = embedding;
    result.embedding_capacity = 5;
    CHECK(trocar_session_run(classifier.session, frames, 1, &result, nullptr) == TROCAR_OK);
    CHECK(scores[0] == first[0] && embedding[4] == first[4] && result.instrument_count == 0);
    result.score_capacity = 2;
    CHECK(trocar_session_run(classifier.session, frames, 1, &result, nullptr) ==
          TROCAR_ERROR_ARGUMENT);
}

void test_log(const std::string &path) {
    std::string heard;
    trocar_options options = options_for();
    options.log = [](void *context, std::int32_t, const char *text) {
        *static_cast<std::string *>(context) = text;
    };
    options.log_context = &heard;
    trocar_session *session = nullptr;
    CHECK(trocar_session_open(path.c_str(), &options, &session, nullptr) == TROCAR_OK);
    CHECK(heard == "fake loaded");
    trocar_session_close(session);
}

/// A log that calls the library back is refused; it would wait for its own thread.
void test_log_that_calls_back(const std::string &path) {
    struct Heard {
        std::string path;
        std::vector<trocar_status> codes;
    } heard{path, {}};
    trocar_options options = options_for();
    options.log = [](void *context, std::int32_t, const char *) {
        auto &self = *static_cast<Heard *>(context);
        const trocar_options plain = options_for();
        trocar_session *inner = nullptr;
        self.codes.push_back(trocar_session_open(self.path.c_str(), &plain, &inner, nullptr));
        CHECK(inner == nullptr);
    };
    options.log_context = &heard;
    trocar_session *session = nullptr;
    CHECK(trocar_session_open(path.c_str(), &options, &session, nullptr) == TROCAR_OK);
    CHECK(heard.codes == std::vector<trocar_status>{TROCAR_ERROR_ARGUMENT});
    trocar_session_close(session);
}

void test_wrapper(const std::string &path) {
    trocar::Options options;
    options.library = library;
    options.threads = 1;
    trocar::Session session(path, options);
    const auto rgb = fixture::picture(96, 128);
    const trocar::Frame frame(rgb.data(), 128, 96);
    const trocar::Result &result = session.run(frame);
    CHECK(result.instruments().size() == 2 && result.labels().size() == 48 * 64);
    CHECK(session.class_row(1).name == "grasper");
    CHECK(result.instruments()[0].class_id == 1);
    trocar::Session moved = std::move(session);
    CHECK(moved.run(frame).instruments().size() == 2);
    try {
        trocar::Session none("/nowhere", options);
        CHECK(false);
    } catch (const trocar::Error &error) {
        CHECK(error.code() == TROCAR_ERROR_BUNDLE && !error.remedy().empty());
    }
}

}  // namespace

int main(int count, char **arguments) {
    library = count > 1 ? arguments[1] : FAKE_LIBRARY;
    const fixture::Folder folder;
    for (const char *kind : {"half", "single", "byte", "none"}) {
        const std::string path =
            fixture::write_bundle(folder.path / kind, std::string("seg 48 64 ") + kind);
        if (std::string(kind) == "none") continue;
        test_segmentation(path);
    }
    const std::string seg = (folder.path / "half").string();
    const std::string cls = fixture::write_bundle(folder.path / "cls", "cls 3 5 single");
    test_formats(seg);
    test_arguments(seg);
    test_other_versions(seg);
    test_batch_and_classes(seg, cls);
    test_log(seg);
    test_log_that_calls_back(seg);
    test_wrapper(seg);
    CHECK(fake_alive() == 0);
    CHECK(std::string(trocar_version()) == "0.1.0" && trocar_abi_version() == TROCAR_ABI_VERSION);
    return test::report("session");
}
