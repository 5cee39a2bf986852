// A Holoscan operator that finds instruments:
//
//     auto op = make_operator<trocar_example::InstrumentOp>("instruments", from_config("trocar"));
//     add_flow(source, op, {{"output", "in"}});
//
// in: a message with a tensor [height, width, 3], uint8, RGB, in memory of the host (put
// FormatConverterOp and a copy to the host before it). instruments: what was found, as values of
// the receiver's type std::vector<trocar_instrument>.
#pragma once

#include <holoscan/holoscan.hpp>
#include <memory>
#include <string>
#include <trocar/trocar.hpp>
#include <vector>

namespace trocar_example {

using Instruments = std::vector<trocar_instrument>;

class InstrumentOp : public holoscan::Operator {
  public:
    HOLOSCAN_OPERATOR_FORWARD_ARGS(InstrumentOp)
    InstrumentOp() = default;

    void setup(holoscan::OperatorSpec &spec) override;
    void start() override;
    void stop() override;
    void compute(holoscan::InputContext &input, holoscan::OutputContext &output,
                 holoscan::ExecutionContext &context) override;

  private:
    holoscan::Parameter<std::string> bundle_;
    holoscan::Parameter<std::string> device_;
    holoscan::Parameter<std::string> tensor_;
    std::unique_ptr<trocar::Session> session_;
};

}  // namespace trocar_example
