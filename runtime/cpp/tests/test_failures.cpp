// Every failure path of opening and running: each call into ONNX Runtime and each allocation of
// libtrocar's own is made to fail, one after the other. Nothing leaks, nothing escapes, and what
// failed once works the next time.
#include <string>
#include <vector>

#include "check.hpp"
#include "failing_memory.hpp"
#include "fake_onnxruntime.hpp"
#include "fixture.hpp"
#include "session_kit.hpp"

using namespace kit;

namespace {

bool holds(const char *message, const char *text) {
    return std::string(message).find(text) != std::string::npos;
}

/// What a run of the fixture's picture gives where nothing fails.
bool right(const trocar_result &result, bool segmentation) {
    return segmentation ? result.instrument_count == 2 : result.scores[0] == 180;
}

/// Opens and runs with the n-th `plan`ned call failing, for all n until nothing is left to fail.
/// `done` says whether the n-th call was never reached.
template <class Plan, class Done, class Told>
int each_fails(const std::string &path, bool segmentation, Plan plan, Done done, Told told) {
    const auto rgb = fixture::picture(96, 128);
    const trocar_frame frame = frame_of(rgb, 96, 128);
    int failed = 0;
    for (long call = 1; call < 20000; ++call) {
        const long before = fake_alive();
        bool finished = false;
        {
            Room room;
            const trocar_options options = options_for();
            trocar_session *session = nullptr;
            trocar_error error{};
            error.size = sizeof error;
            plan(call);
            trocar_status status = trocar_session_open(path.c_str(), &options, &session, &error);
            CHECK((session != nullptr) == (status == TROCAR_OK));
            if (status == TROCAR_OK)
                status = trocar_session_run(session, &frame, 1, &room.result, &error);
            finished = done();
            CHECK(error.code == status);
            // Freeing a text is the one call whose failure changes nothing.
            if (status == TROCAR_OK) {
                CHECK(right(room.result, segmentation));
            } else {
                CHECK(!finished && told(error));
                CHECK(!holds(error.message, "\n") && error.remedy[0] != '\0');
                ++failed;
            }
            if (status != TROCAR_OK && session != nullptr) {
                // What failed once is not broken for ever.
                CHECK(trocar_session_run(session, &frame, 1, &room.result, nullptr) == TROCAR_OK);
                CHECK(right(room.result, segmentation));
            }
            trocar_session_close(session);
        }
        CHECK(fake_alive() == before);
        if (finished) return failed;
    }
    CHECK(false);
    return failed;
}

void test_calls(const std::string &path, bool segmentation) {
    const int failed = each_fails(
        path, segmentation, fake_fail_at,
        [] {
            const bool pending = fake_pending();
            fake_fail_at(0);
            return pending;
        },
        [](const trocar_error &error) {
            return (error.code == TROCAR_ERROR_BACKEND || error.code == TROCAR_ERROR_BUNDLE) &&
                   holds(error.message, "planted");
        });
    std::printf("%d planted failures of ONNX Runtime\n", failed);
    CHECK(failed > 30);
}

void test_memory(const std::string &path, bool segmentation) {
    const int failed = each_fails(
        path, segmentation, failing_memory::at,
        [] {
            const bool pending = failing_memory::pending();
            failing_memory::at(0);
            return pending;
        },
        [](const trocar_error &error) {
            return error.code == TROCAR_ERROR && holds(error.message, "memory");
        });
    std::printf("%d planted failures of memory\n", failed);
    CHECK(failed > 100);
}

}  // namespace

int main(int count, char **arguments) {
    library = count > 1 ? arguments[1] : FAKE_LIBRARY;
    const fixture::Folder folder;
    const auto bundle = [&](const char *name, const char *model, const std::string &classes = "") {
        return fixture::write_bundle(folder.path / name, model, 48, 64, classes);
    };
    // The library is loaded, and libtrocar's tables are made, once for all.
    {
        const Opened first(bundle("first", "seg 48 64 half"));
    }
    for (const char *kind : {"seg 48 64 half", "seg 48 64 single"}) {
        const std::string path = bundle("seg", kind);
        test_calls(path, true);
        test_memory(path, true);
    }
    const std::string enrolled = bundle("cls", "cls 3 5 half", fixture::class_state(4));
    test_calls(enrolled, false);
    test_memory(enrolled, false);
    CHECK(fake_alive() == 0);
    return test::report("failures");
}
