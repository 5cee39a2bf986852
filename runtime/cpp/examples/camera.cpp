// Live camera with overlay:   camera model.trocar [device number or video file]   (q quits)
#include <chrono>
#include <cstdio>
#include <opencv2/highgui.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <string>
#include <trocar/trocar.hpp>

static cv::Scalar colour_of(const trocar::ClassRow &row) {
    return {double(row.colour[2]), double(row.colour[1]), double(row.colour[0])};
}

static void draw(cv::Mat &picture, const trocar::Session &session, const trocar::Result &result) {
    // Labels are at frame size: tint every pixel that is of an instrument.
    const cv::Mat labels(result.height(), result.width(), CV_8U,
                         const_cast<unsigned char *>(result.labels().data()));
    for (int id = 1; id < session.info().class_count; ++id) {
        const trocar::ClassRow row = session.class_row(id);
        if (!row.instrument) continue;
        const cv::Mat mask = labels == id;
        cv::Mat tinted;
        cv::addWeighted(picture, 0.6, cv::Mat(picture.size(), picture.type(), colour_of(row)), 0.4,
                        0, tinted);
        tinted.copyTo(picture, mask);
    }
    for (const trocar_instrument &found : result.instruments()) {
        const cv::Scalar colour = colour_of(session.class_row(found.class_id));
        cv::rectangle(picture, cv::Point2d(found.box[0], found.box[1]),
                      cv::Point2d(found.box[2], found.box[3]), colour, 2);
        for (int i = 0; i < found.tip_count; ++i)
            cv::circle(picture, cv::Point2d(found.tips[i][0], found.tips[i][1]), 6, colour, -1);
        cv::putText(picture, std::string(session.name_of(found)),
                    cv::Point2d(found.box[0], found.box[1] - 6), cv::FONT_HERSHEY_SIMPLEX, 0.6,
                    colour, 2);
    }
}

int main(int count, char **arguments) try {
    if (count < 2) return std::fprintf(stderr, "usage: camera MODEL.trocar [DEVICE|FILE]\n"), 2;
    const std::string source = count > 2 ? arguments[2] : "0";
    cv::VideoCapture camera;
    if (source.find_first_not_of("0123456789") == std::string::npos)
        camera.open(std::stoi(source));
    else
        camera.open(source);
    camera.set(cv::CAP_PROP_BUFFERSIZE, 1);  // where the driver heeds it: no stale frames
    if (!camera.isOpened()) return std::fprintf(stderr, "cannot open %s\n", source.c_str()), 13;
    trocar::Session session(arguments[1]);
    session.set_label_size(TROCAR_LABELS_FRAME);
    cv::Mat picture;
    long shown = 0, found = 0;
    while (camera.read(picture)) {
        const auto start = std::chrono::steady_clock::now();
        const auto &result = session.run({picture.data, picture.cols, picture.rows, TROCAR_BGR,
                                          static_cast<std::ptrdiff_t>(picture.step)});
        const std::chrono::duration<double, std::milli> took =
            std::chrono::steady_clock::now() - start;
        draw(picture, session, result);
        cv::putText(picture, std::to_string(int(took.count())) + " ms", {12, 28},
                    cv::FONT_HERSHEY_SIMPLEX, 0.8, {255, 255, 255}, 2);
        cv::imshow("trocar", picture);
        found += static_cast<long>(result.instruments().size());
        ++shown;
        if (cv::waitKey(1) == 'q') break;
    }
    std::printf("%ld frames shown, %ld instruments\n", shown, found);
    return 0;
} catch (const trocar::Error &error) {
    std::fprintf(stderr, "%s\n  -> %s\n", error.what(), error.remedy().c_str());
    return error.code();
}
