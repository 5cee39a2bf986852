#include "npz.hpp"

#include <array>
#include <cstring>
#include <limits>

#include "error.hpp"
#include "half.hpp"
#include "text.hpp"

namespace trocar::detail {

namespace {

[[noreturn]] void fail(const std::string &what) {
    bundle_error("the array file cannot be read: " + what);
}

/// Little-endian number of `bytes` bytes; fails beyond the end.
std::uint64_t number(std::string_view file, std::uint64_t at, int bytes) {
    if (at > file.size() || file.size() - at < static_cast<std::size_t>(bytes))
        fail("it is truncated");
    std::uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; --i)
        value = value << 8 | static_cast<unsigned char>(file[at + static_cast<std::size_t>(i)]);
    return value;
}

std::string_view piece(std::string_view file, std::uint64_t at, std::uint64_t length) {
    if (at > file.size() || file.size() - at < length) fail("it is truncated");
    return file.substr(at, length);
}

std::uint32_t crc32(std::string_view data) {
    static const auto table = [] {
        std::array<std::uint32_t, 256> entries{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t c = i;
            for (int k = 0; k < 8; ++k) c = (c & 1) != 0 ? 0xEDB88320U ^ (c >> 1) : c >> 1;
            entries[i] = c;
        }
        return entries;
    }();
    std::uint32_t crc = 0xFFFFFFFFU;
    for (const char c : data) crc = table[(crc ^ static_cast<unsigned char>(c)) & 255] ^ (crc >> 8);
    return ~crc;
}

struct Entry {
    std::string name;
    std::uint64_t method = 0, crc = 0, packed = 0, size = 0, header = 0;
    std::uint64_t length = 0;  // of the central record
};

/// Sizes that do not fit 32 bits stand in an extra field, in this order.
void read_zip64(std::string_view extra, Entry &entry) {
    while (extra.size() >= 4) {
        const std::uint64_t id = number(extra, 0, 2);
        const std::uint64_t length = number(extra, 2, 2);
        const std::string_view body = piece(extra, 4, length);
        if (id == 1) {
            std::uint64_t at = 0;
            for (std::uint64_t *field : {&entry.size, &entry.packed, &entry.header}) {
                if (*field != 0xFFFFFFFF) continue;
                *field = number(body, at, 8);
                at += 8;
            }
        }
        extra.remove_prefix(4 + length);
    }
}

Entry read_entry(std::string_view file, std::uint64_t at) {
    if (number(file, at, 4) != 0x02014B50) fail("its directory is broken");
    Entry entry;
    if ((number(file, at + 8, 2) & 1) != 0) fail("it is encrypted");
    entry.method = number(file, at + 10, 2);
    entry.crc = number(file, at + 16, 4);
    entry.packed = number(file, at + 20, 4);
    entry.size = number(file, at + 24, 4);
    entry.header = number(file, at + 42, 4);
    const std::uint64_t name = number(file, at + 28, 2);
    const std::uint64_t extra = number(file, at + 30, 2);
    const std::uint64_t comment = number(file, at + 32, 2);
    entry.name = piece(file, at + 46, name);
    read_zip64(piece(file, at + 46 + name, extra), entry);
    entry.length = 46 + name + extra + comment;
    return entry;
}

std::string_view content(std::string_view file, const Entry &entry) {
    if (entry.method != 0 || entry.packed != entry.size) fail(entry.name + " is compressed");
    if (number(file, entry.header, 4) != 0x04034B50) fail("its directory is broken");
    const std::uint64_t start =
        entry.header + 30 + number(file, entry.header + 26, 2) + number(file, entry.header + 28, 2);
    const std::string_view data = piece(file, start, entry.size);
    if (crc32(data) != entry.crc) fail(entry.name + " has a wrong checksum");
    return data;
}

std::uint64_t end_of_directory(std::string_view file) {
    if (file.size() < 22) fail("it is truncated");
    const std::uint64_t last = file.size() - 22;
    const std::uint64_t first = last > 65535 ? last - 65535 : 0;
    for (std::uint64_t at = last;; --at) {
        if (number(file, at, 4) == 0x06054B50) return at;
        if (at == first) fail("it is not a zip file");
    }
}

/// What follows `'key':` in the header's dictionary literal.
std::string_view value_of(std::string_view header, std::string_view key) {
    const std::string pattern = "'" + std::string(key) + "':";
    const std::size_t at = header.find(pattern);
    if (at == std::string_view::npos) fail("an array header lacks " + std::string(key));
    std::string_view rest = header.substr(at + pattern.size());
    while (!rest.empty() && rest[0] == ' ') rest.remove_prefix(1);
    return rest;
}

std::vector<std::int64_t> shape_from(std::string_view text) {
    const std::size_t close = text.find(')');
    if (text.empty() || text[0] != '(' || close == std::string_view::npos)
        fail("an array header has no shape");
    text = text.substr(1, close - 1);
    std::vector<std::int64_t> shape;
    while (!text.empty()) {
        std::size_t comma = std::min(text.find(','), text.size());
        std::string_view digits = text.substr(0, comma);
        while (!digits.empty() && digits.front() == ' ') digits.remove_prefix(1);
        text.remove_prefix(std::min(comma + 1, text.size()));
        if (digits.empty() && text.empty()) break;
        if (!is_digits(digits) || digits.size() > 12 || shape.size() == 8)
            fail("an array header has an invalid shape");
        shape.push_back(std::stoll(std::string(digits)));
    }
    return shape;
}

std::uint64_t item_size(std::string_view dtype) {
    if (dtype.size() < 3) return 0;
    const std::string_view digits = dtype.substr(2);
    if (!is_digits(digits) || digits.size() > 2) return 0;
    return static_cast<std::uint64_t>(std::stoi(std::string(digits)));
}

Array array_from(std::string_view data) {
    if (piece(data, 0, 6) != "\x93NUMPY") fail("an entry is not an array");
    const std::uint64_t major = number(data, 6, 1);
    if (major < 1 || major > 3) fail("an array has an unknown format");
    const int width = major == 1 ? 2 : 4;
    const std::uint64_t length = number(data, 8, width);
    const std::uint64_t start = 8 + static_cast<std::uint64_t>(width);
    const std::string_view header = piece(data, start, length);
    Array array;
    const std::string_view dtype = value_of(header, "descr");
    const std::size_t close = dtype.find('\'', 1);
    if (dtype.empty() || dtype[0] != '\'' || close == std::string_view::npos)
        fail("an array has a type other than numbers");
    array.dtype = dtype.substr(1, close - 1);
    array.shape = shape_from(value_of(header, "shape"));
    const bool column_major = value_of(header, "fortran_order").substr(0, 4) == "True";
    if (column_major && array.shape.size() > 1) fail("an array is not in C order");
    array.data = data.substr(start + length);
    const std::uint64_t item = item_size(array.dtype);
    std::uint64_t bytes = item;
    for (const std::int64_t side : array.shape) {
        if (side > 0 && bytes > (std::uint64_t{1} << 40) / static_cast<std::uint64_t>(side))
            fail("an array is too large");
        bytes *= static_cast<std::uint64_t>(side);
    }
    if (item == 0 || bytes != array.data.size()) fail("an array has the wrong number of bytes");
    return array;
}

}  // namespace

std::size_t Array::count() const {
    std::size_t product = 1;
    for (const std::int64_t side : shape) product *= static_cast<std::size_t>(side);
    return product;
}

double Array::real(std::size_t index) const {
    if (dtype == "<f2") {
        std::uint16_t value = 0;
        std::memcpy(&value, data.data() + 2 * index, sizeof value);
        return double_from_half(value);
    }
    if (dtype == "<f4") {
        float value = 0;
        std::memcpy(&value, data.data() + 4 * index, sizeof value);
        return value;
    }
    double value = 0;
    std::memcpy(&value, data.data() + 8 * index, sizeof value);
    return value;
}

double Array::rounded(double number) const {
    if (dtype == "<f2") return double_from_half(half_from_float(static_cast<float>(number)));
    if (dtype == "<f4") return static_cast<float>(number);
    return number;
}

std::map<std::string, Array> read_npz(std::string_view file) {
    const std::uint64_t end = end_of_directory(file);
    const std::uint64_t count = number(file, end + 10, 2);
    std::uint64_t at = number(file, end + 16, 4);
    std::map<std::string, Array> arrays;
    for (std::uint64_t i = 0; i < count; ++i) {
        Entry entry = read_entry(file, at);
        at += entry.length;
        const std::string_view suffix = ".npy";
        if (entry.name.size() > suffix.size() &&
            entry.name.compare(entry.name.size() - suffix.size(), suffix.size(), suffix) == 0)
            entry.name.resize(entry.name.size() - suffix.size());
        arrays[entry.name] = array_from(content(file, entry));
    }
    return arrays;
}

}  // namespace trocar::detail
