#include "pixels.hpp"

namespace trocar_gst {

namespace {

bool format_of(GstVideoFormat given, int &format) {
    switch (given) {
        case GST_VIDEO_FORMAT_RGB:
            format = TROCAR_RGB;
            return true;
        case GST_VIDEO_FORMAT_BGR:
            format = TROCAR_BGR;
            return true;
        case GST_VIDEO_FORMAT_RGBA:
        case GST_VIDEO_FORMAT_RGBx:
            format = TROCAR_RGBA;
            return true;
        case GST_VIDEO_FORMAT_BGRA:
        case GST_VIDEO_FORMAT_BGRx:
            format = TROCAR_BGRA;
            return true;
        case GST_VIDEO_FORMAT_GRAY8:
            format = TROCAR_GRAY;
            return true;
        case GST_VIDEO_FORMAT_NV12:
            format = TROCAR_NV12;
            return true;
        default:
            return false;
    }
}

bool yuv_of(const GstVideoColorimetry &colours, int &yuv) {
    const bool full = colours.range == GST_VIDEO_COLOR_RANGE_0_255;
    switch (colours.matrix) {
        case GST_VIDEO_COLOR_MATRIX_BT709:
            yuv = full ? TROCAR_BT709_FULL : TROCAR_BT709_LIMITED;
            return true;
        case GST_VIDEO_COLOR_MATRIX_BT601:
            yuv = full ? TROCAR_BT601_FULL : TROCAR_BT601_LIMITED;
            return true;
        case GST_VIDEO_COLOR_MATRIX_BT2020:
            yuv = full ? TROCAR_BT2020_FULL : TROCAR_BT2020_LIMITED;
            return true;
        default:
            return false;
    }
}

}  // namespace

std::string read_info(const GstVideoInfo &info, Pixels &pixels) {
    const std::string name = gst_video_format_to_string(GST_VIDEO_INFO_FORMAT(&info));
    if (!format_of(GST_VIDEO_INFO_FORMAT(&info), pixels.format))
        return "the frames are " + name +
               ", expected one of " TROCAR_GST_FORMATS ": put videoconvert before trocarinfer";
    if (pixels.format != TROCAR_NV12) return "";
    if (!yuv_of(info.colorimetry, pixels.yuv)) {
        gchar *text = gst_video_colorimetry_to_string(&info.colorimetry);
        const std::string colours = text == nullptr ? "unknown" : text;
        g_free(text);
        return "the NV12 frames have the colorimetry " + colours +
               ", expected a matrix of BT.601, BT.709 or BT.2020: name the right one with "
               "capssetter caps=video/x-raw,colorimetry=bt709, or convert them to RGB with "
               "videoconvert ! video/x-raw,format=RGB";
    }
    return "";
}

trocar_frame frame_of(const GstVideoFrame &mapped, const Pixels &pixels) {
    trocar_frame frame{};
    frame.size = sizeof frame;
    frame.format = pixels.format;
    frame.width = GST_VIDEO_FRAME_WIDTH(&mapped);
    frame.height = GST_VIDEO_FRAME_HEIGHT(&mapped);
    frame.data = static_cast<const uint8_t *>(GST_VIDEO_FRAME_PLANE_DATA(&mapped, 0));
    frame.stride = GST_VIDEO_FRAME_PLANE_STRIDE(&mapped, 0);
    if (pixels.format == TROCAR_NV12) {
        frame.chroma = static_cast<const uint8_t *>(GST_VIDEO_FRAME_PLANE_DATA(&mapped, 1));
        frame.chroma_stride = GST_VIDEO_FRAME_PLANE_STRIDE(&mapped, 1);
        frame.yuv = pixels.yuv;
    }
    return frame;
}

}  // namespace trocar_gst
