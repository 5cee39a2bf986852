// Predicates on texts, with the same results as Python's.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace trocar::detail {

inline bool is_digits(std::string_view text) {
    return !text.empty() &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

inline bool is_sha256(std::string_view text) {
    return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
           });
}

/// Whether it contains a character below U+0020.
inline bool has_control(std::string_view text) {
    return std::any_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0x20; });
}

/// Whether it consists of Unicode white space only; `text` is valid UTF-8.
inline bool is_blank(std::string_view text) {
    const std::string_view wide[] = {"\u0085", "\u00A0", "\u1680", "\u2000", "\u2001",
                                     "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
                                     "\u2007", "\u2008", "\u2009", "\u200A", "\u2028",
                                     "\u2029", "\u202F", "\u205F", "\u3000"};
    while (!text.empty()) {
        const auto first = static_cast<unsigned char>(text[0]);
        if ((first >= 9 && first <= 13) || (first >= 28 && first <= 32)) {
            text.remove_prefix(1);
            continue;
        }
        const auto *space = std::find_if(std::begin(wide), std::end(wide), [&](auto candidate) {
            return text.substr(0, candidate.size()) == candidate;
        });
        if (space == std::end(wide)) return false;
        text.remove_prefix(space->size());
    }
    return true;
}

}  // namespace trocar::detail
