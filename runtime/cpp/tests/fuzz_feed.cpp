#include "fuzz_feed.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine_choice.hpp"
#include "error.hpp"
#include "fixture.hpp"
#include "npz.hpp"
#include "trocar/trocar.h"

namespace fuzz {

namespace {

/// One folder for the whole run; files in it are replaced.
const std::filesystem::path &folder() {
    static const fixture::Folder made;
    return made.path;
}

void open(const std::string &path) {
    trocar_options options{};
    options.size = sizeof options;
    options.library = FAKE_LIBRARY;
    options.threads = 1;
    trocar_session *session = nullptr;
    trocar_error error{};
    error.size = sizeof error;
    const trocar_status status = trocar_session_open(path.c_str(), &options, &session, &error);
    const bool known = status == TROCAR_OK || status == TROCAR_ERROR_BUNDLE ||
                       status == TROCAR_ERROR_INTEGRITY || status == TROCAR_ERROR_VERSION ||
                       status == TROCAR_ERROR_PARITY || status == TROCAR_ERROR_BACKEND;
    // Anything else would be an exception that nobody foresaw.
    if (!known || error.code != status || (session != nullptr) != (status == TROCAR_OK)) {
        std::printf("status %d: %s\n", static_cast<int>(status), error.message);
        std::abort();
    }
    trocar_session_close(session);
}

template <class Call>
void refused_or_not(Call call) {
    try {
        call();
    } catch (const trocar::detail::Error &) {
    }
}

void read_archive(const std::string &data) {
    refused_or_not([&] {
        for (const auto &[name, array] : trocar::detail::read_npz(data))
            for (std::size_t i = 0; array.is_real() && i < array.count(); ++i) (void)array.real(i);
    });
}

/// A bundle with this golden frame and its right hash.
void with_golden(const std::string &data) {
    const std::string model = "seg 4 4 half";
    const std::filesystem::path path = folder() / "golden";
    fixture::write_bundle(path, model, 4, 4);
    fixture::write_file(path / "golden.npz", data);
    const std::string files = "\"model.onnx\": \"" + trocar::detail::sha256_hex(model) +
                              "\", \"golden.npz\": \"" + trocar::detail::sha256_hex(data) + "\"";
    fixture::write_file(path / "manifest.json", fixture::manifest("segmentation", files, 4, 4));
    open(path);
}

void with_manifest(const std::string &data) {
    const std::filesystem::path path = folder() / "manifest";
    fixture::write_bundle(path, "seg 4 4 half", 4, 4);
    fixture::write_file(path / "manifest.json", data);
    open(path);
}

void with_classes(const std::string &data) {
    const std::filesystem::path path = folder() / "classes";
    // An empty state would leave the state out.
    fixture::write_bundle(path, "cls 3 5 single", 4, 4, data.empty() ? "x" : data);
    open(path);
}

}  // namespace

void feed(const std::string &input) {
    if (input.empty()) return;
    const std::string data = input.substr(1);
    const auto shape = [&] { return "(" + std::to_string(data.size()) + ",)"; };
    switch (static_cast<unsigned char>(input[0]) % kinds) {
        case manifest_text:
            trocar_check_manifest(data.data(), data.size(), nullptr);
            return;
        case archive:
            read_archive(data);
            return;
        case golden_archive:
            with_golden(data);
            return;
        case bundle_manifest:
            with_manifest(data);
            return;
        case array_file:
            read_archive(fixture::zip({{"a.npy", data}}));
            return;
        case classes_archive:
            with_classes(data);
            return;
        case classes_text:
            with_classes(
                fixture::zip({{"about.npy", fixture::npy("|u1", shape(), data)},
                              {"input_centroids.npy",
                               fixture::npy("<f4", "(2, 6)", std::string(2 * 6 * 4, '\1'))}}));
            return;
        default:
            refused_or_not([&] {
                const trocar::detail::EngineEnvironment here{
                    "tensorrt", "10.16.1.11", "NVIDIA L4", "8.9", "linux-x86_64", ""};
                trocar::detail::engine_reasons(data, "a.json", "aa", "bb", here);
            });
    }
}

}  // namespace fuzz
