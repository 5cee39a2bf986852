// The golden frame of an instance model: every instance of the exporter must be found again.
#include <algorithm>
#include <array>
#include <cmath>

#include "error.hpp"
#include "golden.hpp"

namespace trocar::detail {

namespace {

// Smallest IoU of an instance with the exporter's, and of one that the exporter had too.
constexpr double min_iou = 0.9;
constexpr double known_iou = 0.5;

/// Shared pixels and sizes of the instances of two maps.
class Overlaps {
  public:
    Overlaps(const std::uint8_t *first, const std::uint8_t *second, std::size_t pixels)
        : shared_(256 * 256) {
        for (std::size_t i = 0; i < pixels; ++i) {
            ++shared_[std::size_t{256} * first[i] + second[i]];
            ++first_[first[i]];
            ++second_[second[i]];
        }
    }
    std::int64_t second(std::size_t number) const { return second_[number]; }
    double iou(std::size_t first, std::size_t second) const {
        if (first == 0 || second == 0) return 0;
        const std::int64_t both = shared_[256 * first + second];
        const std::int64_t all = first_[first] + second_[second] - both;
        return all > 0 ? static_cast<double>(both) / static_cast<double>(all) : 0;
    }

  private:
    std::vector<std::int64_t> shared_;
    std::array<std::int64_t, 256> first_{}, second_{};
};

const std::uint8_t *bytes_of(const Array &array) {
    return reinterpret_cast<const std::uint8_t *>(array.data.data());
}

}  // namespace

bool Golden::is_compared(std::size_t number, double min_margin) const {
    const Array &margin = arrays_.at("margin");
    const Array &map = arrays_.at("instances");
    return margin.real(number - 1) > margin.rounded(min_margin) &&
           map.data.find(static_cast<char>(number)) != std::string_view::npos;
}

void Golden::check_instances(double min_margin, std::size_t classes) const {
    const Array &labels = arrays_.at("labels");
    const std::size_t count = arrays_.at("scores").count();
    bool any = false;
    for (std::size_t number = 1; number <= count && !any; ++number)
        any = is_compared(number, min_margin);
    if (!any)
        bundle_error("the golden frame proves nothing: no instance has a margin above the limit",
                     "export again with frames on which the model finds instances");
    const std::uint8_t *first = bytes_of(labels);
    const int highest = *std::max_element(first, first + labels.count());
    if (static_cast<std::size_t>(highest) >= classes)
        bundle_error("golden.npz has label " + std::to_string(highest) +
                     ", but the class table ends at " + std::to_string(classes - 1));
}

std::string Golden::instance_fault(const Outputs &outputs, double min_margin) const {
    const Array &map = arrays_.at("instances");
    const Array &scores = arrays_.at("scores");
    const Array &margin = arrays_.at("margin");
    std::vector<std::int64_t> shape = outputs.instances->shape;
    shape.erase(shape.begin());
    if (shape != map.shape)
        return "instances " + shape_text(shape) + ", expected " + shape_text(map.shape);
    const auto *found = static_cast<const std::uint8_t *>(outputs.instances->data);
    const auto *found_classes = static_cast<const std::uint8_t *>(outputs.classes->data);
    const auto *found_scores = static_cast<const float *>(outputs.scores->data);
    const Overlaps overlaps(bytes_of(map), found, map.count());
    for (std::size_t number = 1; number <= scores.count(); ++number) {
        if (!is_compared(number, min_margin)) continue;
        const std::string what = "instance " + std::to_string(number);
        std::size_t other = 0;
        for (std::size_t i = 1; i < 256; ++i)
            if (overlaps.iou(number, i) > overlaps.iou(number, other)) other = i;
        if (overlaps.iou(number, other) < min_iou)
            return what + " has an IoU of " + std::to_string(overlaps.iou(number, other)) +
                   ", expected 0.9";
        if (found_classes[other - 1] != bytes_of(arrays_.at("classes"))[number - 1])
            return what + " has another class";
        const double difference =
            std::fabs(static_cast<double>(found_scores[other - 1]) - scores.real(number - 1));
        if (!(difference <= min_margin))
            return "the score of " + what + " differs by " + std::to_string(difference) +
                   ", expected " + std::to_string(min_margin);
    }
    const double least = scores.real(0) - margin.real(0);
    for (std::size_t other = 1; other < 256; ++other) {
        if (overlaps.second(other) == 0) continue;
        bool known = false;
        for (std::size_t i = 1; i <= scores.count() && !known; ++i)
            known = overlaps.iou(i, other) >= known_iou;
        if (!known && static_cast<double>(found_scores[other - 1]) - least > min_margin)
            return "instance " + std::to_string(other) + " is one that the exporter did not have";
    }
    return {};
}

}  // namespace trocar::detail
