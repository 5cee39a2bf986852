#include "instrument_op.hpp"

#include <stdexcept>

namespace trocar_example {

void InstrumentOp::setup(holoscan::OperatorSpec &spec) {
    spec.input<holoscan::TensorMap>("in");
    spec.output<Instruments>("instruments");
    spec.param(bundle_, "bundle", "Bundle", "Folder that trocar export wrote", std::string());
    spec.param(device_, "device", "Device", "cpu, cuda or cuda:N", std::string("cpu"));
    spec.param(tensor_, "tensor", "Tensor", "Name of the tensor; empty: the only one",
               std::string());
}

void InstrumentOp::start() {
    trocar::Options options;
    options.device = device_.get();
    options.spinning = false;  // leave the cores to the other operators
    session_ = std::make_unique<trocar::Session>(bundle_.get(), options);
}

void InstrumentOp::stop() { session_.reset(); }

void InstrumentOp::compute(holoscan::InputContext &input, holoscan::OutputContext &output,
                           holoscan::ExecutionContext &) {
    auto message = input.receive<holoscan::TensorMap>("in");
    if (!message) return;
    const auto &tensors = message.value();
    const auto found = tensor_.get().empty() ? tensors.begin() : tensors.find(tensor_.get());
    if (found == tensors.end())
        throw std::invalid_argument("the message has no tensor '" + tensor_.get() + "'");
    const auto &tensor = found->second;
    const auto shape = tensor->shape();
    const auto type = tensor->dtype();
    if (shape.size() != 3 || shape[2] != 3 || type.code != kDLUInt || type.bits != 8)
        throw std::invalid_argument(
            "expected a tensor [height, width, 3] of uint8: put FormatConverterOp before this "
            "operator");
    if (tensor->device().device_type != kDLCPU && tensor->device().device_type != kDLCUDAHost)
        throw std::invalid_argument(
            "the tensor is on a GPU, expected memory of the host: copy it before this operator");
    trocar::Frame frame{static_cast<const std::uint8_t *>(tensor->data()),
                        static_cast<int>(shape[1]), static_cast<int>(shape[0])};
    const auto instruments = session_->run(frame).instruments();
    output.emit(Instruments(instruments.begin(), instruments.end()), "instruments");
}

}  // namespace trocar_example
