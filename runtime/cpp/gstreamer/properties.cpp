#include <cmath>

#include "element.hpp"

namespace trocar_gst {

namespace {

enum { none, threads, drop, messages, processed, late, first_text };

struct Text {
    const char *name;
    const char *nick;
    const char *blurb;
    std::string Settings::*member;
};

constexpr Text texts[] = {
    {"bundle", "Bundle", "Folder of the bundle, or an .onnx file that holds its manifest",
     &Settings::bundle},
    {"device", "Device", "cpu (default), cuda or cuda:N", &Settings::device},
    {"backend", "Backend", "onnxruntime (default), tensorrt or tensorrt-rtx", &Settings::backend},
    {"provider", "Provider", "ONNX Runtime on CUDA: cuda (default), tensorrt or tensorrt-rtx",
     &Settings::provider},
    {"precision", "Precision", "Must be the bundle's; or tf32 for an fp32 bundle on CUDA",
     &Settings::precision},
    {"library", "Library", "File of the backend's library (default: searched)", &Settings::library},
    {"location", "Location",
     "JSON object with options of location, e.g. {\"strip_depth\": 0.05} (default: the bundle's)",
     &Settings::location},
    {"trust", "Trust", "PEM file of a public key; a bundle that its owner did not sign is refused",
     &Settings::trust},
    {"view", "View", "Round field of view in pixels: \"x,y,radius\" (default: the full frame)",
     &Settings::view},
};

GType drop_type() {
    static const GEnumValue values[] = {
        {static_cast<int>(Drop::none), "Every frame goes through the model", "none"},
        {static_cast<int>(Drop::late), "A frame that comes too late passes without inference",
         "late"},
        {0, nullptr, nullptr}};
    static const GType type = g_enum_register_static("TrocarInferDrop", values);
    return type;
}

void set(GObject *object, guint id, const GValue *value, GParamSpec *spec) {
    State &state = *reinterpret_cast<Element *>(object)->state;
    GST_OBJECT_LOCK(object);
    if (id == threads) {
        state.settings.threads = g_value_get_int(value);
    } else if (id == drop) {
        state.settings.drop = static_cast<Drop>(g_value_get_enum(value));
    } else if (id == messages) {
        state.settings.messages = g_value_get_boolean(value) != FALSE;
    } else if (id >= first_text && id - first_text < G_N_ELEMENTS(texts)) {
        const char *text = g_value_get_string(value);
        state.settings.*texts[id - first_text].member = text == nullptr ? "" : text;
    } else {
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
    GST_OBJECT_UNLOCK(object);
}

void get(GObject *object, guint id, GValue *value, GParamSpec *spec) {
    const State &state = *reinterpret_cast<Element *>(object)->state;
    GST_OBJECT_LOCK(object);
    if (id == threads) {
        g_value_set_int(value, state.settings.threads);
    } else if (id == drop) {
        g_value_set_enum(value, static_cast<int>(state.settings.drop));
    } else if (id == messages) {
        g_value_set_boolean(value, state.settings.messages);
    } else if (id == processed || id == late) {
        g_value_set_uint64(value, id == late ? state.late : state.processed);
    } else if (id >= first_text && id - first_text < G_N_ELEMENTS(texts)) {
        const std::string &text = state.settings.*texts[id - first_text].member;
        g_value_set_string(value, text.empty() ? nullptr : text.c_str());
    } else {
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
    GST_OBJECT_UNLOCK(object);
}

}  // namespace

void install_properties(GObjectClass *object_class) {
    object_class->set_property = set;
    object_class->get_property = get;
    const auto fixed = static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
                                                GST_PARAM_MUTABLE_READY);
    const auto playing = static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
                                                  GST_PARAM_MUTABLE_PLAYING);
    const auto read = static_cast<GParamFlags>(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
    guint id = first_text;
    for (const Text &text : texts)
        g_object_class_install_property(
            object_class, id++,
            g_param_spec_string(text.name, text.nick, text.blurb, nullptr, fixed));
    g_object_class_install_property(
        object_class, threads,
        g_param_spec_int("threads", "Threads", "CPU threads; 0: one for each usable core", 0, 1024,
                         0, fixed));
    g_object_class_install_property(
        object_class, drop,
        g_param_spec_enum("drop", "Drop", "Which frames pass without inference", drop_type(),
                          static_cast<int>(Drop::none), playing));
    g_object_class_install_property(
        object_class, messages,
        g_param_spec_boolean("post-messages", "Post messages",
                             "Post a message trocar-result on the bus for every result", TRUE,
                             playing));
    g_object_class_install_property(
        object_class, processed,
        g_param_spec_uint64("processed", "Processed", "Frames that went through the model", 0,
                            G_MAXUINT64, 0, read));
    g_object_class_install_property(
        object_class, late,
        g_param_spec_uint64("late", "Late",
                            "Frames that came too late and passed without inference", 0,
                            G_MAXUINT64, 0, read));
}

bool read_view(const std::string &text, double (&view)[3]) {
    view[0] = view[1] = view[2] = 0;
    if (text.empty()) return true;
    gchar **parts = g_strsplit(text.c_str(), ",", -1);
    bool good = g_strv_length(parts) == 3;
    for (int i = 0; good && i < 3; ++i) {
        gchar *end = nullptr;
        g_strstrip(parts[i]);
        view[i] = g_ascii_strtod(parts[i], &end);
        good = end != parts[i] && *end == '\0' && std::isfinite(view[i]);
    }
    g_strfreev(parts);
    return good && view[2] > 0;
}

}  // namespace trocar_gst
