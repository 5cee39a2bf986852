#include "onnx_file.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace trocar::detail {

namespace {

constexpr std::string_view quantised[] = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv",
    "QLinearMatMul",  "ConvInteger",      "MatMulInteger"};

constexpr std::uint64_t half_type = 10;
constexpr std::uint64_t brain_type = 16;
constexpr int max_graph_depth = 32;

/// Thrown where the bytes are no message; it never leaves this file.
struct NoMessage {};

/// The fields of a Protocol Buffers message, one after the other.
class Fields {
  public:
    explicit Fields(std::string_view data) : data_(data) {}

    bool next() {
        if (at_ >= data_.size()) return false;
        const std::uint64_t key = varint();
        number = key >> 3;
        bytes = {};
        value = 0;
        is_bytes = false;
        is_number = false;
        switch (key & 7) {
            case 0:
                value = varint();
                is_number = true;
                break;
            case 1:
                skip(8);
                break;
            case 2: {
                const std::uint64_t length = varint();
                if (length > data_.size() - at_) throw NoMessage{};
                bytes = data_.substr(at_, static_cast<std::size_t>(length));
                at_ += static_cast<std::size_t>(length);
                is_bytes = true;
                break;
            }
            case 5:
                skip(4);
                break;
            default:
                throw NoMessage{};
        }
        if (number == 0) throw NoMessage{};
        return true;
    }

    std::uint64_t number = 0;
    std::uint64_t value = 0;  // of a number
    std::string_view bytes;   // of a text or a message
    bool is_bytes = false;
    bool is_number = false;

  private:
    void skip(std::size_t count) {
        if (count > data_.size() - at_) throw NoMessage{};
        at_ += count;
    }
    std::uint64_t varint() {
        std::uint64_t number_read = 0;
        for (int shift = 0; shift < 70; shift += 7) {
            if (at_ >= data_.size()) throw NoMessage{};
            const auto byte = static_cast<unsigned char>(data_[at_++]);
            if (shift < 64) number_read |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
            if (byte < 0x80) return number_read;
        }
        throw NoMessage{};
    }

    std::string_view data_;
    std::size_t at_ = 0;
};

/// The last text of that number; empty without one.
std::string text_of(std::string_view message, std::uint64_t wanted) {
    std::string text;
    for (Fields field(message); field.next();)
        if (field.is_bytes && field.number == wanted) text = std::string(field.bytes);
    return text;
}

std::string dtype_of(std::uint64_t type) {
    switch (type) {
        case 0:
            return "";
        case 1:
            return "float32";
        case 2:
            return "uint8";
        case 3:
            return "int8";
        case 6:
            return "int32";
        case 7:
            return "int64";
        case 9:
            return "bool";
        case half_type:
            return "float16";
        case 11:
            return "float64";
        case brain_type:
            return "bfloat16";
        default:
            return "other";
    }
}

std::string output_dtype(std::string_view info) {
    std::uint64_t kind = 0;
    for (Fields type(info); type.next();) {
        if (!type.is_bytes || type.number != 2) continue;
        for (Fields tensor(type.bytes); tensor.next();) {
            if (!tensor.is_bytes || tensor.number != 1) continue;
            for (Fields field(tensor.bytes); field.next();)
                if (field.is_number && field.number == 1) kind = field.value;
        }
    }
    return dtype_of(kind);
}

/// Collects the facts of a graph and of the graphs inside it.
class Scan {
  public:
    std::optional<OnnxFacts> facts(std::string_view data) {
        OnnxFacts found;
        std::vector<std::string> inputs;
        std::set<std::string> defaults;
        bool has_graph = false;
        for (Fields field(data); field.next();) {
            if (!field.is_bytes) continue;
            if (field.number == 14) {
                found.metadata[text_of(field.bytes, 1)] = text_of(field.bytes, 2);
            } else if (field.number == 7) {
                has_graph = true;
                read_graph(field.bytes, 0);
                for (Fields part(field.bytes); part.next();) {
                    if (!part.is_bytes) continue;
                    if (part.number == 11) inputs.push_back(text_of(part.bytes, 1));
                    if (part.number == 12)
                        found.outputs[text_of(part.bytes, 1)] = output_dtype(part.bytes);
                    if (part.number == 5) defaults.insert(text_of(part.bytes, 8));
                }
            } else if (field.number == 25) {
                for (Fields part(field.bytes); part.next();)
                    if (part.is_bytes && part.number == 7) read_node(part.bytes, 0);
            }
        }
        if (!has_graph) return std::nullopt;
        for (std::string &name : inputs)
            if (defaults.count(name) == 0) found.inputs.push_back(std::move(name));
        found.precision = is_quantised_                  ? "int8"
                          : types_.count(half_type) > 0  ? "fp16"
                          : types_.count(brain_type) > 0 ? "bf16"
                                                         : "fp32";
        found.external_data = external_data_;
        return found;
    }

  private:
    void read_graph(std::string_view graph, int depth) {
        if (depth > max_graph_depth) throw NoMessage{};
        for (Fields field(graph); field.next();) {
            if (!field.is_bytes) continue;
            if (field.number == 1) read_node(field.bytes, depth);
            if (field.number == 5) read_tensor(field.bytes);
            if (field.number == 15) read_sparse(field.bytes);
        }
    }
    void read_node(std::string_view node, int depth) {
        for (Fields field(node); field.next();) {
            if (!field.is_bytes) continue;
            if (field.number == 4)
                is_quantised_ |= std::find(std::begin(quantised), std::end(quantised),
                                           field.bytes) != std::end(quantised);
            if (field.number == 5) read_attribute(field.bytes, depth);
        }
    }
    void read_attribute(std::string_view attribute, int depth) {
        for (Fields field(attribute); field.next();) {
            if (!field.is_bytes) continue;
            if (field.number == 5 || field.number == 10) read_tensor(field.bytes);
            if (field.number == 6 || field.number == 11) read_graph(field.bytes, depth + 1);
            if (field.number == 22 || field.number == 23) read_sparse(field.bytes);
        }
    }
    void read_sparse(std::string_view sparse) {
        for (Fields field(sparse); field.next();)
            if (field.is_bytes && (field.number == 1 || field.number == 2))
                read_tensor(field.bytes);
    }
    void read_tensor(std::string_view tensor) {
        std::size_t rank = 0;
        std::uint64_t type = 0;
        for (Fields field(tensor); field.next();) {
            if (field.number == 1)
                rank += field.is_bytes
                            ? static_cast<std::size_t>(std::count_if(
                                  field.bytes.begin(), field.bytes.end(),
                                  [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
                            : 1;
            if (field.number == 2 && field.is_number) type = field.value;
            if (field.number == 13 || (field.number == 14 && field.is_number && field.value == 1))
                external_data_ = true;
        }
        if (rank > 1) types_.insert(type);
    }

    bool is_quantised_ = false;
    bool external_data_ = false;
    std::set<std::uint64_t> types_;
};

}  // namespace

std::optional<OnnxFacts> read_onnx(std::string_view data) {
    try {
        return Scan().facts(data);
    } catch (const NoMessage &) {
        return std::nullopt;
    }
}

}  // namespace trocar::detail
