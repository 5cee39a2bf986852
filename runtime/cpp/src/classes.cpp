#include "classes.hpp"

#include <algorithm>
#include <cstring>
#include <set>
#include <stdexcept>

#include "error.hpp"
#include "json.hpp"
#include "npz.hpp"

namespace trocar::detail {

namespace {

using Kind = Json::Kind;

constexpr std::string_view prefix = "input_";

[[noreturn]] void malformed(const std::string &what) {
    bundle_error("the classes are malformed: " + what);
}

const Array &array_of(const std::map<std::string, Array> &arrays, const char *name) {
    const auto found = arrays.find(name);
    if (found == arrays.end()) malformed(std::string(name) + " is missing");
    return found->second;
}

/// The metadata of the classes.
struct Metadata {
    explicit Metadata(const std::string &text) {
        Json data;
        try {
            data = parse_json(text);
        } catch (const std::invalid_argument &error) {
            malformed(error.what());
        }
        const Json &all = list(data, "names", Kind::text);
        std::set<std::string> seen;
        for (const Json &name : all.items) {
            seen.insert(name.text);
            guard.names.push_back(name.text);
        }
        classes = all.items.size();
        if (seen.size() != classes || list(data, "trained", Kind::boolean).items.size() != classes)
            malformed("names repeat, or names and origins differ in number");
        photographs = list(data, "digests", Kind::text).items.size();
        guard.changed = member(data, "changed", Kind::boolean).boolean;
        member(data, "previous", Kind::text);
        if (data.find("classes") != nullptr && !list(data, "classes", Kind::object).items.empty())
            guard.table = canonical_json(*data.find("classes"));
    }
    std::size_t classes = 0, photographs = 0;
    ClassGuard guard;

  private:
    static const Json &member(const Json &data, const char *name, Kind kind) {
        const Json *found = data.find(name);
        if (found == nullptr || !found->is(kind))
            malformed(std::string(name) + " is missing or of the wrong type");
        return *found;
    }
    static const Json &list(const Json &data, const char *name, Kind kind) {
        const Json &found = member(data, name, Kind::array);
        if (!std::all_of(found.items.begin(), found.items.end(),
                         [&](const Json &item) { return item.is(kind); }))
            malformed(std::string(name) + " contains a value of the wrong type");
        return found;
    }
};

void check_rows(const std::map<std::string, Array> &arrays, const Metadata &metadata) {
    const Array &features = array_of(arrays, "features");
    const Array &owners = array_of(arrays, "owners");
    if (!features.is_real() || features.shape.size() != 2 || owners.dtype != "<i8" ||
        owners.shape.size() != 1 || features.shape[0] != owners.shape[0] ||
        owners.count() != metadata.photographs)
        malformed("features, owners and photographs differ in number or are of the wrong type");
    for (std::size_t i = 0; i < owners.count(); ++i) {
        std::uint64_t owner = 0;  // a negative one is larger than any number of classes
        std::memcpy(&owner, owners.data.data() + 8 * i, sizeof owner);
        if (owner >= metadata.classes) malformed("a row belongs to no class");
    }
}

Input input_from(const std::string &name, const Array &array, std::size_t classes) {
    if (!array.is_real() || array.shape.empty() ||
        static_cast<std::size_t>(array.shape[0]) != classes)
        malformed(name + " has the wrong number of classes or type");
    Input input{name.substr(prefix.size()), array.shape, {}};
    input.data.reserve(array.count());
    for (std::size_t i = 0; i < array.count(); ++i)
        input.data.push_back(static_cast<float>(array.real(i)));
    return input;
}

Metadata metadata_of(const std::map<std::string, Array> &arrays) {
    const Array &text = array_of(arrays, "about");
    if (text.dtype != "|u1") malformed("about is not a text");
    Metadata metadata{std::string(text.data)};
    check_rows(arrays, metadata);
    return metadata;
}

}  // namespace

ClassGuard class_guard(const std::string &file) { return metadata_of(read_npz(file)).guard; }

std::vector<Input> enrolled_classes(const std::string &file) {
    const auto arrays = read_npz(file);
    const Metadata metadata = metadata_of(arrays);
    std::vector<Input> inputs;
    for (const auto &[name, array] : arrays)
        if (std::string_view(name).substr(0, prefix.size()) == prefix)
            inputs.push_back(input_from(name, array, metadata.classes));
    if (!metadata.guard.changed) inputs.clear();
    return inputs;
}

}  // namespace trocar::detail
