// What the ROS 2 example uses of rclcpp, declared from its documentation: for the compiler's check alone.
#pragma once
#include <functional>
#include <memory>
#include <string>

namespace rclcpp {
struct Logger {};
Logger get_logger(const std::string &name);
struct Clock {
    using SharedPtr = std::shared_ptr<Clock>;
};
struct QoS {
    QoS(std::size_t depth);
    QoS &keep_last(std::size_t depth);
};
struct SensorDataQoS : QoS {
    SensorDataQoS();
};
template <class Message> struct Publisher {
    using SharedPtr = std::shared_ptr<Publisher>;
    void publish(const Message &message);
};
template <class Message> struct Subscription {
    using SharedPtr = std::shared_ptr<Subscription>;
};
struct Node {
    explicit Node(const std::string &name);
    template <class Type> Type declare_parameter(const std::string &name, const Type &value);
    template <class Message> std::shared_ptr<Publisher<Message>> create_publisher(const std::string &topic, const QoS &qos);
    template <class Message, class Callback>
    std::shared_ptr<Subscription<Message>> create_subscription(const std::string &topic, const QoS &qos, Callback &&callback) {
        std::function<void(std::shared_ptr<const Message>)> called = callback;
        return nullptr;
    }
    Logger get_logger() const;
    Clock::SharedPtr get_clock();
};
void init(int count, char const *const *arguments);
void spin(std::shared_ptr<Node> node);
bool shutdown();
}  // namespace rclcpp
void stub_log(const rclcpp::Logger &logger, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define RCLCPP_ERROR_THROTTLE(logger, clock, milliseconds, ...) (static_cast<void>(clock), stub_log(logger, __VA_ARGS__))
#define RCLCPP_FATAL(logger, ...) stub_log(logger, __VA_ARGS__)
