// The plug-in file: what GStreamer looks for when it searches its folders.
#include <gst/gst.h>

#include "element.hpp"

#define PACKAGE "trocar"

namespace {

gboolean start(GstPlugin *plugin) {
    static const gchar *tags[] = {nullptr};
    gst_meta_register_custom(trocar_gst::meta_name, tags, nullptr, nullptr, nullptr);
    return gst_element_register(plugin, "trocarinfer", GST_RANK_NONE,
                                trocar_gst::element_get_type());
}

}  // namespace

GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, trocar,
                  "Finds instruments in surgical video", start, TROCAR_VERSION, "Apache 2.0",
                  "Trocar", "https://trocar.invalid")
