#include "json.hpp"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <locale>
#include <map>
#include <new>
#include <sstream>
#include <stdexcept>

namespace trocar::detail {

namespace {

class Reader {
  public:
    explicit Reader(std::string_view text) : text_(text) {}

    Json document() {
        Json value = read(1);
        skip_space();
        if (at_ != text_.size()) fail("more text after the document");
        return value;
    }

  private:
    [[noreturn]] void fail(const std::string &what) const {
        throw std::invalid_argument(what + " at byte " + std::to_string(at_));
    }
    int peek() const { return at_ < text_.size() ? static_cast<unsigned char>(text_[at_]) : -1; }
    void skip_space() {
        while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++at_;
    }
    void expect(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) fail("expected " + std::string(word));
        at_ += word.size();
    }

    Json read(int depth) {
        if (depth > max_json_depth) fail("nested more than 100 levels deep");
        skip_space();
        Json value;
        switch (peek()) {
            case '{':
                read_object(value, depth);
                break;
            case '[':
                read_array(value, depth);
                break;
            case '"':
                value.kind = Json::Kind::text;
                value.text = read_text();
                break;
            case 't':
                expect("true");
                value.kind = Json::Kind::boolean;
                value.boolean = true;
                break;
            case 'f':
                expect("false");
                value.kind = Json::Kind::boolean;
                break;
            case 'n':
                expect("null");
                break;
            default:
                read_number(value);
        }
        return value;
    }

    void read_object(Json &value, int depth) {
        value.kind = Json::Kind::object;
        ++at_;
        skip_space();
        if (peek() == '}') {
            ++at_;
            return;
        }
        while (true) {
            skip_space();
            if (peek() != '"') fail("expected a member's name");
            std::string name = read_text();
            skip_space();
            expect(":");
            value.members.emplace_back(std::move(name), read(depth + 1));
            skip_space();
            if (peek() == '}') break;
            expect(",");
        }
        ++at_;
    }

    void read_array(Json &value, int depth) {
        value.kind = Json::Kind::array;
        ++at_;
        skip_space();
        if (peek() == ']') {
            ++at_;
            return;
        }
        while (true) {
            value.items.push_back(read(depth + 1));
            skip_space();
            if (peek() == ']') break;
            expect(",");
        }
        ++at_;
    }

    void read_number(Json &value) {
        const std::size_t start = at_;
        if (peek() == '-') ++at_;
        const std::size_t digits = at_;
        skip_digits();
        if (text_[digits] == '0' && at_ > digits + 1) fail("a number has a leading 0");
        value.kind = Json::Kind::integer;
        if (peek() == '.') {
            ++at_;
            skip_digits();
            value.kind = Json::Kind::real;
        }
        if (peek() == 'e' || peek() == 'E') {
            ++at_;
            if (peek() == '+' || peek() == '-') ++at_;
            skip_digits();
            value.kind = Json::Kind::real;
        }
        value.text = std::string(text_.substr(start, at_ - start));
        value.number = to_double(value.text);
        if (value.is(Json::Kind::integer) && std::abs(value.number) > max_json_integer)
            fail("an integer is beyond 2^53 - 1");
    }

    void skip_digits() {
        const std::size_t start = at_;
        while (peek() >= '0' && peek() <= '9') ++at_;
        if (at_ == start) fail("expected a value");
    }

    // strtod expects the decimal point of the program's locale, which may not be '.'.
    static double to_double(const std::string &digits) {
        std::istringstream stream(digits);
        stream.imbue(std::locale::classic());
        double number = 0;
        if (stream >> number) return number;
        // A stream catches what is thrown inside it; the only possible cause is lack of memory.
        if (stream.bad()) throw std::bad_alloc();
        // Out of range: the stream gives the largest double for an overflow, 0 for an underflow.
        return std::abs(number) < 1 ? number : (number < 0 ? -HUGE_VAL : HUGE_VAL);
    }

    unsigned read_hex() {
        unsigned code = 0;
        for (int i = 0; i < 4; ++i) {
            const int c = peek();
            int digit = -1;
            if (c >= '0' && c <= '9') digit = c - '0';
            if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
            if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
            if (digit < 0) fail("expected four hexadecimal digits");
            code = code * 16 + static_cast<unsigned>(digit);
            ++at_;
        }
        return code;
    }

    void read_escape(std::string &out) {
        ++at_;
        const int c = peek();
        ++at_;
        switch (c) {
            case '"':
            case '\\':
            case '/':
                out.push_back(static_cast<char>(c));
                return;
            case 'b':
                out.push_back('\b');
                return;
            case 'f':
                out.push_back('\f');
                return;
            case 'n':
                out.push_back('\n');
                return;
            case 'r':
                out.push_back('\r');
                return;
            case 't':
                out.push_back('\t');
                return;
            case 'u':
                break;
            default:
                --at_;
                fail("unknown escape");
        }
        unsigned code = read_hex();
        if (code >= 0xDC00 && code <= 0xDFFF) fail("half of a surrogate pair");
        if (code >= 0xD800 && code <= 0xDBFF) {
            if (text_.substr(at_, 2) != "\\u") fail("half of a surrogate pair");
            at_ += 2;
            const unsigned low = read_hex();
            if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair");
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        append_utf8(out, code);
    }

    static void append_utf8(std::string &out, unsigned code) {
        const auto push = [&out](unsigned byte) { out.push_back(static_cast<char>(byte)); };
        if (code < 0x80) {
            push(code);
        } else if (code < 0x800) {
            push(0xC0 | code >> 6);
            push(0x80 | (code & 63));
        } else if (code < 0x10000) {
            push(0xE0 | code >> 12);
            push(0x80 | (code >> 6 & 63));
            push(0x80 | (code & 63));
        } else {
            push(0xF0 | code >> 18);
            push(0x80 | (code >> 12 & 63));
            push(0x80 | (code >> 6 & 63));
            push(0x80 | (code & 63));
        }
    }

    std::string read_text() {
        std::string out;
        ++at_;
        while (peek() != '"') {
            const int c = peek();
            if (c < 0) fail("a text has no end");
            if (c < 0x20) fail("a control character in a text");
            if (c == '\\')
                read_escape(out);
            else if (c < 0x80)
                out.push_back(text_[at_++]);
            else
                read_multibyte(out);
        }
        ++at_;
        return out;
    }

    // Refuses overlong forms, surrogates and code points above U+10FFFF, as Python's decoder does.
    void read_multibyte(std::string &out) {
        const auto lead = static_cast<unsigned>(peek());
        int more = 0;
        unsigned low = 0x80;
        unsigned high = 0xBF;
        if (lead >= 0xC2 && lead <= 0xDF) more = 1;
        if (lead >= 0xE0 && lead <= 0xEF) more = 2;
        if (lead >= 0xF0 && lead <= 0xF4) more = 3;
        if (more == 0) fail("not UTF-8");
        if (lead == 0xE0) low = 0xA0;
        if (lead == 0xED) high = 0x9F;
        if (lead == 0xF0) low = 0x90;
        if (lead == 0xF4) high = 0x8F;
        out.push_back(text_[at_++]);
        for (; more > 0; --more, low = 0x80, high = 0xBF) {
            const int c = peek();
            if (c < static_cast<int>(low) || c > static_cast<int>(high)) fail("not UTF-8");
            out.push_back(text_[at_++]);
        }
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

}  // namespace

bool Json::is_number() const {
    return (kind == Kind::integer || kind == Kind::real) && std::isfinite(number);
}

const Json *Json::find(std::string_view name) const {
    for (auto member = members.rbegin(); member != members.rend(); ++member)
        if (member->first == name) return &member->second;
    return nullptr;
}

Json parse_json(std::string_view text) { return Reader(text).document(); }

namespace {

void write_text(std::string_view text, std::string &out) {
    constexpr const char *digits = "0123456789abcdef";
    out += '"';
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20) {
            out += "\\u00";
            out += digits[byte >> 4];
            out += digits[byte & 15];
            continue;
        }
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    out += '"';
}

void write_canonical(const Json &value, std::string &out) {
    switch (value.kind) {
        case Json::Kind::null:
            out += "null";
            return;
        case Json::Kind::boolean:
            out += value.boolean ? "true" : "false";
            return;
        case Json::Kind::integer:
        case Json::Kind::real:
            out += value.text;
            return;
        case Json::Kind::text:
            write_text(value.text, out);
            return;
        case Json::Kind::array:
            out += '[';
            for (const Json &item : value.items) {
                if (&item != &value.items.front()) out += ',';
                write_canonical(item, out);
            }
            out += ']';
            return;
        case Json::Kind::object:
            break;
    }
    std::map<std::string_view, const Json *> last;
    for (const auto &[name, member] : value.members) last[name] = &member;
    out += '{';
    for (const auto &[name, member] : last) {
        if (out.back() != '{') out += ',';
        write_text(name, out);
        out += ':';
        write_canonical(*member, out);
    }
    out += '}';
}

}  // namespace

std::string canonical_json(const Json &value) {
    std::string out;
    write_canonical(value, out);
    return out;
}

std::string quoted(std::string_view text) {
    std::string out = "'";
    for (const char c : text.substr(0, 120)) {
        if (static_cast<unsigned char>(c) < 0x20)
            out += '?';
        else
            out += c;
    }
    return out + "'";
}

}  // namespace trocar::detail
