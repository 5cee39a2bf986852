// Fields of sensor_msgs/Image, from its definition: for the compiler's check alone.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace std_msgs::msg {
struct Header {
    std::string frame_id;
};
}  // namespace std_msgs::msg
namespace sensor_msgs::msg {
struct Image {
    using ConstSharedPtr = std::shared_ptr<const Image>;
    std_msgs::msg::Header header;
    std::uint32_t height, width, step;
    std::string encoding;
    std::uint8_t is_bigendian;
    std::vector<std::uint8_t> data;
};
}  // namespace sensor_msgs::msg
