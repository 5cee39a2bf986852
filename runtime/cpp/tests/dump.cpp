// Writes what libtrocar says of frames, to the last bit, for comparisons of two machines:
//
//     dump BUNDLE LIBRARY LABELS FRAME.ppm…
//
// The label maps go to the file LABELS, one after the other; a line for each frame and each
// instrument, with hexadecimal floating-point numbers, to the standard output. Opening the bundle
// has computed its golden frame.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "trocar/trocar.hpp"

namespace {

struct Picture {
    int width = 0, height = 0;
    std::vector<unsigned char> pixels;
};

Picture read_ppm(const char *path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    int most = 0;
    Picture picture;
    file >> kind >> picture.width >> picture.height >> most;
    file.get();
    picture.pixels.resize(static_cast<std::size_t>(picture.width) *
                          static_cast<std::size_t>(picture.height) * 3);
    file.read(reinterpret_cast<char *>(picture.pixels.data()),
              static_cast<std::streamsize>(picture.pixels.size()));
    if (!file || kind != "P6" || most != 255) {
        std::fprintf(stderr, "cannot read %s\n", path);
        std::exit(2);
    }
    return picture;
}

void print(const trocar_instrument &found) {
    std::printf("  class %d score %a area %a angle %a box %a %a %a %a centroid %a %a axis %a %a",
                found.class_id, found.score, found.area, found.angle, found.box[0], found.box[1],
                found.box[2], found.box[3], found.centroid[0], found.centroid[1], found.axis[0],
                found.axis[1]);
    for (int tip = 0; tip < found.tip_count; ++tip)
        std::printf(" tip %a %a", found.tips[tip][0], found.tips[tip][1]);
    if (found.has_entry != 0) std::printf(" entry %a %a", found.entry[0], found.entry[1]);
    std::printf("\n");
}

}  // namespace

int main(int count, char **arguments) {
    if (count < 5) return 2;
    try {
        trocar::Options options;
        options.library = arguments[2];
        options.threads = 1;
        const trocar::Session session(arguments[1], options);
        std::ofstream labels(arguments[3], std::ios::binary);
        trocar::Result result;
        for (int i = 4; i < count; ++i) {
            const Picture picture = read_ppm(arguments[i]);
            session.run({picture.pixels.data(), picture.width, picture.height}, result);
            const auto map = result.labels();
            labels.write(reinterpret_cast<const char *>(map.data()),
                         static_cast<std::streamsize>(map.size()));
            std::printf("frame %d instruments %zu\n", i - 4, result.instruments().size());
            for (const trocar_instrument &found : result.instruments()) print(found);
        }
        labels.close();
        return labels ? 0 : 3;
    } catch (const trocar::Error &error) {
        std::fprintf(stderr, "%s\n%s\n", error.what(), error.remedy().c_str());
        return error.code();
    }
}
