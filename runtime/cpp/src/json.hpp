// A strict JSON reader (RFC 8259, UTF-8): enough for manifests, hard on everything malformed.
//
//     Json document = parse_json(text);   document.find("name")->text
//
// It accepts what Python's contract accepts: no byte order mark, no lone surrogates, nesting of at
// most 100 levels, integers of at most 4300 digits; `find` gives the last
// of equal keys.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trocar::detail {

struct Json {
    enum class Kind { null, boolean, integer, real, text, array, object };

    Kind kind = Kind::null;
    bool boolean = false;
    double number = 0;  // of integer and real; infinite where it does not fit
    std::string text;   // UTF-8
    std::vector<Json> items;
    std::vector<std::pair<std::string, Json>> members;  // in order, equal keys included

    bool is(Kind wanted) const { return kind == wanted; }
    /// Integer or real (booleans are neither), and finite.
    bool is_number() const;
    /// The last member of that name, nullptr without one.
    const Json *find(std::string_view name) const;
};

inline constexpr int max_json_depth = 100;
inline constexpr int max_json_digits = 4300;

/// Throws std::invalid_argument with the byte offset.
Json parse_json(std::string_view text);

/// A text as JSON source, for messages.
std::string quoted(std::string_view text);

}  // namespace trocar::detail
