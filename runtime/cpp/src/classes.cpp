#include "classes.hpp"

#include <stdexcept>

#include "error.hpp"
#include "json.hpp"
#include "npz.hpp"

namespace trocar::detail {

namespace {

constexpr std::string_view prefix = "input_";

/// Whether the state says that it differs; `classes` receives how many there are.
bool is_changed(const Array &about, std::size_t &classes) {
    try {
        const Json data = parse_json(about.data);
        const Json *names = data.find("names");
        const Json *changed = data.find("changed");
        if (names != nullptr && names->is(Json::Kind::array) && changed != nullptr &&
            changed->is(Json::Kind::boolean)) {
            classes = names->items.size();
            return changed->boolean;
        }
    } catch (const std::invalid_argument &error) {
        bundle_error(std::string("the classes are malformed: ") + error.what());
    }
    bundle_error("the classes are malformed: names or changed is missing");
}

}  // namespace

std::vector<Input> enrolled_classes(const std::string &file) {
    const auto arrays = read_npz(file);
    const auto about = arrays.find("about");
    if (about == arrays.end() || about->second.dtype != "|u1")
        bundle_error("the classes are malformed: about is missing");
    std::size_t classes = 0;
    std::vector<Input> inputs;
    if (!is_changed(about->second, classes)) return inputs;
    for (const auto &[name, array] : arrays) {
        if (std::string_view(name).substr(0, prefix.size()) != prefix) continue;
        if (!array.is_real() || array.shape.empty() ||
            static_cast<std::size_t>(array.shape[0]) != classes)
            bundle_error("the classes are malformed: " + name + " has the wrong number of classes");
        Input input{name.substr(prefix.size()), array.shape, {}};
        for (std::size_t i = 0; i < array.count(); ++i)
            input.data.push_back(static_cast<float>(array.real(i)));
        inputs.push_back(std::move(input));
    }
    return inputs;
}

}  // namespace trocar::detail
