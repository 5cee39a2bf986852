// SHA-256 (FIPS 180-4).
//
//     sha256_hex(bytes)   // 64 lower-case hexadecimal digits
#pragma once

#include <string>
#include <string_view>

namespace trocar::detail {

std::string sha256_hex(std::string_view data);

}  // namespace trocar::detail
