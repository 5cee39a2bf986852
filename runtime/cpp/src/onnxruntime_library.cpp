#include "onnxruntime_library.hpp"

#include <dlfcn.h>
#include <glob.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "error.hpp"
#include "text.hpp"

namespace trocar::detail {

namespace {

// The functions in use are all older than this release, 1.17.
constexpr int oldest_api = 17;

void say_nothing(void *, OrtLoggingLevel, const char *, const char *, const char *, const char *) {}

/// Folder of the file that this code lies in.
std::string own_folder() {
    Dl_info info{};
    if (::dladdr(reinterpret_cast<const void *>(&own_folder), &info) == 0 ||
        info.dli_fname == nullptr)
        return {};
    const std::string file = info.dli_fname;
    const std::size_t slash = file.rfind('/');
    return slash == std::string::npos ? "." : file.substr(0, slash);
}

std::vector<std::string> candidates(const std::string &named) {
    if (!named.empty()) return {named};
    const char *set = std::getenv("TROCAR_ONNXRUNTIME");
    if (set != nullptr && *set != '\0') return {set};
    std::vector<std::string> files;
    glob_t matches{};
    if (::glob((own_folder() + "/libonnxruntime.so*").c_str(), 0, nullptr, &matches) == 0)
        files.assign(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    ::globfree(&matches);
    files.emplace_back("libonnxruntime.so.1");
    files.emplace_back("libonnxruntime.so");
    return files;
}

/// Number in the middle of "1.31.1", which is the newest interface that the library serves.
int api_of(const std::string &version) {
    const std::size_t dot = version.find('.');
    const std::string minor = dot == std::string::npos
                                  ? ""
                                  : version.substr(dot + 1, version.find('.', dot + 1) - dot - 1);
    return is_digits(minor) && minor.size() < 5 ? std::stoi(minor) : 0;
}

OrtLibrary loaded(void *handle, const std::string &file) {
    using GetBase = const OrtApiBase *(*)();
    const auto get_base = reinterpret_cast<GetBase>(::dlsym(handle, "OrtGetApiBase"));
    if (get_base == nullptr)
        throw Error(TROCAR_ERROR_BACKEND, file + " is not an ONNX Runtime library",
                    "name libonnxruntime.so of the Python wheel or of the release archive");
    // Its wheels of 1.31 and later send usage statistics, unless this says no when they start.
    ::setenv("ORT_DISABLE_TELEMETRY", "1", 0);
    OrtLibrary library;
    const OrtApiBase *base = get_base();
    Dl_info info{};
    const bool known = ::dladdr(reinterpret_cast<const void *>(get_base), &info) != 0;
    library.file = known && info.dli_fname != nullptr ? info.dli_fname : file;
    library.version = base->GetVersionString();
    const int served = std::min(api_of(library.version), static_cast<int>(ORT_API_VERSION));
    if (served >= oldest_api) library.api = base->GetApi(static_cast<std::uint32_t>(served));
    if (library.api == nullptr)
        throw Error(TROCAR_ERROR_BACKEND,
                    file + " is ONNX Runtime " + library.version + ", expected 1." +
                        std::to_string(oldest_api) + " or newer",
                    "install a newer ONNX Runtime");
    OrtStatus *status = library.api->CreateEnvWithCustomLogger(
        say_nothing, nullptr, ORT_LOGGING_LEVEL_ERROR, "trocar", &library.env);
    if (status != nullptr) {
        const std::string message = library.api->GetErrorMessage(status);
        library.api->ReleaseStatus(status);
        throw Error(TROCAR_ERROR_BACKEND, "ONNX Runtime does not start: " + message,
                    "check the free memory");
    }
    return library;
}

}  // namespace

std::string load_cuda_wheels(const OrtLibrary &library) {
    const std::size_t slash = library.file.rfind('/');
    // site-packages/onnxruntime/capi/libonnxruntime.so and site-packages/nvidia/<part>/lib.
    const std::string folders =
        (slash == std::string::npos ? "." : library.file.substr(0, slash)) + "/../../nvidia/*/lib";
    // In the order in which they need each other. Loaded for all: the provider finds them by name.
    for (const char *name : {"libcudart", "libnvrtc", "libcublasLt", "libcublas", "libcurand",
                             "libcufft", "libcudnn"}) {
        glob_t matches{};
        const std::string pattern = folders + "/" + name + ".so.*";
        if (::glob(pattern.c_str(), 0, nullptr, &matches) == 0)
            for (std::size_t i = 0; i < matches.gl_pathc; ++i)
                if (std::strstr(matches.gl_pathv[i], ".alt.") == nullptr)
                    ::dlopen(matches.gl_pathv[i], RTLD_NOW | RTLD_GLOBAL);
        ::globfree(&matches);
    }
    return folders;
}

const OrtLibrary &onnxruntime_library(const std::string &named) {
    static std::mutex mutex;
    // Never destroyed: sessions may be closed by destructors that run after this file's.
    static auto &known = *new std::map<void *, std::unique_ptr<OrtLibrary>>();
    const std::lock_guard<std::mutex> lock(mutex);
    std::string tried;
    for (const std::string &file : candidates(named)) {
        void *handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) {
            const char *why = ::dlerror();
            tried += (tried.empty() ? "" : "; ") + std::string(why == nullptr ? file : why);
            continue;
        }
        std::unique_ptr<OrtLibrary> &library = known[handle];
        if (!library) {
            try {
                library = std::make_unique<OrtLibrary>(loaded(handle, file));
            } catch (...) {
                known.erase(handle);
                throw;
            }
        }
        return *library;
    }
    throw Error(TROCAR_ERROR_MISSING_EXTRA, "no ONNX Runtime library can be loaded: " + tried,
                "name the file in trocar_options.library or the variable TROCAR_ONNXRUNTIME");
}

}  // namespace trocar::detail
