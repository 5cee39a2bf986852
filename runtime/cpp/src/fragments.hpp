// Joins fragments that continue an instrument's axis and width (section 3a).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "location.hpp"
#include "moments.hpp"
#include "region.hpp"

namespace trocar::detail {

/// A region, or a part of one; several may be fragments of one instrument.
struct Piece {
    int group = 0;
    std::int32_t begin = 0, end = 0;  // its runs, in the list of all pieces' runs
    std::int32_t first_pixel = 0;     // y * width + x
    Moments moments;                  // of all fragments
    bool touches_border = false;
    bool is_absorbed = false;  // into another piece
    std::int32_t next = -1;    // the next fragment
    double score = 1;
};

class FragmentJoiner {
  public:
    void prepare(std::size_t max_pieces) { order_.reserve(max_pieces); }
    /// Joins the fragments of each group: the others become `next` of the first and absorbed.
    void join(const Grid &grid, const LocationOptions &options, std::vector<Piece> &pieces);

    /// Joins all pieces of each group, the `max_fragments` largest ones; the others are absorbed
    /// without becoming a part of it.
    void join_all(std::vector<Piece> &pieces);

  private:
    /// Puts the indices of the pieces into `order_`: by group, pixels descending, first pixel.
    void sort(const std::vector<Piece> &pieces);

    struct Shape {
        std::int32_t piece;
        Point centre;
        PrincipalAxis axis;
        double length, width;
    };
    static constexpr std::size_t max_fragments = 16;

    /// Joins among the shapes 0 to `count` - 1.
    void join_group(const Grid &grid, std::vector<Piece> &pieces, std::size_t count);
    /// Index of the shape that continues `base` with the smallest gap; `count` if none does.
    std::size_t nearest(std::size_t base, const std::vector<Piece> &pieces,
                        std::size_t count) const;
    /// The gap along the axis of `base`; infinite if `other` does not continue it.
    double gap(const Shape &base, const Shape &other, const std::vector<Piece> &pieces) const;

    std::vector<std::int32_t> order_;
    Shape shapes_[max_fragments] = {};
    double slope_ = 0, cosine_ = 0, max_gap_ = 0, max_width_ratio_ = 0;
};

}  // namespace trocar::detail
