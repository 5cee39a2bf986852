// What an ONNX file says about itself, read from its bytes. contract/integrity/onnx_file.py reads
// the same fields, so that both languages judge the same files alike.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace trocar::detail {

struct OnnxFacts {
    std::map<std::string, std::string> metadata;  // of equal keys the last one
    std::vector<std::string> inputs;              // of the graph, without those with defaults
    std::map<std::string, std::string> outputs;   // NumPy's dtype by name; empty: not stated
    std::string precision;                        // of the arithmetic: fp32, fp16, bf16 or int8
    bool external_data = false;                   // whether a constant lies in another file
};

/// Nothing if the bytes are no ONNX file, or have no graph.
std::optional<OnnxFacts> read_onnx(std::string_view data);

}  // namespace trocar::detail
