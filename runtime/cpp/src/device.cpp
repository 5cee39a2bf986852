#include <dlfcn.h>

#include "backend.hpp"
#include "error.hpp"
#include "text.hpp"

namespace trocar::detail {

namespace {

/// The number of GPUs, and the reason if it is 0.
int cuda_count(std::string &reason) {
    void *driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (driver == nullptr) {
        reason = "the NVIDIA driver (libcuda.so.1) is not installed";
        return 0;
    }
    const auto init = reinterpret_cast<int (*)(unsigned)>(::dlsym(driver, "cuInit"));
    const auto count = reinterpret_cast<int (*)(int *)>(::dlsym(driver, "cuDeviceGetCount"));
    int devices = 0;
    int status = init == nullptr || count == nullptr ? -1 : init(0);
    if (status == 0) status = count(&devices);
    if (status != 0)
        reason = "the NVIDIA driver does not start (error " + std::to_string(status) + ")";
    if (status == 0 && devices == 0) reason = "the NVIDIA driver finds no GPU";
    // Not closed: an initialised driver must stay loaded.
    return status == 0 ? devices : 0;
}

}  // namespace

Device device_from_text(const std::string &text) {
    Device device;
    if (text == "cpu") return device;
    device.cuda = true;
    if (text == "cuda") return device;
    const std::string prefix = "cuda:";
    const std::string digits = text.substr(0, prefix.size()) == prefix ? text.substr(5) : "";
    if (!is_digits(digits) || digits.size() > 3)
        argument_error("device is '" + text + "', expected cpu, cuda or cuda:N",
                       "use one of these");
    device.index = std::stoi(digits);
    return device;
}

void require_cuda(const Device &device) {
    std::string reason;
    const int count = cuda_count(reason);
    if (count == 0)
        throw Error(TROCAR_ERROR_BACKEND, device.text() + " was requested, but " + reason,
                    "run `trocar doctor`, or use device cpu");
    if (device.index >= count)
        throw Error(TROCAR_ERROR_BACKEND,
                    device.text() + " was requested, but this machine has " +
                        std::to_string(count) + " GPU(s), counted from 0",
                    count == 1 ? "use device cuda:0"
                               : "use device cuda:0 to cuda:" + std::to_string(count - 1));
}

}  // namespace trocar::detail
