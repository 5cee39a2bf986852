#include "bundle.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "error.hpp"
#include "guard.hpp"
#include "sha256.hpp"

namespace trocar::detail {

namespace {

constexpr const char *model_name = "model.onnx";
constexpr const char *golden_name = "golden.npz";
constexpr const char *nv12_name = "nv12.onnx";
constexpr const char *nv12_golden_name = "nv12.npz";

std::string joined(const std::string &root, const std::string &name) {
    return !root.empty() && root.back() == '/' ? root + name : root + "/" + name;
}

}  // namespace

bool is_regular_file(const std::string &path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

std::string read_file(const std::string &path) {
    const auto close = [](std::FILE *file) { std::fclose(file); };
    std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(path.c_str(), "rb"), close);
    if (!file)
        bundle_error("cannot read " + path + ": " + std::strerror(errno),
                     "check the path, its permissions and the disk");
    std::string data;
    struct stat status{};
    if (::fstat(::fileno(file.get()), &status) == 0 && S_ISREG(status.st_mode))
        data.reserve(static_cast<std::size_t>(status.st_size));
    char buffer[65536];
    while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, file.get()))
        data.append(buffer, got);
    if (std::ferror(file.get()) != 0)
        bundle_error("cannot read " + path + ": " + std::strerror(errno),
                     "check the path, its permissions and the disk");
    return data;
}

std::string read_listed(const Bundle &bundle, const std::string &name) {
    const auto listed = bundle.manifest.files.find(name);
    if (listed == bundle.manifest.files.end())
        bundle_error(bundle.root + " contains no " + name,
                     "export the bundle again with what you need");
    const std::string path = joined(bundle.root, name);
    if (!is_regular_file(path))
        bundle_error(bundle.root + " is incomplete: " + name + " is missing",
                     "copy the bundle again from where it was made, or export it again");
    std::string data = read_file(path);
    if (sha256_hex(data) != listed->second)
        throw Error(TROCAR_ERROR_INTEGRITY,
                    name + " in " + bundle.root +
                        " was changed after export: its SHA-256 is not the manifest's",
                    "copy the bundle again from where it was made, or export it again");
    return data;
}

Bundle open_bundle(const std::string &path) {
    const std::string document = joined(path, "manifest.json");
    if (!is_regular_file(document))
        bundle_error(path + " is not a Trocar bundle: it contains no manifest.json",
                     "name the folder that `trocar export` wrote");
    Bundle bundle;
    bundle.root = path;
    const std::string text = read_file(document);
    bundle.manifest = read_manifest(text, document);
    bundle.sha256 = manifest_sha256(text);
    bundle.document = text;
    if (bundle.manifest.files.count(model_name) == 0)
        bundle_error(document + " does not list " + model_name);
    for (const auto &[name, digest] : bundle.manifest.files) {
        std::string data = read_listed(bundle, name);
        if (name == model_name)
            bundle.model = std::move(data);
        else if (name == golden_name)
            bundle.golden = std::move(data);
        else if (name == nv12_name)
            bundle.nv12 = std::move(data);
        else if (name == nv12_golden_name)
            bundle.nv12_golden = std::move(data);
        else if (name == bundle.manifest.class_state)
            bundle.classes = std::move(data);
    }
    check_guard(text, bundle.manifest, bundle.model, &bundle.classes, path);
    const std::string &state = bundle.manifest.class_state;
    if (bundle.manifest.enrollable && bundle.manifest.files.count(state) == 0)
        bundle_error(path + " contains no " + state, "export the bundle again with what you need");
    if (bundle.manifest.files.count(golden_name) == 0)
        bundle_error(path + " contains no " + golden_name,
                     "export the bundle again with what you need");
    if (!bundle.nv12.empty() && bundle.manifest.files.count(nv12_golden_name) == 0)
        bundle_error(path + " contains no " + nv12_golden_name,
                     "export the bundle again with what you need");
    return bundle;
}

}  // namespace trocar::detail
