// Bundles for tests, written by the test itself: they need no Python.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "sha256.hpp"
#include "trocar/trocar.h"

namespace fixture {

inline std::string number(std::uint64_t value, int bytes) {
    std::string out;
    for (int i = 0; i < bytes; ++i, value >>= 8) out.push_back(static_cast<char>(value & 255));
    return out;
}

inline std::uint32_t crc32(const std::string &data) {
    std::uint32_t crc = 0xFFFFFFFFU;
    for (const char c : data) {
        crc ^= static_cast<unsigned char>(c);
        for (int k = 0; k < 8; ++k) crc = (crc & 1) != 0 ? 0xEDB88320U ^ (crc >> 1) : crc >> 1;
    }
    return ~crc;
}

/// A .npy file.
inline std::string npy(const std::string &dtype, const std::string &shape,
                       const std::string &data) {
    std::string header =
        "{'descr': '" + dtype + "', 'fortran_order': False, 'shape': " + shape + ", }";
    header.resize((header.size() + 11 + 63) / 64 * 64 - 11, ' ');
    header += '\n';
    return std::string("\x93NUMPY\x01\0", 8) + number(header.size(), 2) + header + data;
}

/// A zip file whose entries are stored.
inline std::string zip(const std::map<std::string, std::string> &entries) {
    std::string out;
    std::string directory;
    for (const auto &[name, data] : entries) {
        const std::string common = number(20, 2) + number(0, 8) + number(crc32(data), 4) +
                                   number(data.size(), 4) + number(data.size(), 4) +
                                   number(name.size(), 2) + number(0, 2);
        directory +=
            "PK\x01\x02" + number(20, 2) + common + number(0, 10) + number(out.size(), 4) + name;
        out += "PK\x03\x04" + common + name + data;
    }
    const std::size_t start = out.size();
    return out + directory + "PK\x05\x06" + number(0, 4) + number(entries.size(), 2) +
           number(entries.size(), 2) + number(directory.size(), 4) + number(start, 4) +
           number(0, 2);
}

/// RGB with a blue bar from the left and a green one from the top, on red.
inline std::vector<std::uint8_t> picture(int height, int width) {
    std::vector<std::uint8_t> rgb;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            const bool blue = y * 10 > height * 3 && y * 10 < height * 5 && x * 10 < width * 6;
            const bool green = x * 10 > width * 7 && x * 10 < width * 8 && y * 10 < height * 6;
            rgb.push_back(blue || green ? 60 : 180);
            rgb.push_back(green ? 200 : 60);
            rgb.push_back(blue ? 210 : 50);
        }
    return rgb;
}

/// `more` is put in as it is: further members, each with a comma behind it.
inline std::string manifest(const std::string &task, const std::string &files, int height,
                            int width, const std::string &more = "", int enrolled = 0) {
    std::string rows = R"({"id": 0, "name": "background"},
  {"id": 1, "name": "grasper", "instrument": true, "colour": [1, 2, 3], "type": "t"},
  {"id": 2, "name": "scissors", "instrument": true})";
    for (int i = 0; i < enrolled; ++i)
        rows = (i == 0 ? "" : rows + ", ") + R"({"id": )" + std::to_string(i) +
               R"(, "name": "class )" + std::to_string(i) + "\"}";
    return "{" + more + R"("schema": "1.0", "name": "test", "task": ")" + task +
           R"(", "method": "none", "precision": "fp32", "golden_margin": 0.5, "outputs": [],
 "classes": [)" +
           rows + R"(],
 "input": {"name": "frame", "height": )" +
           std::to_string(height) + R"(, "width": )" + std::to_string(width) +
           R"(, "mean": [0, 0, 0], "std": [1, 1, 1]}, "files": {)" + files + "}}";
}

inline void write_file(const std::filesystem::path &path, const std::string &data) {
    std::ofstream(path, std::ios::binary) << data;
}

/// A folder that goes away with the object; in memory where the system offers that.
class Folder {
  public:
    Folder() {
        const std::filesystem::path memory = "/dev/shm";
        const auto root =
            ::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
        std::string name = (root / "trocar-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        path = name;
    }
    Folder(const Folder &) = delete;
    Folder &operator=(const Folder &) = delete;
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::filesystem::path path;
};

/// The state of enrolled classes, as contract/class_store.py writes it: one row of 6 a class.
inline std::string class_state(int classes, const std::string &changed = "true") {
    std::string names;
    std::string flags;
    std::string rows;
    std::string owners;
    for (int i = 0; i < classes; ++i) {
        const std::string comma = i == 0 ? "" : ", ";
        names += comma + "\"class " + std::to_string(i) + "\"";
        flags += comma + "true";
        owners += number(static_cast<std::uint64_t>(i), 8);
        for (int k = 0; k < 6; ++k) rows += number(0x3F800000U + static_cast<unsigned>(i), 4);
    }
    std::string digests = flags;
    for (std::size_t at = 0; (at = digests.find("true")) != std::string::npos;)
        digests.replace(at, 4, "\"\"");
    const std::string about = R"({"names": [)" + names + R"(], "trained": [)" + flags +
                              R"(], "digests": [)" + digests + R"(], "changed": )" + changed +
                              R"(, "previous": ""})";
    const std::string count = std::to_string(classes);
    return zip({{"about.npy", npy("|u1", "(" + std::to_string(about.size()) + ",)", about)},
                {"features.npy", npy("<f4", "(" + count + ", 6)", rows)},
                {"owners.npy", npy("<i8", "(" + count + ",)", owners)},
                {"input_centroids.npy", npy("<f4", "(" + count + ", 6)", rows)}});
}

/// Writes a bundle of the stand-in library's kind; `model` is its line of text, `classes` the
/// state of a classifier's classes or empty.
inline std::string write_bundle(const std::filesystem::path &path, const std::string &model,
                                int height = 48, int width = 64, const std::string &classes = "") {
    std::filesystem::create_directories(path);
    const bool segmentation = model.rfind("seg", 0) == 0;
    const std::vector<std::uint8_t> rgb = picture(height, width);
    const std::string shape = "(" + std::to_string(height) + ", " + std::to_string(width);
    std::map<std::string, std::string> arrays;
    arrays["frame.npy"] = npy("|u1", shape + ", 3)", {rgb.begin(), rgb.end()});
    if (segmentation) {
        std::string labels;
        for (std::size_t i = 0; i < rgb.size(); i += 3)
            labels.push_back(static_cast<char>(rgb[i + 2] > 150 ? 1 : rgb[i + 1] > 150 ? 2 : 0));
        const std::string one = number(0x3F800000, 4);
        std::string margin;
        for (std::size_t i = 0; i < labels.size(); ++i) margin += one;
        arrays["labels.npy"] = npy("|u1", shape + ")", labels);
        arrays["margin.npy"] = npy("<f4", shape + ")", margin);
    } else {
        arrays["scores.npy"] = npy("<f4", "(3,)", number(0x3F800000, 4) + number(0, 8));
        arrays["margin.npy"] = npy("<f4", "()", number(0x3F800000, 4));
    }
    const std::string golden = zip(arrays);
    const auto hash = [](const char *name, const std::string &data) {
        return "\"" + std::string(name) + "\": \"" + trocar::detail::sha256_hex(data) + "\"";
    };
    write_file(path / "model.onnx", model);
    write_file(path / "golden.npz", golden);
    std::string files = hash("model.onnx", model) + ", " + hash("golden.npz", golden);
    std::string extra;
    // Once in the names of the state, for each of its classes.
    int enrolled = 0;
    if (!classes.empty()) {
        if (classes.find("\"changed\": true") != std::string::npos)
            for (std::size_t at = 0; (at = classes.find("\"class ", at)) != std::string::npos; ++at)
                ++enrolled;
        write_file(path / "classes.npz", classes);
        files += ", " + hash("classes.npz", classes);
        extra = R"("extra": {"classification": {"state": "classes.npz"}}, )";
    }
    write_file(path / "manifest.json", manifest(segmentation ? "segmentation" : "classification",
                                                files, height, width, extra, enrolled));
    return path.string();
}

}  // namespace fixture
