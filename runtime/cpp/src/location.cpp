#include "location.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "error.hpp"
#include "manifest.hpp"
#include "text.hpp"

namespace trocar::detail {

namespace {

using Kind = Json::Kind;
using Names = std::vector<std::string>;
using Faults = std::vector<std::string>;

constexpr const char *remedy = "correct the named options; docs/location.md lists them";
constexpr const char *default_type = "instrument";
// Parts that may be named although a class table lacks them.
constexpr const char *known_parts[] = {"shaft",    "wrist", "manipulator", "clasper",
                                       "claspers", "jaw",   "jaws",        "tip"};
// Larger whole numbers are not in JSON either.
constexpr double too_large = 9007199254740992.0;

struct Switch {
    const char *name;
    bool LocationOptions::*value;
};
struct List {
    const char *name;
    Names LocationOptions::*value;
};
struct Number {
    const char *name;
    double LocationOptions::*value;
    double low, high;
};
struct Count {
    const char *name;
    std::int64_t LocationOptions::*value;
    double low, high;
};

constexpr Switch switches[] = {{"join_parts", &LocationOptions::join_parts},
                               {"mask_outside_view", &LocationOptions::mask_outside_view}};
constexpr List lists[] = {{"shaft_parts", &LocationOptions::shaft_parts},
                          {"tip_parts", &LocationOptions::tip_parts},
                          {"else_tip_parts", &LocationOptions::else_tip_parts},
                          {"classes", &LocationOptions::classes}};
constexpr Number numbers[] = {{"min_area", &LocationOptions::min_area, 0, 1},
                              {"min_relative_area", &LocationOptions::min_relative_area, 0, 1},
                              {"min_score", &LocationOptions::min_score, 0, 1},
                              {"relative_score", &LocationOptions::relative_score, 0, 1},
                              {"view_border", &LocationOptions::view_border, 0, 1},
                              {"strip_depth", &LocationOptions::strip_depth, 0, 0.5},
                              {"max_gap", &LocationOptions::max_gap, 0, 100},
                              {"max_angle", &LocationOptions::max_angle, 0, 90},
                              {"max_width_ratio", &LocationOptions::max_width_ratio, 1, 1000}};
constexpr Count counts[] = {{"min_pixels", &LocationOptions::min_pixels, 1, 67108864},
                            {"max_instruments", &LocationOptions::max_instruments, 0, 65536},
                            {"max_regions", &LocationOptions::max_regions, 0, 65536},
                            {"border", &LocationOptions::border, 0, 8192}};

std::string text_of(double number) {
    std::string text = std::to_string(number);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
    return text;
}

std::string listed(const Names &names) {
    std::string all;
    for (const std::string &name : names) all += (all.empty() ? "" : ", ") + name;
    return all;
}

void read_list(const Json &value, const List &item, LocationOptions &options, Faults &faults) {
    Names names;
    std::set<std::string> seen;
    bool good = value.is(Kind::array);
    for (const Json &name : value.items) {
        good = good && name.is(Kind::text) && !is_blank(name.text) && seen.insert(name.text).second;
        names.push_back(name.text);
    }
    if (good)
        options.*item.value = std::move(names);
    else
        faults.push_back(std::string(item.name) + " is no list of different names");
}

void check_range(const char *name, double number, double low, double high, Faults &faults) {
    if (!(number >= low && number <= high))
        faults.push_back(std::string(name) + " is " + text_of(number) + ", expected " +
                         text_of(low) + " to " + text_of(high));
}

void check_parts(const LocationOptions &options, Faults &faults) {
    for (const std::string &part : options.shaft_parts)
        if (has_name(options.tip_parts, part) || has_name(options.else_tip_parts, part))
            faults.push_back(part + " is a shaft part and a tip part: a part is one of them");
}

bool is_option(const std::string &name) {
    const auto has = [&](const auto &items) {
        return std::any_of(std::begin(items), std::end(items),
                           [&](const auto &item) { return name == item.name; });
    };
    return has(switches) || has(lists) || has(numbers) || has(counts);
}

[[noreturn]] void refuse(const Faults &faults) {
    std::string all;
    for (const std::string &fault : faults) all += (all.empty() ? "" : "; ") + fault;
    argument_error("location: " + all, remedy);
}

/// The names of a text with commas between, without white space around them.
Names split_names(const std::string &text) {
    Names names;
    std::size_t begin = 0;
    while (begin <= text.size()) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        const std::string name = text.substr(begin, end - begin);
        const std::size_t first = name.find_first_not_of(" \t");
        if (first != std::string::npos)
            names.push_back(name.substr(first, name.find_last_not_of(" \t") - first + 1));
        begin = end + 1;
    }
    return names;
}

void check_for_table(const LocationOptions &options, const std::vector<ClassRow> &classes,
                     Faults &faults) {
    Names instruments;
    Names parts(std::begin(known_parts), std::end(known_parts));
    for (const ClassRow &row : classes) {
        if (!row.part.empty() && !has_name(parts, row.part)) parts.push_back(row.part);
        if (!row.instrument) continue;
        const std::string type = joined_type(row, options);
        const std::string &name = type.empty() ? row.name : type;
        if (!has_name(instruments, name)) instruments.push_back(name);
    }
    for (const std::string &name : options.classes)
        if (!has_name(instruments, name))
            faults.push_back("classes: " + quoted(name) + " is not known, expected some of " +
                             listed(instruments));
    for (const List &item : lists) {
        if (item.value == &LocationOptions::classes) continue;
        for (const std::string &part : options.*item.value)
            if (!has_name(parts, part))
                faults.push_back(std::string(item.name) + ": " + quoted(part) +
                                 " is not known, expected some of " + listed(parts));
    }
}

}  // namespace

bool has_name(const Names &names, const std::string &name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

std::string joined_type(const ClassRow &row, const LocationOptions &options) {
    if (row.part.empty()) return "";
    return row.type.empty() && options.join_parts ? default_type : row.type;
}

void read_location(const Json &object, bool strict, LocationOptions &options, Faults &faults) {
    for (const Switch &item : switches)
        if (const Json *value = object.find(item.name)) {
            if (value->is(Kind::boolean))
                options.*item.value = value->boolean;
            else
                faults.push_back(std::string(item.name) + " is not true or false");
        }
    for (const List &item : lists)
        if (const Json *value = object.find(item.name)) read_list(*value, item, options, faults);
    for (const Number &item : numbers)
        if (const Json *value = object.find(item.name)) {
            if (!value->is_number() || !(std::fabs(value->number) < too_large))
                faults.push_back(std::string(item.name) + " is not a finite number");
            else
                check_range(item.name, options.*item.value = value->number, item.low, item.high,
                            faults);
        }
    for (const Count &item : counts)
        if (const Json *value = object.find(item.name)) {
            if (!value->is(Kind::integer)) {
                faults.push_back(std::string(item.name) + " is not a whole number");
                continue;
            }
            check_range(item.name, value->number, item.low, item.high, faults);
            options.*item.value = static_cast<std::int64_t>(value->number);
        }
    check_parts(options, faults);
    if (!strict) return;
    for (const auto &[name, value] : object.members)
        if (!is_option(name)) faults.push_back(quoted(name) + " is not known");
}

LocationOptions changed_location(const LocationOptions &options, const LocationChanges &changes,
                                 const std::vector<ClassRow> &classes) {
    LocationOptions changed = options;
    Faults faults;
    // A least score that is set alone is strict.
    bool is_strict = changes.min_score.has_value();
    if (!changes.json.empty()) {
        Json object;
        try {
            object = parse_json(changes.json);
        } catch (const std::invalid_argument &error) {
            refuse({std::string("the text is not JSON: ") + error.what()});
        }
        if (!object.is(Kind::object)) refuse({"the text is not a JSON object"});
        read_location(object, true, changed, faults);
        is_strict = (is_strict || object.find("min_score")) && !object.find("relative_score");
    }
    if (is_strict) changed.relative_score = 0;
    if (changes.min_area) changed.min_area = *changes.min_area;
    if (changes.min_pixels) changed.min_pixels = *changes.min_pixels;
    if (changes.min_score) changed.min_score = *changes.min_score;
    if (changes.max_instruments) changed.max_instruments = *changes.max_instruments;
    if (!changes.classes.empty()) changed.classes = split_names(changes.classes);
    for (const Number &item : numbers)
        check_range(item.name, changed.*item.value, item.low, item.high, faults);
    for (const Count &item : counts)
        check_range(item.name, static_cast<double>(changed.*item.value), item.low, item.high,
                    faults);
    check_for_table(changed, classes, faults);
    std::sort(faults.begin(), faults.end());
    faults.erase(std::unique(faults.begin(), faults.end()), faults.end());
    if (!faults.empty()) refuse(faults);
    return changed;
}

}  // namespace trocar::detail
