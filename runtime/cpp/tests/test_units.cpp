// Readers and small parts, each against what is known of it.
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <set>
#include <stdexcept>

#include "bit_grid.hpp"
#include "check.hpp"
#include "checked.hpp"
#include "confidence.hpp"
#include "error.hpp"
#include "fixture.hpp"
#include "half.hpp"
#include "json.hpp"
#include "manifest.hpp"
#include "npz.hpp"
#include "region.hpp"
#include "sha256.hpp"
#include "text.hpp"

using namespace trocar::detail;

namespace {

template <class Call>
bool refuses(Call call, trocar_status code = TROCAR_ERROR_BUNDLE) {
    try {
        call();
    } catch (const Error &error) {
        return error.code == code;
    }
    return false;
}

void test_sha256() {
    // Vectors of FIPS 180-4 and one longer than a block boundary.
    CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(sha256_hex(std::string(1000000, 'a')) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

void test_canonical() {
    const auto canonical = [](const char *text) { return canonical_json(parse_json(text)); };
    CHECK(canonical(R"( { "b" : [ 1 , true , null ] , "a" : { } } )") ==
          R"({"a":{},"b":[1,true,null]})");
    CHECK(canonical("[1.0, 1, 1e0, -0, 0.10]") == "[1.0,1,1e0,-0,0.10]");
    CHECK(canonical(R"("\u00e9\/\n\u001F\"\\\ud83d\ude00")") ==
          "\"\xC3\xA9/\\u000a\\u001f\\\"\\\\\xF0\x9F\x98\x80\"");
    CHECK(canonical(R"({"\ud83d\ude00": 1, "\uffee": 2, "a": 3, "a": 4, "B": 5})") ==
          "{\"B\":5,\"a\":4,\"\xEF\xBF\xAE\":2,\"\xF0\x9F\x98\x80\":1}");
}

void test_sizes() {
    const std::ptrdiff_t huge = std::numeric_limits<std::ptrdiff_t>::min();
    CHECK(image_bytes(10, 3, 8) == std::size_t{28});
    CHECK(image_bytes(-10, 3, 8) == std::size_t{28});
    CHECK(!image_bytes(7, 3, 8) && !image_bytes(-7, 3, 8) && !image_bytes(10, 0, 8));
    CHECK(!image_bytes(std::ptrdiff_t{1} << 58, 64, 8) && !image_bytes(huge, 2, 8));
    CHECK(magnitude(huge) == std::uint64_t{1} << 63);
    CHECK(!multiply_add(std::uint64_t{1} << 63, 2, 0) && !multiply_add(1, ~std::uint64_t{0}, 1));
    CHECK(multiply_add(1, ~std::uint64_t{0} - 1, 1) == ~std::size_t{0});
}

void test_json() {
    const Json data =
        parse_json(R"( {"a": [1, -2.5e3, true, null, "x\u00e9\ud83e\udea1"], "a": 7} )");
    CHECK(data.members.size() == 2);
    CHECK(data.find("a")->number == 7);
    CHECK(data.find("b") == nullptr);
    const Json &list = data.members[0].second;
    CHECK(list.items[0].is(Json::Kind::integer));
    CHECK(list.items[1].is(Json::Kind::real) && list.items[1].number == -2500);
    CHECK(list.items[4].text == "x\xC3\xA9\xF0\x9F\xAA\xA1");
    CHECK(std::isinf(parse_json("1e400").number) && std::isinf(parse_json("-1e400").number));
    CHECK(parse_json("1e-400").number == 0);
    CHECK(parse_json("0.1").number == 0.1);
    for (const char *text :
         {"", "{", "[1,]", "{\"a\":1,}", "01", "1.", ".5", "+1", "nul", "\"\t\"", "\"\\ud800\"",
          "\"\xff\"", "[1 2]", "{\"a\" 1}", "{1: 2}", "\"", "1 1"}) {
        bool refused = false;
        try {
            parse_json(text);
        } catch (const std::invalid_argument &) {
            refused = true;
        }
        CHECK(refused);
    }
}

void test_half() {
    // Every half survives the way to float and back.
    for (unsigned i = 0; i < 65536; ++i) {
        const auto half = static_cast<std::uint16_t>(i);
        const float value = float_from_half(half);
        if (std::isnan(value))
            CHECK((half & 0x7C00) == 0x7C00 && (half & 1023) != 0);
        else
            CHECK(half_from_float(value) == half);
    }
    CHECK(float_from_half(0x3C00) == 1 && float_from_half(0x0001) == std::ldexp(1.0F, -24));
    CHECK(half_from_float(1.0F + 0x1p-11F) == 0x3C00);      // a tie goes to even
    CHECK(half_from_float(1.0F + 3 * 0x1p-11F) == 0x3C02);  // here too
    CHECK(half_from_float(65519.0F) == 0x7BFF && half_from_float(65520.0F) == 0x7C00);
    CHECK(half_from_float(0x1p-25F) == 0 && half_from_float(std::nextafter(0x1p-25F, 1.0F)) == 1);
}

void test_text() {
    CHECK(is_blank("") && is_blank(" \t\n") && is_blank("\u3000\u00a0\u2003"));
    CHECK(!is_blank("a") && !is_blank("\u3000a") && !is_blank("\u200b"));
    CHECK(is_safe_name("model.onnx") && is_safe_name("engines/a.engine") && is_safe_name("..a/.b"));
    for (const char *name : {"", "/a", "a/", "a//b", "../a", "a/..", ".", "a\\b", "a\nb"})
        CHECK(!is_safe_name(name));
}

void test_npz() {
    const std::string good = fixture::zip(
        {{"a.npy",
          fixture::npy("<f4", "(2, 1)", fixture::number(0x3F800000, 4) + fixture::number(0, 4))},
         {"b.npy", fixture::npy("|u1", "()", "x")}});
    const auto arrays = read_npz(good);
    CHECK(arrays.size() == 2 && arrays.at("a").real(0) == 1 && arrays.at("a").real(1) == 0);
    CHECK(arrays.at("a").shape == std::vector<std::int64_t>({2, 1}));
    CHECK(arrays.at("b").shape.empty() && arrays.at("b").count() == 1);
    for (std::size_t length = 0; length < good.size(); ++length)
        CHECK(refuses([&] { read_npz(std::string_view(good).substr(0, length)); }));
    std::string changed = good;
    changed[good.find('x')] = 'y';
    CHECK(refuses([&] { read_npz(changed); }));
    for (const char *shape :
         {"(4, 1)", "(2)", "(2, x)", "(-2, 1)", "2", "(99999999999, 99999999999)"})
        CHECK(refuses([&] {
            read_npz(fixture::zip({{"a.npy", fixture::npy("<f4", shape, std::string(12, 'a'))}}));
        }));
    CHECK(refuses(
        [] { read_npz(fixture::zip({{"a.npy", fixture::npy("|O", "(1,)", "12345678")}})); }));
}

void test_regions() {
    // Against a flood fill, on noise: sizes, groups and pixels of every region.
    std::mt19937 random(7);
    GroupOf group_of{};
    group_of.fill(-1);
    group_of[1] = 0;
    group_of[2] = 1;
    group_of[3] = 1;
    RegionFinder regions;
    RunComponents components;
    for (int round = 0; round < 300; ++round) {
        const int width = 1 + static_cast<int>(random() % 24);
        const int height = 1 + static_cast<int>(random() % 24);
        std::vector<std::uint8_t> labels(static_cast<std::size_t>(width * height));
        for (auto &label : labels) label = static_cast<std::uint8_t>(random() % 5);
        Grid grid{labels.data(), width, width, height, 1, 1};
        regions.prepare(width, height);
        std::set<std::vector<std::int32_t>> expected;
        std::vector<char> seen(labels.size());
        for (std::int32_t start = 0; start < width * height; ++start) {
            const int group = group_of[labels[static_cast<std::size_t>(start)]];
            if (group < 0 || seen[static_cast<std::size_t>(start)] != 0) continue;
            std::vector<std::int32_t> members, queue = {start};
            seen[static_cast<std::size_t>(start)] = 1;
            while (!queue.empty()) {
                const std::int32_t at = queue.back();
                queue.pop_back();
                members.push_back(at);
                for (int dy = -1; dy <= 1; ++dy)
                    for (int dx = -1; dx <= 1; ++dx) {
                        const int x = at % width + dx;
                        const int y = at / width + dy;
                        if (x < 0 || y < 0 || x >= width || y >= height) continue;
                        const auto next = static_cast<std::size_t>(y * width + x);
                        if (seen[next] != 0 || group_of[labels[next]] != group) continue;
                        seen[next] = 1;
                        queue.push_back(static_cast<std::int32_t>(next));
                    }
            }
            std::sort(members.begin(), members.end());
            expected.insert(members);
        }
        std::set<std::vector<std::int32_t>> found;
        Runs runs;
        std::vector<std::int32_t> roots;
        for (std::size_t i = regions.find(grid, group_of, 1, 0); i-- > 0;) {
            regions.runs(i, runs);
            std::vector<std::int32_t> members;
            for (const Run &run : runs)
                for (int x = run.begin; x < run.end; ++x) members.push_back(run.y * width + x);
            CHECK(std::is_sorted(members.begin(), members.end()));
            CHECK(count_pixels(runs) == static_cast<std::int64_t>(members.size()));
            CHECK(regions.group(i) == group_of[labels[static_cast<std::size_t>(members[0])]]);
            found.insert(members);
            components.find(runs, roots);
            CHECK(std::all_of(roots.begin(), roots.end(), [](auto root) { return root == 0; }));
        }
        CHECK(found == expected);
    }
}

void test_bits() {
    // Against one pixel at a time, across words: a search in noise with a hole in the middle.
    std::mt19937 random(3);
    for (int round = 0; round < 60; ++round) {
        const int width = 1 + static_cast<int>(random() % 200);
        const int height = 1 + static_cast<int>(random() % 9);
        const auto at = [&](int x, int y) { return static_cast<std::size_t>(y * width + x); };
        std::vector<int> zone(static_cast<std::size_t>(width * height)), round_of(zone.size(), -1);
        Runs runs;
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x) {
                if (random() % 8 == 0) continue;
                zone[at(x, y)] = 1;
                append(runs, {static_cast<std::int16_t>(y), static_cast<std::int16_t>(x),
                              static_cast<std::int16_t>(x + 1), 0});
            }
        if (runs.empty()) continue;
        BitGrid inside, reached;
        inside.prepare(width, height);
        reached.prepare(width, height);
        inside.begin(runs);
        reached.begin(inside);
        for (const Run &run : runs) inside.set(run);
        const Run seed = {runs[0].y, runs[0].begin, static_cast<std::int16_t>(runs[0].begin + 1),
                          0};
        reached.set(seed);
        round_of[at(seed.begin, seed.y)] = 0;
        for (int step = 1; step < 30; ++step) {
            const int neighbours = step % 2 != 0 ? 8 : 4;
            std::set<std::size_t> expected, found;
            for (int y = 0; y < height; ++y)
                for (int x = 0; x < width; ++x) {
                    if (zone[at(x, y)] == 0 || round_of[at(x, y)] >= 0) continue;
                    for (int dy = -1; dy <= 1; ++dy)
                        for (int dx = -1; dx <= 1; ++dx) {
                            if (neighbours == 4 && dx != 0 && dy != 0) continue;
                            if (x + dx < 0 || x + dx >= width || y + dy < 0 || y + dy >= height)
                                continue;
                            const int before = round_of[at(x + dx, y + dy)];
                            if (before >= 0 && before < step) expected.insert(at(x, y));
                        }
                }
            for (const std::size_t one : expected) round_of[one] = step;
            int first = 0;
            int last = reached.height();
            reached.grow(inside, neighbours, first, last,
                         [&](int x, int y) { found.insert(at(x, y)); });
            CHECK(found == expected);
        }
    }
}

void test_mean_confidence() {
    // Halves of every kind, and singles that round to them, against one value at a time.
    std::vector<std::uint16_t> halves;
    for (int i = 0; i <= 0x3C00; i += 7) halves.push_back(static_cast<std::uint16_t>(i));
    std::vector<float> singles;
    double sum = 0;
    for (const std::uint16_t half : halves) {
        singles.push_back(float_from_half(half) * 1.0001F);
        sum += double_from_half(half);
    }
    double rounded = 0;
    for (const float single : singles) rounded += double_from_half(half_from_float(single));
    const auto count = static_cast<std::int16_t>(halves.size());
    const Runs all = {{0, 0, count, 0}};
    const Runs normal = {{0, 300, count, 0}};
    Confidence confidence;
    CHECK(mean_confidence(confidence, all, count) == 1);
    confidence.half = halves.data();
    CHECK(mean_confidence(confidence, all, count) == sum / count);
    for (int i = 0; i < 300; ++i) sum -= double_from_half(halves[static_cast<std::size_t>(i)]);
    CHECK(mean_confidence(confidence, normal, count) == sum / (count - 300));
    confidence.half = nullptr;
    confidence.single = singles.data();
    CHECK(mean_confidence(confidence, all, count) == rounded / count);
}

}  // namespace

int main() {
    test_sha256();
    test_json();
    test_canonical();
    test_sizes();
    test_half();
    test_text();
    test_npz();
    test_regions();
    test_bits();
    test_mean_confidence();
    return test::report("units");
}
