// The element trocarinfer: frames pass unchanged, and what is seen in them goes along.
#pragma once

#include <gst/base/gstbasetransform.h>
#include <gst/video/video.h>
#include <trocar/trocar.h>

#include <string>
#include <vector>

#include "pixels.hpp"
#include "report.hpp"

namespace trocar_gst {

/// Which frames go through the model.
enum class Drop { none, late };

/// What the properties say; guarded by the object's lock.
struct Settings {
    std::string bundle, device, backend, provider, precision, library, location, trust, view;
    int threads = 0;
    Drop drop = Drop::none;
    bool messages = true;
};

/// All that lives as long as the element; GObject's struct holds only a pointer to it.
struct State {
    Settings settings;
    // Guarded by the object's lock.
    GstClockTime earliest = GST_CLOCK_TIME_NONE;  ///< Running time before which a frame is late.
    guint64 arrived = 0, processed = 0, late = 0;
    // Only used by the streaming thread, or while it does not run.
    Settings opened;
    trocar_session *session = nullptr;
    GstVideoInfo info{};
    Pixels pixels;
    double view[3] = {};
    bool interlace_said = false;
    std::string refused;  ///< Why the last caps were refused: it is posted once.
    std::vector<ClassName> classes;
    std::vector<trocar_instrument> room;
    std::vector<float> scores;
};

struct Element {
    GstBaseTransform parent;
    State *state;
};

struct ElementClass {
    GstBaseTransformClass parent;
};

GType element_get_type();

/// Adds the properties to a class; the functions that read and set them are in here too.
void install_properties(GObjectClass *object_class);

/// Three numbers of the property `view`; false if the text says something else.
bool read_view(const std::string &text, double (&view)[3]);

/// Name of the message and of the meta.
inline constexpr const char *message_name = "trocar-result";
inline constexpr const char *meta_name = "TrocarResult";

}  // namespace trocar_gst
