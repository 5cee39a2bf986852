// Reads arrays of an uncompressed .npz file (zip, entries stored, .npy format 1 to 3).
//
//     auto arrays = read_npz(bytes);   arrays.at("labels").data
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace trocar::detail {

struct Array {
    std::string dtype;                // as NumPy writes it: |u1, <f4 …
    std::vector<std::int64_t> shape;  // no negative dimension
    std::string_view data;            // into the file's bytes, C order, size checked

    std::size_t count() const;
    /// Element of a <f2, <f4 or <f8 array as double.
    double real(std::size_t index) const;
    /// A number rounded to the array's type, as NumPy compares an array with a plain number.
    double rounded(double number) const;
    bool is_real() const { return dtype == "<f2" || dtype == "<f4" || dtype == "<f8"; }
};

/// The file's bytes must outlive the arrays. Throws Error with TROCAR_ERROR_BUNDLE.
std::map<std::string, Array> read_npz(std::string_view file);

}  // namespace trocar::detail
