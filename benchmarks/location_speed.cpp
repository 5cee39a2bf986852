// How long libtrocar's location takes; benchmarks/location_speed.py builds and runs it.
//
//     location_speed MAPS COUNT HEIGHT WIDTH CLASSES OPTIONS FRAME_HEIGHT FRAME_WIDTH ROUNDS
//
// MAPS holds COUNT label maps and then as many maps of half confidences. CLASSES is a text file:
// a line `id<TAB>name<TAB>type<TAB>part` for each instrument row; OPTIONS is the object `location`
// of a manifest. Prints one JSON object: milliseconds of each map, the least of all rounds, and the
// number of instruments.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "locate.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using trocar::detail::ClassRow;

std::vector<ClassRow> classes_from(const char *path) {
    std::vector<ClassRow> rows;
    std::ifstream file(path);
    std::string line, id;
    while (std::getline(file, line)) {
        std::istringstream fields(line);
        ClassRow row;
        std::getline(fields, id, '\t');
        std::getline(fields, row.name, '\t');
        std::getline(fields, row.type, '\t');
        std::getline(fields, row.part, '\t');
        row.id = std::atoi(id.c_str());
        row.instrument = true;
        rows.push_back(row);
    }
    return rows;
}

trocar::detail::LocationOptions options_from(const char *path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    trocar::detail::LocationOptions options;
    std::vector<std::string> faults;
    trocar::detail::read_location(trocar::detail::parse_json(text.str()), true, options, faults);
    if (!faults.empty()) std::exit(2);
    return options;
}

}  // namespace

int main(int count, char **arguments) {
    if (count < 10) return 2;
    const auto maps = static_cast<std::size_t>(std::atoi(arguments[2]));
    const int height = std::atoi(arguments[3]);
    const int width = std::atoi(arguments[4]);
    const std::size_t pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    std::vector<std::uint8_t> labels(maps * pixels);
    std::vector<std::uint16_t> confidences(maps * pixels);
    std::ifstream file(arguments[1], std::ios::binary);
    file.read(reinterpret_cast<char *>(labels.data()), static_cast<std::streamsize>(labels.size()));
    file.read(reinterpret_cast<char *>(confidences.data()),
              static_cast<std::streamsize>(2 * confidences.size()));
    if (!file) return 2;
    trocar::detail::Locator locator(classes_from(arguments[5]), options_from(arguments[6]));
    trocar_frame frame{};
    frame.height = std::atoi(arguments[7]);
    frame.width = std::atoi(arguments[8]);
    const int rounds = std::atoi(arguments[9]);
    std::vector<double> least(maps, 1e9);
    std::size_t found = 0;
    for (int round = 0; round < rounds; ++round) {
        for (std::size_t i = 0; i < maps; ++i) {
            trocar::detail::Confidence confidence;
            confidence.half = confidences.data() + i * pixels;
            const auto start = Clock::now();
            const auto &instruments =
                locator.locate(labels.data() + i * pixels, width, height, width, confidence, frame);
            const double took =
                std::chrono::duration<double, std::milli>(Clock::now() - start).count();
            least[i] = std::min(least[i], took);
            if (round == 0) found += instruments.size();
        }
    }
    std::printf("{\"found\": %zu, \"ms\": [", found);
    for (std::size_t i = 0; i < maps; ++i) std::printf("%s%.4f", i == 0 ? "" : ", ", least[i]);
    std::printf("]}\n");
    return 0;
}
