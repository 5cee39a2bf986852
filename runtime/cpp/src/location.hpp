// The options of location, as contract/location.py reads and refuses them. A key that is missing in
// a manifest has the value of version 0.1, which is the default here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "json.hpp"

namespace trocar::detail {

struct ClassRow;

/// What counts as an instrument; docs/location.md states every option.
struct LocationOptions {
    bool join_parts = false;
    std::vector<std::string> shaft_parts = {"shaft"};
    std::vector<std::string> tip_parts = {"clasper", "jaw", "tip"};
    std::vector<std::string> else_tip_parts;
    std::vector<std::string> classes;
    double min_area = 0.0005;
    std::int64_t min_pixels = 16;
    double min_relative_area = 0;
    double min_score = 0;
    double relative_score = 0;
    std::int64_t max_instruments = 0;
    std::int64_t max_regions = 0;
    std::int64_t border = 2;
    double view_border = 0.03;
    bool mask_outside_view = false;
    double strip_depth = 0;
    double max_gap = 0;
    double max_angle = 15;
    double max_width_ratio = 2;
};

/// Changes that a program makes when it opens a session; applied in this order.
struct LocationChanges {
    std::string json;  // an object of options by name; may be empty
    std::optional<double> min_area;
    std::optional<std::int64_t> min_pixels;
    std::optional<double> min_score;
    std::optional<std::int64_t> max_instruments;
    std::string classes;  // names with commas between; may be empty
};

/// Reads an object of options into `options`; adds what is wrong to `faults`.
/// `strict`: whether unknown names are wrong too.
void read_location(const Json &object, bool strict, LocationOptions &options,
                   std::vector<std::string> &faults);

/// Options with changes, checked with the class table. Throws Error with TROCAR_ERROR_ARGUMENT.
LocationOptions changed_location(const LocationOptions &options, const LocationChanges &changes,
                                 const std::vector<ClassRow> &classes);

/// Whether a list of names has this one.
bool has_name(const std::vector<std::string> &names, const std::string &name);

/// The type by which a row joins with other parts; empty if it is an instrument by itself.
std::string joined_type(const ClassRow &row, const LocationOptions &options);

}  // namespace trocar::detail
