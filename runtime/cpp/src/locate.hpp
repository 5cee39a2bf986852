// From a label map to located instruments. docs/location.md is the algorithm; the section numbers
// in the sources are its. Every sum and rounding is Python's, so the numbers are equal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "clusters.hpp"
#include "manifest.hpp"
#include "regions.hpp"
#include "separate.hpp"
#include "tips.hpp"
#include "trocar/trocar.h"

namespace trocar::detail {

struct LocateOptions {
    double min_area = 0.0005;
    int min_pixels = 16;
};

/// Rows of the class table that form one kind of instrument (section 1).
struct Group {
    int class_id = 0;
    bool joined = false;
    bool has_shafts = false;
    IsPart tips{};
    bool has_tips = false;
};

/// Confidence as the graph gives it, tightly packed: one pointer is set, or none.
struct Confidence {
    const std::uint16_t *half = nullptr;
    const float *single = nullptr;
    const std::uint8_t *byte = nullptr;
};

/// Locates on label maps; its memory grows to the largest map it has seen and stays.
class Locator {
  public:
    Locator(const std::vector<ClassRow> &classes, const LocateOptions &options);

    /// Takes the memory that a map of that size can need.
    void prepare(int width, int height);

    /// `frame` gives width, height and view. The result stays valid until the next call.
    const std::vector<trocar_instrument> &locate(const std::uint8_t *labels, int width, int height,
                                                 std::ptrdiff_t stride,
                                                 const Confidence &confidence,
                                                 const trocar_frame &frame);

  private:
    struct Order {
        int class_id;
        std::int64_t pixels;
        std::int32_t first;
        std::uint32_t index;
    };

    void set_view(const trocar_frame &frame);
    void mark_border(const Pixels &pixels);
    bool on_border(Pixel pixel) const;
    void take(const Group &group, const Pixels &pixels);
    bool find_entry(const Pixels &pixels, Point &entry);
    Point outer_end(const Pixels &pixels, Point axis) const;
    void choose_candidates(const Group &group, const Pixels &pixels, bool has_entry);
    double mean_confidence(const Pixels &pixels) const;

    LocateOptions options_;
    std::vector<Group> groups_;
    GroupOf group_of_{};
    IsPart shaft_{};

    Grid grid_;
    Confidence confidence_;
    Point centre_;
    bool has_view_ = false;
    double view_square_ = 0;

    Clusters clusters_;
    Regions regions_;
    Separator separator_;
    TipFinder tips_;
    Pixels region_, piece_, border_;
    std::vector<char> on_border_;
    std::vector<std::int32_t> roots_, sizes_;
    std::vector<std::int32_t> entry_;  // places in piece_ of the entry's cluster, ascending
    std::vector<std::int32_t> border_places_;
    std::vector<Order> order_;
    std::vector<trocar_instrument> found_, sorted_;
};

}  // namespace trocar::detail
