#include "guard.hpp"

#include <algorithm>
#include <stdexcept>

#include "classes.hpp"
#include "error.hpp"
#include "json.hpp"
#include "onnx_file.hpp"
#include "sha256.hpp"

namespace trocar::detail {

namespace {

using Kind = Json::Kind;

constexpr const char *copy_key = "trocar_manifest";
constexpr const char *hash_key = "trocar_manifest_sha256";

Json *last_member(Json &data, std::string_view name) {
    return const_cast<Json *>(static_cast<const Json &>(data).find(name));
}

void remove_member(Json &data, std::string_view name) {
    auto &members = data.members;
    members.erase(std::remove_if(members.begin(), members.end(),
                                 [&](const auto &member) { return member.first == name; }),
                  members.end());
}

/// The member extra.classification of a manifest whose classes can be enrolled; else nullptr.
Json *enrolment_of(Json &data) {
    const Json *task = data.find("task");
    if (task == nullptr || !task->is(Kind::text) || task->text != "classification" ||
        data.find("classes") == nullptr)
        return nullptr;
    Json *extra = last_member(data, "extra");
    if (extra == nullptr || !extra->is(Kind::object)) return nullptr;
    Json *about = last_member(*extra, "classification");
    if (about == nullptr || !about->is(Kind::object)) return nullptr;
    const Json *state = about->find("state");
    return state != nullptr && state->is(Kind::text) ? about : nullptr;
}

/// Hash of the part of a manifest that model.onnx guards: all but `files` and, where classes can be
/// enrolled, all but the class table and the name of the file of the classes.
std::string guarded_sha256(Json data) {
    if (data.is(Kind::object)) {
        remove_member(data, "files");
        if (Json *about = enrolment_of(data)) {
            remove_member(*about, "state");
            remove_member(data, "classes");
        }
    }
    return sha256_hex(canonical_json(data));
}

std::string canonical_classes(const Json &data) {
    const Json *classes = data.find("classes");
    return classes == nullptr ? std::string() : canonical_json(*classes);
}

[[noreturn]] void differs(const std::string &source, const std::string &other) {
    throw Error(TROCAR_ERROR_INTEGRITY, "manifest.json in " + source + " differs from " + other,
                "copy the bundle again from where it was made; if it was edited, export it again");
}

void check_classes(Json &data, const Json &exported, const std::string &classes,
                   const std::string &source) {
    const Json *about = enrolment_of(data);
    if (about == nullptr) return;
    const ClassGuard guard = class_guard(classes);
    if (!guard.changed) {
        if (canonical_classes(data) != canonical_classes(exported))
            differs(source, "its copy in model.onnx");
        return;
    }
    // Trocar 0.1 stored the names only.
    if (!guard.table.empty()) {
        if (canonical_classes(data) != guard.table)
            differs(source, "the class table in " + about->find("state")->text);
        return;
    }
    std::vector<std::string> names;
    for (const Json &row : data.find("classes")->items) names.push_back(row.find("name")->text);
    if (names != guard.names) differs(source, "the names in " + about->find("state")->text);
}

bool is_one_of(const std::string &text, std::initializer_list<const char *> all) {
    return std::any_of(all.begin(), all.end(), [&](const char *other) { return text == other; });
}

void check_graph(const OnnxFacts &facts, const Manifest &manifest, const std::string &source) {
    std::string faults;
    const auto fault = [&faults](const std::string &text) {
        faults += (faults.empty() ? "" : "; ") + text;
    };
    if (facts.external_data) fault("model.onnx loads constants from another file");
    if (facts.precision != manifest.precision)
        fault("the graph is " + facts.precision + ", the manifest says " + manifest.precision);
    if (std::find(facts.inputs.begin(), facts.inputs.end(), manifest.input_name) ==
        facts.inputs.end())
        fault("the graph has no input " + manifest.input_name);
    const std::string main = manifest.instances      ? "instances"
                             : manifest.segmentation ? "labels"
                                                     : "scores";
    const auto output = facts.outputs.find(main);
    const bool fits =
        output != facts.outputs.end() &&
        (manifest.segmentation ? is_one_of(output->second, {"", "uint8"})
                               : is_one_of(output->second, {"", "float16", "float32"}));
    if (!fits)
        fault("the graph has no output " + main + " of type " +
              (manifest.segmentation ? "uint8" : "float16 or float32"));
    for (const OutputSpec &stated : manifest.outputs) {
        const auto found = facts.outputs.find(stated.name);
        if (found == facts.outputs.end())
            fault("the graph has no output " + stated.name);
        else if (!found->second.empty() && found->second != stated.dtype)
            fault("output " + stated.name + " is " + found->second + ", the manifest says " +
                  stated.dtype);
    }
    if (!faults.empty())
        bundle_error("the manifest of " + source + " does not fit its model.onnx: " + faults);
}

}  // namespace

std::string manifest_sha256(std::string_view document) {
    return sha256_hex(canonical_json(parse_json(document)));
}

void check_guard(std::string_view document, const Manifest &manifest, std::string_view model,
                 const std::string *classes, const std::string &source) {
    const std::optional<OnnxFacts> facts = read_onnx(model);
    if (!facts) return;  // the backend refuses it
    const auto copy = facts->metadata.find(copy_key);
    if (copy != facts->metadata.end()) {
        Json data = parse_json(document);
        Json exported;
        try {
            exported = parse_json(copy->second);
        } catch (const std::invalid_argument &) {
            differs(source, "its copy in model.onnx");
        }
        const std::string expected = guarded_sha256(data);
        const auto stated = facts->metadata.find(hash_key);
        if (guarded_sha256(exported) != expected ||
            (stated != facts->metadata.end() && stated->second != expected))
            differs(source, "its copy in model.onnx");
        if (classes != nullptr && manifest.enrollable) {
            if (manifest.files.count(manifest.class_state) == 0)
                bundle_error(source + " contains no " + quoted(manifest.class_state));
            check_classes(data, exported, *classes, source);
        }
    }
    check_graph(*facts, manifest, source);
}

std::string exported_text(std::string_view model) {
    const std::optional<OnnxFacts> facts = read_onnx(model);
    if (!facts) return {};
    const auto copy = facts->metadata.find(copy_key);
    return copy == facts->metadata.end() ? std::string() : copy->second;
}

}  // namespace trocar::detail
