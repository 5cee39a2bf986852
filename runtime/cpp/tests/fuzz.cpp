// Mutates known inputs with a fixed seed and feeds them to the readers; needs no libFuzzer.
//
//     fuzz 20000 tests/manifests             feeds so many mutations
//     fuzz seeds CORPUS tests/manifests      writes the known inputs into a folder, for libFuzzer
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "fixture.hpp"
#include "fuzz_feed.hpp"

namespace {

std::string read(const std::filesystem::path &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string of(fuzz::Kind kind, const std::string &data) { return std::string(1, kind) + data; }

/// One of each kind but the manifests.
std::vector<std::string> others() {
    const fixture::Folder folder;
    fixture::write_bundle(folder.path, "seg 4 4 half", 4, 4);
    const std::string golden = read(folder.path / "golden.npz");
    const std::string about =
        R"({"names": ["a", "b"], "trained": [true, false], "digests": ["", ""], )"
        R"("changed": true, "previous": ""})";
    const std::string beside =
        R"({"schema": "1.0", "flavour": "tensorrt", "version": "10.16.1.11", "onnx_sha256": "aa",)"
        R"( "engine_sha256": "bb", "precision_found": "fp16", "gpu": "NVIDIA L4",)"
        R"( "capability": "8.9", "platform": "linux-x86_64", "version_compatible": true,)"
        R"( "hardware": "ampere-and-later", "stripped": false})";
    return {of(fuzz::archive, golden),
            of(fuzz::golden_archive, golden),
            of(fuzz::bundle_manifest, read(folder.path / "manifest.json")),
            of(fuzz::array_file, fixture::npy("<f4", "(2, 1)", std::string(8, '\1'))),
            of(fuzz::array_file, fixture::npy("<f2", "(3,)", std::string(6, '\2'))),
            of(fuzz::classes_archive, fixture::class_state(4)),
            of(fuzz::classes_archive, fixture::class_state(3, "false")),
            of(fuzz::classes_text, about),
            of(fuzz::sidecar, beside)};
}

std::vector<std::string> seeds(const char *manifests) {
    std::vector<std::string> found;
    std::vector<std::filesystem::path> files;
    for (const auto &entry : std::filesystem::directory_iterator(manifests))
        if (entry.path().extension() == ".json" && entry.file_size() < 20000)
            files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto &file : files) {
        found.push_back(of(fuzz::manifest_text, read(file)));
        found.push_back(of(fuzz::bundle_manifest, read(file)));
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

int write_seeds(const std::filesystem::path &corpus, const std::vector<std::string> &known) {
    // What an earlier run found is left out: every run is the same.
    std::filesystem::remove_all(corpus);
    std::filesystem::create_directories(corpus);
    for (std::size_t i = 0; i < known.size(); ++i)
        fixture::write_file(corpus / std::to_string(i), known[i]);
    std::printf("%zu seeds\n", known.size());
    return EXIT_SUCCESS;
}

}  // namespace

int main(int count, char **arguments) {
    if (count < 3) return EXIT_FAILURE;
    const bool writing = std::strcmp(arguments[1], "seeds") == 0;
    if (writing && count < 4) return EXIT_FAILURE;
    std::vector<std::string> known = seeds(arguments[writing ? 3 : 2]);
    // As often as the manifests, so that the other kinds get their share.
    for (int i = 0; i < (writing ? 1 : 40); ++i)
        for (const std::string &other : others()) known.push_back(other);
    if (writing) return write_seeds(arguments[2], known);
    for (const std::string &seed : known) fuzz::feed(seed);
    std::mt19937 random(1);
    for (long i = std::atol(arguments[1]); i > 0; --i) {
        fuzz::feed(mutated(known[random() % known.size()], random));
        ++test::checks;
    }
    return test::report("fuzz");
}
