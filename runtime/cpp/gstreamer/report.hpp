// One frame's result as a GStreamer structure: the same fields in the message and in the meta.
#pragma once

#include <gst/gst.h>
#include <trocar/trocar.h>

#include <string>
#include <vector>

namespace trocar_gst {

/// A row of the class table, copied: the session's own texts end with the session.
struct ClassName {
    std::string name;
    std::string type;
};

/// What a result is reported with.
struct Moment {
    guint64 frame = 0;  ///< Number of the frame in the stream, from 0.
    GstClockTime pts = GST_CLOCK_TIME_NONE;
    GstClockTime running_time = GST_CLOCK_TIME_NONE;
    GstClockTime stream_time = GST_CLOCK_TIME_NONE;
    int width = 0;
    int height = 0;
};

/// A structure `name` that the caller frees. `scores`: of a classifier, else empty.
GstStructure *report(const char *name, const Moment &moment, const trocar_result &result,
                     const std::vector<ClassName> &classes, const std::vector<float> &scores);

}  // namespace trocar_gst
