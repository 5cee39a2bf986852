// From a label map to located instruments. docs/location.md is the algorithm, and the section
// numbers in the sources are its own. Sums and roundings equal Python's, so the results are equal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "confidence.hpp"
#include "fragments.hpp"
#include "location.hpp"
#include "manifest.hpp"
#include "region.hpp"
#include "runs.hpp"
#include "split_touching.hpp"
#include "tips.hpp"
#include "trocar/trocar.h"

namespace trocar::detail {

/// Rows of the class table that form one kind of instrument (section 1).
struct Group {
    int class_id = 0;
    bool is_joined = false;
    bool has_shafts = false;
    IsPart is_tip{};
    IsPart is_else_tip{};  // where no tip part is seen
    bool has_tips = false;
    bool has_else_tips = false;
};

/// One label map with all that its regions are measured with.
struct LabelMap {
    Grid grid;
    Confidence confidence;
    const float *instance_scores = nullptr;  // instead of the confidence, by group - 1
    std::int64_t min_pixels = 0;
    Border border;
    Point centre;  // of the view
};

/// An instrument with what decides its place in the result.
struct LocatedInstrument {
    trocar_instrument instrument;
    std::int64_t pixels;
    std::int32_t first_pixel;
    std::int32_t piece;  // of which it was made
};

/// Memory of `Locator`, reused from call to call. Every function states in its parameters what it
/// reads and what it writes.
struct LocateScratch {
    void prepare(int width, int height, std::size_t max_instruments);

    RegionFinder regions;
    TouchingSplitter splitter;
    TipFinder tips;

    Runs region;  // of one region

    std::vector<Piece> pieces;  // regions and parts of regions
    Runs piece_runs;            // of all pieces, one after the other
    FragmentJoiner joiner;
    std::vector<std::int32_t> chosen;  // indices of the pieces that are instruments

    Runs part;  // of one instrument; the numbers are those of its fragments

    Runs border;  // border pixels of one instrument
    RunComponents components;
    std::vector<std::int32_t> roots;  // of their components
    std::vector<std::int64_t> sizes;
    Runs entry;       // the entry's pixels
    Runs candidates;  // pixels of one instrument that may be tips

    std::vector<LocatedInstrument> located;
    std::vector<trocar_instrument> sorted;
    std::vector<std::int32_t> pieces_of;  // of the sorted ones
};

/// Measures the instrument whose runs are `scratch.part` (sections 4 to 7) and adds it to
/// `scratch.located`.
void add_instrument(const LabelMap &map, const Group &group, const Piece &piece,
                    LocateScratch &scratch);

/// Locates instruments; its memory grows to the largest map so far and stays.
class Locator {
  public:
    Locator(const std::vector<ClassRow> &classes, const LocationOptions &options);

    /// Allocates the memory that a map of that size can need.
    void prepare(int width, int height);

    /// The labels inside the field of view of `frame`: the map that was given, or a copy without
    /// gaps between its rows, valid until the next call (section 0).
    const std::uint8_t *visible(const std::uint8_t *labels, int width, int height,
                                std::ptrdiff_t stride, const trocar_frame &frame);

    /// Reads width, height and view of `frame`. The result is valid until the next call.
    /// `labels`: what `visible` returned.
    const std::vector<trocar_instrument> &locate(const std::uint8_t *labels, int width, int height,
                                                 std::ptrdiff_t stride,
                                                 const Confidence &confidence,
                                                 const trocar_frame &frame);

    /// One instrument for each instance. `instances`: numbers from 1, what `visible` returned,
    /// without gaps between its rows; `classes` and `scores`: `count` of each.
    const std::vector<trocar_instrument> &locate_instances(const std::uint8_t *instances, int width,
                                                           int height, const std::uint8_t *classes,
                                                           const float *scores, std::size_t count,
                                                           const trocar_frame &frame);

    /// Writes which of the last located instruments each pixel belongs to: 1 + its place, 0 for
    /// none. `map`: as large as the map that they were located in.
    void paint(std::uint8_t *map, int width, int height);

  private:
    void find_pieces(const LabelMap &map);
    /// Leaves the pieces that are instruments in `scratch_.chosen` (section 3b).
    void choose(const LabelMap &map, const trocar_frame &frame);
    /// Sorts what was located.
    const std::vector<trocar_instrument> &sorted();

    LocationOptions options_;
    std::vector<Group> groups_;
    GroupOf group_of_{};
    IsPart is_shaft_{};
    Group instance_group_;  // of one instance, without parts
    LocateScratch scratch_;
    std::vector<std::uint8_t> visible_;
};

}  // namespace trocar::detail
