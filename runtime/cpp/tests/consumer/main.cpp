// Refuses a folder that is not there; with arguments runs one frame:  main BUNDLE LIBRARY
#include <cstdio>
#include <trocar/trocar.hpp>
#include <vector>

static int run(const char *bundle, const char *library) {
    constexpr int width = 128, height = 96;
    std::vector<std::uint8_t> rgb;
    for (int i = 0; i < width * height; ++i) {
        // A blue bar from the left on red.
        const bool bar = i / width > 30 && i / width < 48 && i % width < 80;
        rgb.push_back(bar ? 60 : 180);
        rgb.push_back(60);
        rgb.push_back(bar ? 210 : 50);
    }
    trocar::Options options;
    options.library = library;
    trocar::Session session(bundle, options);
    const auto found = session.run({rgb.data(), width, height}).instruments();
    for (const trocar_instrument &one : found)
        std::printf("%.*s\n", static_cast<int>(session.name_of(one).size()),
                    session.name_of(one).data());
    return found.size() == 1 ? 0 : 1;
}

int main(int count, char **arguments) {
    try {
        if (count == 3) return run(arguments[1], arguments[2]);
        trocar::Session session("/nowhere");
    } catch (const trocar::Error &error) {
        std::printf("%s: %s\n%s\n", trocar_status_name(error.code()), error.what(),
                    error.remedy().c_str());
        return count != 3 && error.code() == TROCAR_ERROR_BUNDLE ? 0 : 1;
    }
    return 1;
}
