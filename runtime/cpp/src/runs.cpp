#include "runs.hpp"

namespace trocar::detail {

void append(Runs &runs, const Run &run) {
    if (!runs.empty()) {
        Run &last = runs.back();
        if (last.y == run.y && last.end == run.begin && last.number == run.number) {
            last.end = run.end;
            return;
        }
    }
    runs.push_back(run);
}

std::int64_t count_pixels(const Runs &runs) {
    std::int64_t count = 0;
    for (const Run &run : runs) count += run.end - run.begin;
    return count;
}

void RunComponents::find(const Runs &runs, std::vector<std::int32_t> &roots) {
    sets_.clear();
    std::size_t above = 0;
    std::size_t current = 0;
    while (current < runs.size()) {
        const std::int16_t y = runs[current].y;
        std::size_t end = current;
        for (; end < runs.size() && runs[end].y == y; ++end) sets_.add();
        if (above < current && runs[above].y + 1 == y) join_rows(runs, above, current, end);
        above = current;
        current = end;
    }
    roots.clear();
    for (std::size_t i = 0; i < runs.size(); ++i)
        roots.push_back(sets_.root(static_cast<std::int32_t>(i)));
}

void RunComponents::join_rows(const Runs &runs, std::size_t above, std::size_t current,
                              std::size_t end) {
    const auto join_if_touching = [&](std::size_t a, std::size_t b) {
        const Run &upper = runs[a];
        const Run &lower = runs[b];
        // Corners count, so runs touch even if one begins in the column where the other ends.
        if (upper.begin <= lower.end && lower.begin <= upper.end && upper.number == lower.number)
            sets_.join(static_cast<std::int32_t>(a), static_cast<std::int32_t>(b));
    };
    std::size_t a = above;
    std::size_t b = current;
    while (a < current && b < end) {
        join_if_touching(a, b);
        if (runs[a].end < runs[b].end) {
            ++a;
            continue;
        }
        // If both end in one column, each may touch the next run of the other at a corner.
        if (runs[a].end == runs[b].end && a + 1 < current) join_if_touching(a + 1, b);
        ++b;
    }
}

}  // namespace trocar::detail
