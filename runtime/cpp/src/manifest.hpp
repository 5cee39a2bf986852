// The manifest, read and checked. contract/manifest.py refuses the same documents, with the same
// status.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "location.hpp"

namespace trocar::detail {

inline constexpr int max_network_side = 8192;
inline constexpr int max_classes = 255;

struct ClassRow {
    int id = 0;
    std::string name;
    std::array<std::uint8_t, 3> colour{};
    std::uint8_t grey = 0;
    bool instrument = false;
    std::string type;
    std::string part;
};

struct OutputSpec {
    std::string name;
    std::string dtype;
};

/// How a classifier's scores become a name.
struct Decision {
    double scale = 0;  // certainty is the best score divided by it; 0: the best softmax
    double threshold = 0;
    bool is_valid = true;  // whether both are numbers
};

struct Manifest {
    std::string name;
    bool segmentation = true;  // whether the graph returns labels, instance models included
    bool instances = false;
    std::string method;
    std::vector<ClassRow> classes;
    std::string input_name;
    int height = 0;
    int width = 0;
    std::vector<OutputSpec> outputs;
    std::string precision;
    double golden_margin = 0;
    bool enrollable = false;   // whether it names a file of classes
    LocationOptions location;  // what version 0.1 did, where it states none
    Decision decision;
    std::string class_state;                   // file of a classifier's classes; may be empty
    std::map<std::string, std::string> files;  // SHA-256 by relative name
};

/// Throws Error with TROCAR_ERROR_BUNDLE or TROCAR_ERROR_VERSION; one message lists all faults.
Manifest read_manifest(std::string_view text, const std::string &source);

/// Whether a relative file name stays inside its bundle.
bool is_safe_name(std::string_view name);

}  // namespace trocar::detail
