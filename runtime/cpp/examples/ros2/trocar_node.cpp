// A ROS 2 node:
//
//     ros2 run trocar_node trocar_node --ros-args -p bundle:=model.trocar -r
//     image:=/endoscope/image_raw
//
// image (sensor_msgs/Image: rgb8, bgr8, rgba8, bgra8, mono8) -> instruments
// (vision_msgs/Detection2DArray) and labels (sensor_msgs/Image, mono8, class ids at the network's
// size), both with the header of their image. The subscription keeps the newest image only, so that
// a slow model causes no delay.
#include <chrono>
#include <memory>
#include <rclcpp/rclcpp.hpp>
#include <sensor_msgs/msg/image.hpp>
#include <stdexcept>
#include <string>
#include <trocar/trocar.hpp>
#include <vision_msgs/msg/detection2_d_array.hpp>

using sensor_msgs::msg::Image;
using vision_msgs::msg::Detection2DArray;

class TrocarNode : public rclcpp::Node {
  public:
    TrocarNode() : Node("trocar") {
        trocar::Options options;
        options.device = declare_parameter<std::string>("device", "cpu");
        options.library = declare_parameter<std::string>("onnxruntime", "");
        options.spinning = false;  // leave the cores to the other nodes
        session_ = std::make_unique<trocar::Session>(declare_parameter<std::string>("bundle", ""),
                                                     options);
        instruments_ = create_publisher<Detection2DArray>("instruments", 1);
        labels_ = create_publisher<Image>("labels", 1);
        images_ =
            create_subscription<Image>("image", rclcpp::SensorDataQoS().keep_last(1),
                                       [this](Image::ConstSharedPtr image) { on_image(*image); });
    }

  private:
    void on_image(const Image &image) try {
        trocar::Frame frame{image.data.data(), static_cast<int>(image.width),
                            static_cast<int>(image.height), format_of(image.encoding)};
        frame.stride = static_cast<std::ptrdiff_t>(image.step);
        frame.data_bytes = image.data.size();
        const trocar::Result &result = session_->run(frame);

        Detection2DArray found;
        found.header = image.header;
        for (const trocar_instrument &instrument : result.instruments()) {
            auto &detection = found.detections.emplace_back();
            detection.header = image.header;
            detection.bbox.center.position.x = (instrument.box[0] + instrument.box[2]) / 2;
            detection.bbox.center.position.y = (instrument.box[1] + instrument.box[3]) / 2;
            detection.bbox.size_x = instrument.box[2] - instrument.box[0];
            detection.bbox.size_y = instrument.box[3] - instrument.box[1];
            auto &hypothesis = detection.results.emplace_back();
            hypothesis.hypothesis.class_id = std::string(session_->name_of(instrument));
            hypothesis.hypothesis.score = instrument.score;
            if (instrument.tip_count > 0) {  // in pixels of the image, like the box
                hypothesis.pose.pose.position.x = instrument.tips[0][0];
                hypothesis.pose.pose.position.y = instrument.tips[0][1];
            }
        }
        instruments_->publish(found);

        Image map;
        map.header = image.header;
        map.width = static_cast<std::uint32_t>(result.width());
        map.height = static_cast<std::uint32_t>(result.height());
        map.step = map.width;
        map.encoding = "mono8";
        const auto labels = result.labels();
        map.data.assign(labels.data(), labels.data() + labels.size());
        labels_->publish(map);
    } catch (const std::exception &error) {  // one bad image is no reason to end
        RCLCPP_ERROR_THROTTLE(get_logger(), *get_clock(), 1000, "%s", error.what());
    }

    static trocar_format format_of(const std::string &encoding) {
        if (encoding == "rgb8") return TROCAR_RGB;
        if (encoding == "bgr8") return TROCAR_BGR;
        if (encoding == "rgba8") return TROCAR_RGBA;
        if (encoding == "bgra8") return TROCAR_BGRA;
        if (encoding == "mono8") return TROCAR_GRAY;
        throw std::invalid_argument(
            "the image is " + encoding +
            ", expected rgb8, bgr8, rgba8, bgra8 or mono8: put image_proc before this node");
    }

    std::unique_ptr<trocar::Session> session_;
    rclcpp::Publisher<Detection2DArray>::SharedPtr instruments_;
    rclcpp::Publisher<Image>::SharedPtr labels_;
    rclcpp::Subscription<Image>::SharedPtr images_;
};

int main(int count, char **arguments) {
    rclcpp::init(count, arguments);
    int status = 0;
    try {
        rclcpp::spin(std::make_shared<TrocarNode>());
    } catch (const trocar::Error &error) {
        RCLCPP_FATAL(rclcpp::get_logger("trocar"), "%s: %s", error.what(), error.remedy().c_str());
        status = error.code();
    }
    rclcpp::shutdown();
    return status;
}
