#include "manifest.hpp"

#include <algorithm>
#include <set>
#include <stdexcept>

#include "error.hpp"
#include "json.hpp"
#include "text.hpp"

namespace trocar::detail {

namespace {

using Kind = Json::Kind;
using Faults = std::vector<std::string>;

constexpr std::array<std::array<std::uint8_t, 3>, 12> palette = {{{0, 114, 178},
                                                                  {230, 159, 0},
                                                                  {0, 158, 115},
                                                                  {204, 121, 167},
                                                                  {86, 180, 233},
                                                                  {213, 94, 0},
                                                                  {240, 228, 66},
                                                                  {120, 94, 240},
                                                                  {0, 90, 50},
                                                                  {160, 60, 40},
                                                                  {170, 220, 170},
                                                                  {90, 90, 90}}};

void check_schema(const Json &data, const std::string &source) {
    const Json *value = data.find("schema");
    const std::string text = value != nullptr && value->is(Kind::text) ? value->text : "";
    const std::size_t dot = text.find('.');
    const std::string major = text.substr(0, dot);
    const std::string minor = dot == std::string::npos ? "" : text.substr(dot + 1);
    if (!is_digits(major) || !is_digits(minor))
        throw Error(TROCAR_ERROR_VERSION,
                    source + " has no schema version: got " + quoted(text) + ", expected \"1.x\"",
                    "export the bundle again");
    const std::size_t first = std::min(major.find_first_not_of('0'), major.size());
    if (major.substr(first) != "1")
        throw Error(TROCAR_ERROR_VERSION,
                    source + " has schema version " + text + "; this release reads 1.x",
                    "export it again with this release, or install the release that wrote it");
}

/// The member if it is of that kind; nullptr otherwise.
const Json *member(const Json &data, std::string_view name, Kind kind) {
    const Json *value = data.find(name);
    return value != nullptr && value->is(kind) ? value : nullptr;
}

bool is_whole_within(const Json *value, double low, double high) {
    return value != nullptr && value->is(Kind::integer) && value->number >= low &&
           value->number <= high;
}

Decision decision_from(const Json &about) {
    Decision rule;
    const auto read = [&rule, &about](const char *name, double &value) {
        const Json *found = about.find(name);
        if (found == nullptr || found->is(Kind::null)) return;
        if (found->is_number())
            value = found->number;
        else
            rule.is_valid = false;
    };
    read("scale", rule.scale);
    read("threshold", rule.threshold);
    return rule;
}

void check_kinds(const Json &data, Faults &faults) {
    const std::pair<const char *, Kind> needed[] = {
        {"name", Kind::text},     {"task", Kind::text},    {"method", Kind::text},
        {"classes", Kind::array}, {"input", Kind::object}, {"outputs", Kind::array},
        {"precision", Kind::text}};
    for (const auto &[name, kind] : needed) {
        if (data.find(name) == nullptr)
            faults.push_back(std::string(name) + " is missing");
        else if (member(data, name, kind) == nullptr)
            faults.push_back(std::string(name) + " has the wrong type");
    }
    const Json *margin = data.find("golden_margin");
    if (margin == nullptr || !margin->is_number() || margin->number < 0)
        faults.emplace_back("golden_margin is not a finite number of at least 0");
    for (const char *name : {"source", "extra", "files", "location"})
        if (data.find(name) != nullptr && member(data, name, Kind::object) == nullptr)
            faults.push_back(std::string(name) + " is not an object");
}

void check_input(const Json &spec, Faults &faults) {
    const Json *name = member(spec, "name", Kind::text);
    if (name == nullptr || name->text.empty())
        faults.emplace_back("input.name is not a non-empty text");
    for (const char *key : {"height", "width"})
        if (!is_whole_within(spec.find(key), 1, max_network_side))
            faults.push_back("input." + std::string(key) + " is not in 1.." +
                             std::to_string(max_network_side));
    for (const std::string key : {"mean", "std"}) {
        const Json *triple = member(spec, key, Kind::array);
        const auto number = [](const Json &value) { return value.is_number(); };
        if (triple == nullptr || triple->items.size() != 3 ||
            !std::all_of(triple->items.begin(), triple->items.end(), number))
            faults.push_back("input." + key + " is not three numbers");
        else if (key == "std" && std::any_of(triple->items.begin(), triple->items.end(),
                                             [](const Json &value) { return !(value.number > 0); }))
            faults.emplace_back("input.std contains a value that is not above 0");
    }
}

bool is_output(const Json &output) {
    const Json *shape = member(output, "shape", Kind::array);
    const auto dimension = [](const Json &d) { return d.is(Kind::integer) || d.is(Kind::text); };
    return member(output, "name", Kind::text) != nullptr &&
           member(output, "dtype", Kind::text) != nullptr && shape != nullptr &&
           std::all_of(shape->items.begin(), shape->items.end(), dimension);
}

bool is_row(const Json &row) {
    if (!is_whole_within(row.find("id"), 0, max_classes - 1)) return false;
    if (member(row, "name", Kind::text) == nullptr) return false;
    if (const Json *colour = row.find("colour")) {
        const auto byte = [](const Json &v) { return is_whole_within(&v, 0, 255); };
        if (!colour->is(Kind::array) || colour->items.size() != 3 ||
            !std::all_of(colour->items.begin(), colour->items.end(), byte))
            return false;
    }
    const Json *grey = row.find("grey");
    if (grey != nullptr && !grey->is(Kind::null) && !is_whole_within(grey, 0, 255)) return false;
    const Json *instrument = row.find("instrument");
    if (instrument != nullptr && !instrument->is(Kind::boolean)) return false;
    for (const char *key : {"type", "part"})
        if (row.find(key) != nullptr && member(row, key, Kind::text) == nullptr) return false;
    return true;
}

ClassRow row_from(const Json &row) {
    ClassRow class_row;
    class_row.id = static_cast<int>(row.find("id")->number);
    class_row.name = row.find("name")->text;
    if (const Json *colour = row.find("colour")) {
        for (std::size_t i = 0; i < 3; ++i)
            class_row.colour[i] = static_cast<std::uint8_t>(colour->items[i].number);
    } else if (class_row.id > 0) {
        class_row.colour = palette[static_cast<std::size_t>(class_row.id - 1) % palette.size()];
    }
    const Json *grey = row.find("grey");
    class_row.grey = static_cast<std::uint8_t>(
        grey == nullptr || grey->is(Kind::null) ? class_row.id : grey->number);
    if (const Json *instrument = row.find("instrument")) class_row.instrument = instrument->boolean;
    if (const Json *type = row.find("type")) class_row.type = type->text;
    if (const Json *part = row.find("part")) class_row.part = part->text;
    return class_row;
}

void read_classes(const Json &rows, std::vector<ClassRow> &classes, Faults &faults) {
    if (rows.items.empty()) faults.emplace_back("class table has no rows");
    if (rows.items.size() > max_classes) faults.emplace_back("class table has too many rows");
    std::set<std::string> seen;
    for (std::size_t i = 0; i < rows.items.size(); ++i) {
        const std::string what = "classes[" + std::to_string(i) + "]";
        if (!rows.items[i].is(Kind::object) || !is_row(rows.items[i])) {
            faults.push_back(what + " is not usable");
            continue;
        }
        ClassRow row = row_from(rows.items[i]);
        if (row.id != static_cast<int>(i))
            faults.push_back(what + " has another id than its place");
        if (is_blank(row.name) || has_control(row.name))
            faults.push_back(what + " has an empty or unprintable name");
        if (!seen.insert(row.name).second) faults.push_back(what + " repeats a name");
        classes.push_back(std::move(row));
    }
}

void read_files(const Json &files, Manifest &manifest, Faults &faults) {
    std::map<std::string, const Json *> last;
    for (const auto &[name, digest] : files.members) last[name] = &digest;
    for (const auto &[name, digest] : last) {
        if (!is_safe_name(name))
            faults.push_back("file name " + quoted(name) + " is not inside the bundle");
        if (!digest->is(Kind::text) || !is_sha256(digest->text))
            faults.push_back("hash of " + quoted(name) + " is no SHA-256");
        else
            manifest.files[name] = digest->text;
    }
}

Json parsed(std::string_view text, const std::string &source) {
    try {
        Json data = parse_json(text);
        if (data.is(Kind::object)) return data;
    } catch (const std::invalid_argument &error) {
        bundle_error(source + " is not JSON: " + error.what());
    }
    bundle_error(source + " is not a JSON object");
}

}  // namespace

bool is_safe_name(std::string_view name) {
    if (name.empty() || name.find('\\') != std::string_view::npos || has_control(name))
        return false;
    while (true) {
        const std::size_t slash = name.find('/');
        const std::string_view part = name.substr(0, slash);
        if (part.empty() || part == "." || part == "..") return false;
        if (slash == std::string_view::npos) return true;
        name.remove_prefix(slash + 1);
    }
}

Manifest read_manifest(std::string_view text, const std::string &source) {
    const Json data = parsed(text, source);
    check_schema(data, source);
    Faults faults;
    Manifest manifest;
    check_kinds(data, faults);
    if (faults.empty()) {
        manifest.name = data.find("name")->text;
        manifest.method = data.find("method")->text;
        manifest.precision = data.find("precision")->text;
        manifest.golden_margin = data.find("golden_margin")->number;
        const std::string &task = data.find("task")->text;
        manifest.instances = task == "instances";
        manifest.segmentation = task == "segmentation" || manifest.instances;
        if (!manifest.segmentation && task != "classification")
            faults.push_back("task is " + quoted(task) +
                             ", expected one of segmentation, classification, instances");
        if (manifest.precision != "fp32" && manifest.precision != "fp16" &&
            manifest.precision != "bf16" && manifest.precision != "int8")
            faults.push_back("precision is " + quoted(manifest.precision) +
                             ", expected one of fp32, fp16, bf16, int8");
        check_input(*data.find("input"), faults);
        for (const Json &output : data.find("outputs")->items) {
            if (!is_output(output))
                faults.emplace_back("an output lacks a name, dtype or shape");
            else
                manifest.outputs.push_back({output.find("name")->text, output.find("dtype")->text});
        }
        read_classes(*data.find("classes"), manifest.classes, faults);
        if (const Json *location = data.find("location"))
            read_location(*location, false, manifest.location, faults);
        if (const Json *files = data.find("files")) read_files(*files, manifest, faults);
    }
    if (!faults.empty()) {
        std::string all;
        for (const std::string &fault : faults) all += (all.empty() ? "" : "; ") + fault;
        bundle_error(source + " is malformed: " + all);
    }
    if (const Json *extra = data.find("extra"))
        if (const Json *about = member(*extra, "classification", Kind::object)) {
            manifest.decision = decision_from(*about);
            if (const Json *state = member(*about, "state", Kind::text)) {
                manifest.enrollable = !manifest.segmentation;
                manifest.class_state = state->text;
            }
        }
    const Json &input = *data.find("input");
    manifest.input_name = input.find("name")->text;
    manifest.height = static_cast<int>(input.find("height")->number);
    manifest.width = static_cast<int>(input.find("width")->number);
    return manifest;
}

}  // namespace trocar::detail
