// What GStreamer says about a picture, in the words of libtrocar.
#pragma once

#include <gst/video/video.h>
#include <trocar/trocar.h>

#include <string>

namespace trocar_gst {

/// The formats that the element takes, as GStreamer's caps name them.
#define TROCAR_GST_FORMATS "{ RGB, NV12, BGR, RGBA, BGRA, RGBx, BGRx, GRAY8 }"

/// What `trocar_frame` needs besides addresses: found once for a stream.
struct Pixels {
    int format = TROCAR_RGB;
    int yuv = TROCAR_BT709_LIMITED;
};

/// Fills `pixels`; gives back why the pictures cannot be taken, or an empty text.
std::string read_info(const GstVideoInfo &info, Pixels &pixels);

/// The mapped picture for libtrocar; valid while it is mapped.
trocar_frame frame_of(const GstVideoFrame &mapped, const Pixels &pixels);

}  // namespace trocar_gst
