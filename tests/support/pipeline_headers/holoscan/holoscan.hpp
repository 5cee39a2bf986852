// What the Holoscan example uses of the SDK, declared from its documentation: for the compiler's check alone.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

enum DLDeviceType { kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3 };
enum DLDataTypeCode { kDLInt = 0, kDLUInt = 1 };
struct DLDevice {
    DLDeviceType device_type;
};
struct DLDataType {
    std::uint8_t code, bits;
    std::uint16_t lanes;
};

namespace holoscan {
struct Tensor {
    void *data() const;
    std::vector<std::int64_t> shape() const;
    DLDevice device() const;
    DLDataType dtype() const;
};
struct TensorMap : std::map<std::string, std::shared_ptr<Tensor>> {};
template <class Type> struct Parameter {
    Type &get();
};
struct OperatorSpec {
    template <class Type> void input(const std::string &name);
    template <class Type> void output(const std::string &name);
    template <class Type>
    void param(Parameter<Type> &parameter, const char *key, const char *headline, const char *description, Type value);
};
struct InputContext {
    template <class Type> std::optional<Type> receive(const char *name);
};
struct OutputContext {
    template <class Type> void emit(Type value, const char *name);
};
struct ExecutionContext {};
struct Operator {
    virtual ~Operator() = default;
    virtual void setup(OperatorSpec &) {}
    virtual void start() {}
    virtual void stop() {}
    virtual void compute(InputContext &, OutputContext &, ExecutionContext &) {}
};
}  // namespace holoscan
#define HOLOSCAN_OPERATOR_FORWARD_ARGS(Class)
