#include "engine_choice.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <stdexcept>

#include "error.hpp"
#include "json.hpp"
#include "text.hpp"

namespace trocar::detail {

namespace {

constexpr const char *rebuild = "build the engine again with `trocar export BUNDLE --engine …`";
constexpr const char *rtx_capabilities[] = {"7.5", "8.0", "8.6", "8.9", "12.0", "12.1"};

std::vector<int> numbers(const std::string &version) {
    std::vector<int> parts;
    for (std::size_t at = 0; at <= version.size();) {
        const std::size_t dot = std::min(version.find('.', at), version.size());
        const std::string part = version.substr(at, dot - at);
        if (is_digits(part) && part.size() < 9) parts.push_back(std::stoi(part));
        at = dot + 1;
    }
    return parts;
}

/// The members of a sidecar that decide whether its engine fits.
struct Sidecar {
    Sidecar(const std::string &document, const std::string &source) : source_(source) {
        try {
            data_ = parse_json(document);
        } catch (const std::invalid_argument &error) {
            bundle_error(source + " is not JSON: " + error.what(), rebuild);
        }
        const std::string schema = text("schema");
        if (schema.substr(0, 2) != "1.")
            throw Error(TROCAR_ERROR_VERSION,
                        source + " is of schema version '" + schema + "'; this release reads 1.x",
                        rebuild);
    }
    /// A member that must be a text.
    std::string text(const char *name) const {
        const Json *value = data_.find(name);
        if (value == nullptr || !value->is(Json::Kind::text))
            bundle_error(source_ + " is malformed: " + name + " is not a text", rebuild);
        return value->text;
    }
    /// A member that must be a text if it is there.
    std::string string_or(const char *name, const char *otherwise) const {
        return data_.find(name) == nullptr ? otherwise : text(name);
    }
    /// Batch, height and width of a side of the profile; zeros where the sidecar has none.
    std::array<int, 3> shape(const char *side) const {
        std::array<int, 3> shape{};
        const Json *profile = data_.find("profile");
        const Json *value = profile == nullptr ? nullptr : profile->find(side);
        if (value == nullptr) return shape;
        if (!value->is(Json::Kind::array) || value->items.size() != shape.size())
            bundle_error(source_ + " is malformed: a shape is not three numbers", rebuild);
        for (std::size_t i = 0; i < shape.size(); ++i) {
            const Json &item = value->items[i];
            if (!item.is(Json::Kind::integer) || item.number < 1 || item.number > 1e6)
                bundle_error(source_ + " is malformed: a shape is not three numbers", rebuild);
            shape[i] = static_cast<int>(item.number);
        }
        return shape;
    }
    bool flag(const char *name) const {
        const Json *value = data_.find(name);
        if (value == nullptr) return false;
        if (!value->is(Json::Kind::boolean))
            bundle_error(source_ + " is malformed: " + name + " is not true or false", rebuild);
        return value->boolean;
    }

  private:
    std::string source_;
    Json data_;
};

bool version_fits(const std::string &built, bool compatible, const std::string &here) {
    if (built == here) return true;
    const std::vector<int> b = numbers(built);
    const std::vector<int> h = numbers(here);
    return compatible && !b.empty() && !h.empty() && b[0] == h[0] && h >= b;
}

void add_hardware(const Sidecar &sidecar, const EngineEnvironment &here,
                  std::vector<std::string> &reasons) {
    std::string hardware = sidecar.string_or("hardware", "this-gpu");
    if (hardware.empty()) hardware = "this-gpu";
    const std::string gpu = sidecar.string_or("gpu", "");
    const std::string capability = sidecar.string_or("capability", "");
    const std::string mine = here.gpu + " (compute capability " + here.capability + ")";
    if (here.capability.empty()) {
        reasons.emplace_back("there is no NVIDIA GPU here");
    } else if (hardware == "any-rtx") {
        if (std::find(std::begin(rtx_capabilities), std::end(rtx_capabilities), here.capability) ==
            std::end(rtx_capabilities))
            reasons.push_back("it does not run on " + mine);
    } else if (hardware == "ampere-and-later") {
        if (numbers(here.capability) < std::vector<int>{8, 0})
            reasons.push_back("it runs on compute capability 8.0 and later, not on " + mine);
    } else if (capability != here.capability) {
        reasons.push_back("it was built on " + gpu + " (compute capability " + capability +
                          "), here is " + mine);
    } else if (hardware == "this-gpu" && gpu != here.gpu) {
        reasons.push_back("it was built on " + gpu + ", here is " + mine);
    }
}

bool takes(const Sidecar &sidecar, int height, int width) {
    const std::array<int, 3> low = sidecar.shape("minimum");
    const std::array<int, 3> high = sidecar.shape("maximum");
    return low[1] <= height && height <= high[1] && low[2] <= width && width <= high[2];
}

/// The lower the better: distance of the size that it is tuned for, then whether it takes several.
std::array<int, 2> rank(const Sidecar &sidecar, const EngineEnvironment &here) {
    const bool is_static = sidecar.shape("minimum") == sidecar.shape("maximum");
    if (here.width == 0) return {is_static ? 1 : 0, 0};
    const std::array<int, 3> best = sidecar.shape("optimum");
    return {std::abs(best[1] - here.height) + std::abs(best[2] - here.width), is_static ? 0 : 1};
}

bool ends_with(const std::string &text, const std::string &end) {
    return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

void describe_gpu(int index, EngineEnvironment &here) {
    void *driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (driver == nullptr) return;
    const auto get = reinterpret_cast<int (*)(int *, int)>(::dlsym(driver, "cuDeviceGet"));
    const auto name =
        reinterpret_cast<int (*)(char *, int, int)>(::dlsym(driver, "cuDeviceGetName"));
    const auto attribute =
        reinterpret_cast<int (*)(int *, int, int)>(::dlsym(driver, "cuDeviceGetAttribute"));
    int device = 0;
    int major = 0;
    int minor = 0;
    char text[128] = {};
    if (get == nullptr || name == nullptr || attribute == nullptr || get(&device, index) != 0 ||
        name(text, sizeof text, device) != 0 || attribute(&major, 75, device) != 0 ||
        attribute(&minor, 76, device) != 0)
        return;
    here.gpu = text;
    here.capability = std::to_string(major) + "." + std::to_string(minor);
}

std::vector<std::string> engine_reasons(const std::string &text, const std::string &source,
                                        const std::string &onnx_sha256,
                                        const std::string &engine_sha256,
                                        const EngineEnvironment &here) {
    const Sidecar sidecar(text, source);
    if (sidecar.text("engine_sha256") != engine_sha256)
        bundle_error(source + " describes another engine than the one beside it", rebuild);
    std::vector<std::string> reasons;
    const std::string flavour = sidecar.text("flavour");
    const std::string version = sidecar.text("version");
    if (flavour != here.flavour)
        reasons.push_back("it is a " + flavour + " engine, " + here.flavour + " was asked for");
    else if (!version_fits(version, sidecar.flag("version_compatible"), here.version))
        reasons.push_back("it was built by " + flavour + " " + version + ", here is " +
                          here.version);
    if (sidecar.text("onnx_sha256") != onnx_sha256)
        reasons.emplace_back("it was built from another model.onnx");
    const std::string precision = sidecar.text("precision_found");
    if (!here.precision.empty() && precision != here.precision)
        reasons.push_back("it computes in " + precision + ", " + here.precision + " was asked for");
    const std::string platform = sidecar.string_or("platform", "");
    if (!platform.empty() && platform != here.platform)
        reasons.push_back("it was built for " + platform + ", this is " + here.platform);
    if (sidecar.flag("stripped"))
        reasons.emplace_back("it holds no weights, and only Python refits engines");
    add_hardware(sidecar, here, reasons);
    if (here.width > 0 && !takes(sidecar, here.height, here.width))
        reasons.push_back("it does not take frames of " + std::to_string(here.height) + "x" +
                          std::to_string(here.width));
    return reasons;
}

EngineChoice choose_engine(const Bundle &bundle, const EngineEnvironment &here) {
    const auto &files = bundle.manifest.files;
    const std::string folder = "engines/";
    const std::string suffix = ".engine";
    std::string differences;
    EngineChoice chosen;
    std::array<int, 2> lowest{};
    for (const auto &[name, digest] : files) {
        if (name.compare(0, folder.size(), folder) != 0 || !ends_with(name, suffix)) continue;
        const std::string stem = name.substr(0, name.size() - suffix.size());
        const std::string beside = stem + ".json";
        if (files.count(beside) == 0)
            bundle_error(bundle.root + ": " + name + " has no " + beside, rebuild);
        const std::string source = bundle.root + "/" + beside;
        const std::string text = read_listed(bundle, beside);
        const std::vector<std::string> reasons =
            engine_reasons(text, source, files.at("model.onnx"), digest, here);
        if (reasons.empty()) {
            const Sidecar sidecar(text, source);
            const std::array<int, 2> mine = rank(sidecar, here);
            if (chosen.name.empty() || mine < lowest) {
                chosen = {name, stem + ".golden.npz", sidecar.text("precision_found"),
                          sidecar.flag("version_compatible")};
                lowest = mine;
            }
            continue;
        }
        differences += (differences.empty() ? "" : "; ") + name + ": ";
        for (std::size_t i = 0; i < reasons.size(); ++i)
            differences += (i > 0 ? ", " : "") + reasons[i];
    }
    if (!chosen.name.empty()) return chosen;
    const std::string size = here.width == 0
                                 ? "WIDTHxHEIGHT"
                                 : std::to_string(here.width) + "x" + std::to_string(here.height);
    const std::string remedy =
        "trocar export " + bundle.root + " --engine " + here.flavour + " --engine-shape " + size;
    if (differences.empty())
        throw Error(TROCAR_ERROR_BACKEND, bundle.root + " holds no engine", remedy);
    throw Error(TROCAR_ERROR_BACKEND, "no engine of " + bundle.root + " fits: " + differences,
                remedy);
}

}  // namespace trocar::detail
