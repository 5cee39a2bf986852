// What the element trocarinfer costs over an appsink loop with the same library; started by
// gstreamer_overhead.py:   gstreamer_overhead BUNDLE WIDTH HEIGHT FORMAT FRAMES ROUNDS THREADS
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <gst/video/video.h>
#include <trocar/trocar.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

[[noreturn]] void die(const std::string &why) {
    std::fprintf(stderr, "%s\n", why.c_str());
    std::exit(1);
}

double resident_mib() {
    long pages = 0, resident = 0;
    std::FILE *file = std::fopen("/proc/self/statm", "r");
    if (file == nullptr || std::fscanf(file, "%ld %ld", &pages, &resident) != 2) die("no statm");
    std::fclose(file);
    return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

double now_ms() { return static_cast<double>(g_get_monotonic_time()) / 1000; }

/// One picture, sent again and again, so that both loops wait only for the model.
std::string source(const char *const *given, int frames) {
    return "videotestsrc num-buffers=1 ! video/x-raw,format=" + std::string(given[4]) +
           ",width=" + given[2] + ",height=" + given[3] +
           ",colorimetry=bt709 ! imagefreeze num-buffers=" + std::to_string(frames) +
           " ! queue max-size-buffers=1 ! ";
}

GstElement *launch(const std::string &text) {
    GError *error = nullptr;
    GstElement *pipeline = gst_parse_launch(text.c_str(), &error);
    if (error != nullptr) die(error->message);
    return pipeline;
}

void run_one(trocar_session *session, GstSample *sample) {
    GstVideoInfo info;
    GstVideoFrame mapped;
    if (!gst_video_info_from_caps(&info, gst_sample_get_caps(sample)) ||
        !gst_video_frame_map(&mapped, &info, gst_sample_get_buffer(sample), GST_MAP_READ))
        die("a frame cannot be mapped");
    trocar_frame frame{};
    frame.size = sizeof frame;
    frame.format = info.finfo->format == GST_VIDEO_FORMAT_NV12 ? TROCAR_NV12 : TROCAR_RGB;
    frame.width = info.width;
    frame.height = info.height;
    frame.data = static_cast<const uint8_t *>(GST_VIDEO_FRAME_PLANE_DATA(&mapped, 0));
    frame.stride = GST_VIDEO_FRAME_PLANE_STRIDE(&mapped, 0);
    if (frame.format == TROCAR_NV12) {
        frame.chroma = static_cast<const uint8_t *>(GST_VIDEO_FRAME_PLANE_DATA(&mapped, 1));
        frame.chroma_stride = GST_VIDEO_FRAME_PLANE_STRIDE(&mapped, 1);
    }
    trocar_instrument room[64];
    trocar_result result{};
    result.size = sizeof result;
    result.instruments = room;
    result.instrument_capacity = 64;
    result.instrument_size = sizeof room[0];
    trocar_error error{};
    error.size = sizeof error;
    if (trocar_session_run(session, &frame, 1, &result, &error) != TROCAR_OK) die(error.message);
    gst_video_frame_unmap(&mapped);
}

/// Milliseconds a frame of a program with an appsink; the first frame is not counted.
double bare(const char *const *given, int frames) {
    trocar_options options{};
    options.size = sizeof options;
    options.threads = std::atoi(given[7]);
    trocar_error error{};
    error.size = sizeof error;
    trocar_session *session = nullptr;
    if (trocar_session_open(given[1], &options, &session, &error) != TROCAR_OK) die(error.message);
    GstElement *pipeline =
        launch(source(given, frames) + "appsink name=end sync=false max-buffers=1");
    GstElement *end = gst_bin_get_by_name(GST_BIN(pipeline), "end");
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    double started = 0;
    int count = 0;
    while (GstSample *sample = gst_app_sink_pull_sample(GST_APP_SINK(end))) {
        run_one(session, sample);
        gst_sample_unref(sample);
        if (count++ == 0) started = now_ms();
    }
    const double spent = now_ms() - started;
    if (count != frames) die("bare: " + std::to_string(count) + " frames came");
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(end);
    gst_object_unref(pipeline);
    trocar_session_close(session);
    return spent / (frames - 1);
}

/// The same with the element; `memory` receives the MiB after a tenth of the frames and at the end.
double element(const char *const *given, int frames, double (&memory)[2]) {
    GstElement *pipeline = launch(source(given, frames) + "trocarinfer bundle=" + given[1] +
                                  " threads=" + given[7] + " ! fakesink sync=false");
    GstBus *bus = gst_element_get_bus(pipeline);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    double started = 0;
    int count = 0;
    for (bool going = true; going;) {
        GstMessage *message = gst_bus_timed_pop(bus, GST_CLOCK_TIME_NONE);
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
            GError *error = nullptr;
            gst_message_parse_error(message, &error, nullptr);
            die(error->message);
        }
        if (gst_message_has_name(message, "trocar-result")) {
            if (count++ == 0) started = now_ms();
            if (count == (frames + 9) / 10) memory[0] = resident_mib();
        }
        going = GST_MESSAGE_TYPE(message) != GST_MESSAGE_EOS;
        gst_message_unref(message);
    }
    const double spent = now_ms() - started;
    memory[1] = resident_mib();
    if (count != frames) die("element: " + std::to_string(count) + " results came");
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(bus);
    gst_object_unref(pipeline);
    return spent / (frames - 1);
}

}  // namespace

int main(int count, char **given) {
    gst_init(&count, &given);
    if (count != 8) die("usage: BUNDLE WIDTH HEIGHT FORMAT FRAMES ROUNDS THREADS");
    const int frames = std::atoi(given[5]);
    const int rounds = std::atoi(given[6]);
    if (frames < 2 || rounds < 1) die("at least 2 frames and 1 round");
    for (int round = 0; round < rounds; ++round) {
        // Which is first changes, so that a machine that slows down favours neither.
        double memory[2] = {};
        const double before = round % 2 == 0 ? bare(given, frames) : 0;
        const double with = element(given, frames, memory);
        const double alone = round % 2 == 0 ? before : bare(given, frames);
        std::printf(
            "{\"bare_ms\": %.6f, \"element_ms\": %.6f, \"mib_early\": %.3f, "
            "\"mib_end\": %.3f}\n",
            alone, with, memory[0], memory[1]);
    }
    return 0;
}
