// Feeds malformed manifests and bundles to everything that reads them.
//
// With clang's libFuzzer (-DTROCAR_LIBFUZZER=ON) this is a fuzz target; without it, a driver that
// mutates the given files with a fixed seed:
//
//     fuzz 20000 tests/manifests
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "bundle.hpp"
#include "check.hpp"
#include "error.hpp"
#include "fixture.hpp"
#include "npz.hpp"
#include "trocar/trocar.h"

namespace {

/// One folder for the whole run; files in it are replaced.
const fixture::Folder &folder() {
    static const fixture::Folder made;
    return made;
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
                       status == TROCAR_ERROR_TAMPERED || status == TROCAR_ERROR_VERSION ||
                       status == TROCAR_ERROR_PARITY || status == TROCAR_ERROR_BACKEND;
    // Anything else would be an exception that nobody foresaw.
    if (!known || error.code != status || (session != nullptr) != (status == TROCAR_OK)) {
        std::printf("status %d: %s\n", static_cast<int>(status), error.message);
        std::abort();
    }
    trocar_session_close(session);
}

/// The first byte says what the rest is.
void feed(const std::string &input) {
    if (input.empty()) return;
    const std::string data = input.substr(1);
    const std::string path = (folder().path / "b").string();
    switch (static_cast<unsigned char>(input[0]) % 4) {
        case 0:
            trocar_check_manifest(data.data(), data.size(), nullptr);
            return;
        case 1:
            try {
                for (const auto &[name, array] : trocar::detail::read_npz(data))
                    for (std::size_t i = 0; array.is_real() && i < array.count(); ++i)
                        (void)array.real(i);
            } catch (const trocar::detail::Error &) {
            }
            return;
        case 2: {  // a bundle with this golden frame and its right hash
            fixture::write_bundle(path, "seg 4 4 half", 4, 4);
            const std::string model = "seg 4 4 half";
            fixture::write_file(folder().path / "b" / "golden.npz", data);
            fixture::write_file(
                folder().path / "b" / "manifest.json",
                fixture::manifest("segmentation",
                                  "\"model.onnx\": \"" + trocar::detail::sha256_hex(model) +
                                      "\", \"golden.npz\": \"" + trocar::detail::sha256_hex(data) +
                                      "\"",
                                  4, 4));
            open(path);
            return;
        }
        default:  // a bundle with this manifest
            fixture::write_bundle(path, "seg 4 4 half", 4, 4);
            fixture::write_file(folder().path / "b" / "manifest.json", data);
            open(path);
    }
}

}  // namespace

#ifdef TROCAR_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    feed({reinterpret_cast<const char *>(data), size});
    return 0;
}
#else
namespace {

std::string read(const std::filesystem::path &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> seeds(const char *manifests) {
    std::vector<std::string> found;
    std::vector<std::filesystem::path> files;
    for (const auto &entry : std::filesystem::directory_iterator(manifests))
        if (entry.path().extension() == ".json" && entry.file_size() < 20000)
            files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto &file : files) {
        found.push_back(std::string(1, '\0') + read(file));
        found.push_back(std::string(1, '\3') + read(file));
    }
    const std::string path = (folder().path / "seed").string();
    fixture::write_bundle(path, "seg 4 4 half", 4, 4);
    // As often as the manifests, so that archives get their share.
    for (int i = 0; i < 40; ++i) {
        found.push_back(std::string(1, '\1') + read(folder().path / "seed" / "golden.npz"));
        found.push_back(std::string(1, '\2') + read(folder().path / "seed" / "golden.npz"));
        found.push_back(std::string(1, '\3') + read(folder().path / "seed" / "manifest.json"));
    }
    return found;
}

/// Changes, repeats, drops or inserts bytes, a few times.
std::string mutated(std::string text, std::mt19937 &random) {
    const auto below = [&random](std::size_t n) { return n == 0 ? 0 : random() % n; };
    for (std::size_t n = 1 + below(4); n > 0; --n) {
        const std::size_t at = 1 + below(text.size() - 1);
        const std::size_t length = std::min(below(9), text.size() - at);
        switch (below(6)) {
            case 0:
                if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
                break;
            case 1:
                if (at < text.size()) text[at] = static_cast<char>(below(256));
                break;
            case 2:
                text.erase(at, length);
                break;
            case 3:
                text.insert(at, text.substr(1 + below(text.size() - 1), length));
                break;
            case 4:
                text.insert(at, std::string(1, "{}[]\",:0-9.eE\\u"[below(15)]));
                break;
            default:
                if (below(8) == 0) text.resize(at);
        }
        if (text.size() < 2) text += "x";
    }
    return text;
}

}  // namespace

int main(int count, char **arguments) {
    if (count < 3) return EXIT_FAILURE;
    const long runs = std::atol(arguments[1]);
    const std::vector<std::string> known = seeds(arguments[2]);
    for (const std::string &seed : known) feed(seed);
    std::mt19937 random(1);
    for (long i = 0; i < runs; ++i) {
        feed(mutated(known[random() % known.size()], random));
        ++test::checks;
    }
    return test::report("fuzz");
}
#endif
