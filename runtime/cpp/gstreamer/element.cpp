#include "element.hpp"

#include <new>

GST_DEBUG_CATEGORY_STATIC(trocar_infer_debug);
#define GST_CAT_DEFAULT trocar_infer_debug

namespace trocar_gst {

namespace {

GstBaseTransformClass *parent_class = nullptr;

Element *element_of(void *object) { return static_cast<Element *>(object); }
State &state_of(void *object) { return *element_of(object)->state; }

const char *or_null(const std::string &text) { return text.empty() ? nullptr : text.c_str(); }

/// Why there is no session: libtrocar's own words, with its remedy behind them.
void post_open_error(Element *element, const trocar_error &error) {
    const std::string text = std::string(error.message) +
                             (error.remedy[0] == '\0' ? "" : std::string("; ") + error.remedy);
    const char *kind = trocar_status_name(error.code);
    switch (error.code) {
        case TROCAR_ERROR_BUNDLE:
        case TROCAR_ERROR_INTEGRITY:
        case TROCAR_ERROR_VERSION:
        case TROCAR_ERROR_PARITY:
            GST_ELEMENT_ERROR(element, RESOURCE, OPEN_READ, ("%s", text.c_str()), ("%s", kind));
            break;
        case TROCAR_ERROR_CONFIG:
        case TROCAR_ERROR_ARGUMENT:
            GST_ELEMENT_ERROR(element, LIBRARY, SETTINGS, ("%s", text.c_str()), ("%s", kind));
            break;
        default:
            GST_ELEMENT_ERROR(element, LIBRARY, INIT, ("%s", text.c_str()), ("%s", kind));
    }
}

void close_session(State &state) {
    trocar_session_close(state.session);
    state.session = nullptr;
}

void read_session(State &state) {
    trocar_info info{};
    info.size = sizeof info;
    trocar_session_info(state.session, &info, nullptr);
    state.classes.clear();
    for (int32_t id = 0; id < info.class_count; ++id) {
        trocar_class row{};
        row.size = sizeof row;
        trocar_session_class(state.session, id, &row, nullptr);
        state.classes.push_back(
            {row.name == nullptr ? "" : row.name, row.type == nullptr ? "" : row.type});
    }
    state.scores.assign(static_cast<std::size_t>(info.score_count), 0.0F);
    if (state.room.empty()) state.room.resize(64);
}

/// Opens the bundle for frames of this size (0: not known yet); posts why it cannot.
bool open_session(Element *element, int width, int height) {
    State &state = *element->state;
    close_session(state);
    const Settings &given = state.opened;
    trocar_options options{};
    options.size = sizeof options;
    options.threads = given.threads;
    options.backend = or_null(given.backend);
    options.device = or_null(given.device);
    options.provider = or_null(given.provider);
    options.precision = or_null(given.precision);
    options.library = or_null(given.library);
    options.location = or_null(given.location);
    options.trust = or_null(given.trust);
    options.frame_width = width;
    options.frame_height = height;
    trocar_error error{};
    error.size = sizeof error;
    if (trocar_session_open(given.bundle.c_str(), &options, &state.session, &error) != TROCAR_OK) {
        post_open_error(element, error);
        return false;
    }
    read_session(state);
    return true;
}

/// Engines are made for sizes of frames, so the right one is only known with the caps.
bool is_engine(const Settings &settings) { return settings.backend.rfind("tensorrt", 0) == 0; }

void forget_lateness(GstBaseTransform *base) {
    GST_OBJECT_LOCK(base);
    state_of(base).earliest = GST_CLOCK_TIME_NONE;
    GST_OBJECT_UNLOCK(base);
}

gboolean start(GstBaseTransform *base) {
    Element *element = element_of(base);
    State &state = *element->state;
    GST_OBJECT_LOCK(base);
    state.opened = state.settings;
    state.earliest = GST_CLOCK_TIME_NONE;
    state.arrived = state.processed = state.late = 0;
    GST_OBJECT_UNLOCK(base);
    state.interlace_said = false;
    state.refused.clear();
    if (state.opened.bundle.empty()) {
        GST_ELEMENT_ERROR(element, LIBRARY, SETTINGS,
                          ("the property bundle is empty, expected the path of a bundle; "
                           "set it: trocarinfer bundle=model.trocar"),
                          (nullptr));
        return FALSE;
    }
    if (!read_view(state.opened.view, state.view)) {
        GST_ELEMENT_ERROR(element, LIBRARY, SETTINGS,
                          ("the property view is \"%s\", expected \"x,y,radius\" in pixels with a "
                           "radius above 0, e.g. view=\"960,540,500\"",
                           state.opened.view.c_str()),
                          (nullptr));
        return FALSE;
    }
    return is_engine(state.opened) || open_session(element, 0, 0);
}

gboolean stop(GstBaseTransform *base) {
    close_session(state_of(base));
    return TRUE;
}

/// Reads caps; posts why they do not fit.
bool fits(Element *element, GstCaps *caps, GstVideoInfo &info) {
    State &state = *element->state;
    std::string why = "the caps cannot be read";
    if (gst_video_info_from_caps(&info, caps) && (why = read_info(info, state.pixels)).empty())
        return true;
    // GStreamer asks again for the same caps.
    if (why != state.refused)
        GST_ELEMENT_ERROR(element, STREAM, FORMAT, ("%s", why.c_str()),
                          ("caps %" GST_PTR_FORMAT, static_cast<void *>(caps)));
    state.refused = why;
    return false;
}

/// Lets formats in that do not fit, because GStreamer refuses them without a word: they are refused
/// when they come. What fits is told by the query of caps, by which elements choose a format.
gboolean accept_caps(GstBaseTransform *base, GstPadDirection direction, GstCaps *caps) {
    GstVideoInfo info;
    const GstCapsFeatures *features = gst_caps_get_features(caps, 0);
    if (direction == GST_PAD_SINK && gst_caps_is_fixed(caps) && features != nullptr &&
        gst_caps_features_is_equal(features, GST_CAPS_FEATURES_MEMORY_SYSTEM_MEMORY) &&
        gst_structure_has_name(gst_caps_get_structure(caps, 0), "video/x-raw") &&
        gst_video_info_from_caps(&info, caps))
        return TRUE;
    return parent_class->accept_caps(base, direction, caps);
}

gboolean set_caps(GstBaseTransform *base, GstCaps *caps, GstCaps *) {
    Element *element = element_of(base);
    State &state = *element->state;
    GstVideoInfo info;
    if (!fits(element, caps, info)) return FALSE;
    const bool resized = info.width != state.info.width || info.height != state.info.height;
    state.info = info;
    if (GST_VIDEO_INFO_IS_INTERLACED(&info) && !state.interlace_said) {
        state.interlace_said = true;
        GST_ELEMENT_WARNING(element, STREAM, FORMAT,
                            ("the frames are interlaced, so edges of moving instruments are "
                             "combed; put deinterlace before trocarinfer"),
                            (nullptr));
    }
    if (is_engine(state.opened) && (state.session == nullptr || resized))
        return open_session(element, info.width, info.height);
    return TRUE;
}

/// Whether this frame comes too late for the sink, as the sink's last QoS event says.
bool is_late(GstBaseTransform *base, const Moment &moment) {
    State &state = state_of(base);
    GST_OBJECT_LOCK(base);
    const bool late =
        state.settings.drop == Drop::late && GST_CLOCK_TIME_IS_VALID(state.earliest) &&
        GST_CLOCK_TIME_IS_VALID(moment.running_time) && moment.running_time <= state.earliest;
    if (late) ++state.late;
    const guint64 processed = state.processed;
    const guint64 dropped = state.late;
    const GstClockTime earliest = state.earliest;
    GST_OBJECT_UNLOCK(base);
    if (!late) return false;
    GstMessage *message = gst_message_new_qos(GST_OBJECT(base), FALSE, moment.running_time,
                                              moment.stream_time, moment.pts, GST_CLOCK_TIME_NONE);
    gst_message_set_qos_values(message, GST_CLOCK_DIFF(moment.running_time, earliest), 1.0,
                               1000000);
    gst_message_set_qos_stats(message, GST_FORMAT_BUFFERS, processed, dropped);
    gst_element_post_message(GST_ELEMENT(base), message);
    return true;
}

Moment moment_of(GstBaseTransform *base, const GstBuffer *buffer) {
    State &state = state_of(base);
    Moment moment;
    GST_OBJECT_LOCK(base);
    moment.frame = state.arrived++;
    GST_OBJECT_UNLOCK(base);
    moment.pts = GST_BUFFER_PTS(buffer);
    moment.running_time = gst_segment_to_running_time(&base->segment, GST_FORMAT_TIME, moment.pts);
    moment.stream_time = gst_segment_to_stream_time(&base->segment, GST_FORMAT_TIME, moment.pts);
    moment.width = state.info.width;
    moment.height = state.info.height;
    return moment;
}

/// Runs the model; again with more room if there were more instruments than ever before.
trocar_status run(State &state, const trocar_frame &frame, trocar_result &result,
                  trocar_error &error) {
    for (;;) {
        result = trocar_result{};
        result.size = sizeof result;
        result.instruments = state.room.data();
        result.instrument_capacity = static_cast<uint32_t>(state.room.size());
        result.instrument_size = sizeof(trocar_instrument);
        if (!state.scores.empty()) {
            result.scores = state.scores.data();
            result.score_capacity = state.scores.size();
        }
        const trocar_status status = trocar_session_run(state.session, &frame, 1, &result, &error);
        if (status != TROCAR_OK || result.instrument_total <= result.instrument_count)
            return status;
        state.room.resize(result.instrument_total);
    }
}

void send(GstBaseTransform *base, GstBuffer *buffer, GstStructure *fields) {
    State &state = state_of(base);
    GstCustomMeta *meta = gst_buffer_get_custom_meta(buffer, meta_name);
    if (meta == nullptr) meta = gst_buffer_add_custom_meta(buffer, meta_name);
    if (meta != nullptr) {
        GstStructure *into = gst_custom_meta_get_structure(meta);
        for (int i = 0; i < gst_structure_n_fields(fields); ++i) {
            const gchar *name = gst_structure_nth_field_name(fields, static_cast<guint>(i));
            gst_structure_set_value(into, name, gst_structure_get_value(fields, name));
        }
    }
    GST_OBJECT_LOCK(base);
    ++state.processed;
    const bool messages = state.settings.messages;
    GST_OBJECT_UNLOCK(base);
    if (messages)
        gst_element_post_message(GST_ELEMENT(base),
                                 gst_message_new_element(GST_OBJECT(base), fields));
    else
        gst_structure_free(fields);
}

GstFlowReturn transform(GstBaseTransform *base, GstBuffer *buffer) {
    State &state = state_of(base);
    const Moment moment = moment_of(base, buffer);
    if (is_late(base, moment)) return GST_FLOW_OK;
    // Only read: a buffer that the decoder still refers to is not copied.
    GstVideoFrame mapped;
    if (state.session == nullptr ||
        !gst_video_frame_map(&mapped, &state.info, buffer, GST_MAP_READ)) {
        GST_ELEMENT_ERROR(base, STREAM, FAILED,
                          ("frame %" G_GUINT64_FORMAT " cannot be read: its buffer does not fit "
                           "the caps; put videoconvert before trocarinfer",
                           moment.frame),
                          (nullptr));
        return GST_FLOW_ERROR;
    }
    trocar_frame frame = frame_of(mapped, state.pixels);
    for (int i = 0; i < 3; ++i) frame.view[i] = state.view[i];
    trocar_result result{};
    trocar_error error{};
    error.size = sizeof error;
    const trocar_status status = run(state, frame, result, error);
    gst_video_frame_unmap(&mapped);
    if (status != TROCAR_OK) {
        GST_ELEMENT_ERROR(
            base, STREAM, FAILED,
            ("frame %" G_GUINT64_FORMAT ": %s; %s", moment.frame, error.message, error.remedy),
            ("%s", trocar_status_name(status)));
        return GST_FLOW_ERROR;
    }
    send(base, buffer, report(message_name, moment, result, state.classes, state.scores));
    return GST_FLOW_OK;
}

gboolean src_event(GstBaseTransform *base, GstEvent *event) {
    if (GST_EVENT_TYPE(event) == GST_EVENT_QOS) {
        GstClockTimeDiff by = 0;
        GstClockTime when = GST_CLOCK_TIME_NONE;
        gst_event_parse_qos(event, nullptr, nullptr, &by, &when);
        if (GST_CLOCK_TIME_IS_VALID(when)) {
            const bool early = by < 0 && static_cast<GstClockTime>(-by) > when;
            GST_OBJECT_LOCK(base);
            state_of(base).earliest = early ? 0 : when + static_cast<GstClockTime>(by);
            GST_OBJECT_UNLOCK(base);
        }
    }
    return parent_class->src_event(base, event);
}

gboolean sink_event(GstBaseTransform *base, GstEvent *event) {
    const GstEventType type = GST_EVENT_TYPE(event);
    if (type == GST_EVENT_FLUSH_STOP || type == GST_EVENT_SEGMENT) forget_lateness(base);
    if (type == GST_EVENT_CAPS) {
        GstCaps *caps = nullptr;
        GstVideoInfo info;
        gst_event_parse_caps(event, &caps);
        if (!fits(element_of(base), caps, info)) {
            gst_event_unref(event);
            return FALSE;
        }
    }
    return parent_class->sink_event(base, event);
}

void finalize(GObject *object) {
    close_session(state_of(object));
    delete element_of(object)->state;
    G_OBJECT_CLASS(parent_class)->finalize(object);
}

void init_class(void *given, void *) {
    parent_class = static_cast<GstBaseTransformClass *>(g_type_class_peek_parent(given));
    GObjectClass *object_class = G_OBJECT_CLASS(given);
    object_class->finalize = finalize;
    install_properties(object_class);

    GstElementClass *element_class = GST_ELEMENT_CLASS(given);
    gst_element_class_set_static_metadata(
        element_class, "Instrument finder", "Filter/Analyzer/Video",
        "Runs a Trocar bundle on every frame; frames pass unchanged, results go along as the meta "
        "TrocarResult and as messages trocar-result",
        "Trocar maintainers");
    GstCaps *caps = gst_caps_from_string(GST_VIDEO_CAPS_MAKE(TROCAR_GST_FORMATS));
    for (const auto &[name, direction] :
         {std::pair{"sink", GST_PAD_SINK}, std::pair{"src", GST_PAD_SRC}})
        gst_element_class_add_pad_template(
            element_class, gst_pad_template_new(name, direction, GST_PAD_ALWAYS, caps));
    gst_caps_unref(caps);

    GstBaseTransformClass *base_class = GST_BASE_TRANSFORM_CLASS(given);
    base_class->start = start;
    base_class->stop = stop;
    base_class->accept_caps = accept_caps;
    base_class->set_caps = set_caps;
    base_class->transform_ip = transform;
    base_class->src_event = src_event;
    base_class->sink_event = sink_event;
}

void init(GTypeInstance *instance, void *) {
    element_of(instance)->state = new State;
    gst_base_transform_set_in_place(GST_BASE_TRANSFORM(instance), TRUE);
}

}  // namespace

GType element_get_type() {
    static const GType type = [] {
        GST_DEBUG_CATEGORY_INIT(trocar_infer_debug, "trocarinfer", 0, "Trocar's instrument finder");
        return g_type_register_static_simple(GST_TYPE_BASE_TRANSFORM, "GstTrocarInfer",
                                             sizeof(ElementClass), init_class, sizeof(Element),
                                             init, static_cast<GTypeFlags>(0));
    }();
    return type;
}

}  // namespace trocar_gst
