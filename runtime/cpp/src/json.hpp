// Strict JSON (RFC 8259, UTF-8) for manifests, with the integer range of I-JSON (RFC 7493).
//
//     Json document = parse_json(text);   document.find("name")->text
//
// It accepts the same documents as contract/text/strict_json.py: no byte order mark, no lone
// surrogate, at most 100 levels, integers from -(2^53 - 1) to 2^53 - 1. Of equal keys the last one
// counts.
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
    double number = 0;  // of integer and real; infinite if it is too large for a double
    std::string text;   // UTF-8; of a number its characters in the document
    std::vector<Json> items;
    std::vector<std::pair<std::string, Json>> members;  // in order, equal keys included

    bool is(Kind wanted) const { return kind == wanted; }
    /// Integer or real (booleans are neither), and finite.
    bool is_number() const;
    /// The last member of that name, nullptr without one.
    const Json *find(std::string_view name) const;
};

// The reader is recursive; the limit keeps it from a stack overflow.
inline constexpr int max_json_depth = 100;
// 2^53 - 1. Larger integers have a double of at least 2^53, whatever their last digits.
inline constexpr double max_json_integer = 9007199254740991.0;

/// Throws std::invalid_argument with the byte offset.
Json parse_json(std::string_view text);

/// The canonical form of a document, of which hashes are made: no white space; members sorted by
/// the bytes of their names, of equal names the last one; numbers as the document writes them.
/// contract/text/canonical_json.py makes the same.
std::string canonical_json(const Json &value);

/// A text in quotes, for messages; at most 120 bytes of it.
std::string quoted(std::string_view text);

}  // namespace trocar::detail
