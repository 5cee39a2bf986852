// Fields of vision_msgs/Detection2DArray (version 4), from its definition: for the compiler's check alone.
#pragma once
#include <sensor_msgs/msg/image.hpp>

namespace vision_msgs::msg {
struct Point {
    double x, y, z;
};
struct Detection2D {
    struct Result {
        struct {
            std::string class_id;
            double score;
        } hypothesis;
        struct {
            struct {
                Point position;
            } pose;
        } pose;
    };
    std_msgs::msg::Header header;
    std::vector<Result> results;
    struct {
        struct {
            Point position;
            double theta;
        } center;
        double size_x, size_y;
    } bbox;
};
struct Detection2DArray {
    std_msgs::msg::Header header;
    std::vector<Detection2D> detections;
};
}  // namespace vision_msgs::msg
