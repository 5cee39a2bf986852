/* Runs a pipeline and prints every result of its trocarinfer as one line of JSON:
 *
 *     gst_results 'filesrc location=clip.mp4 ! decodebin ! videoconvert !
 *                  video/x-raw,format=RGB ! trocarinfer bundle=model.trocar ! fakesink name=end'
 *
 * Results come twice: as messages on the bus, which are printed, and as the meta TrocarResult of
 * the buffers, which are counted with the frames at the element that is called "end", where there
 * is one. */
#include <gst/gst.h>
#include <stdio.h>

typedef struct {
    guint64 frames, metas;
} Counts;

static GstPadProbeReturn count_meta(GstPad *pad, GstPadProbeInfo *info, gpointer given) {
    (void)pad;
    Counts *counts = given;
    ++counts->frames;
    GstCustomMeta *meta =
        gst_buffer_get_custom_meta(GST_PAD_PROBE_INFO_BUFFER(info), "TrocarResult");
    if (meta != NULL) ++counts->metas;
    return GST_PAD_PROBE_OK;
}

static int fail(GstMessage *message) {
    GError *error = NULL;
    gchar *debug = NULL;
    gst_message_parse_error(message, &error, &debug);
    fprintf(stderr, "%s: %s\n", GST_OBJECT_NAME(message->src), error->message);
    g_error_free(error);
    g_free(debug);
    return 1;
}

int main(int count, char **arguments) {
    gst_init(&count, &arguments);
    if (count != 2) return fprintf(stderr, "usage: gst_results PIPELINE\n"), 2;
    GError *wrong = NULL;
    GstElement *pipeline = gst_parse_launch(arguments[1], &wrong);
    if (wrong != NULL) {
        fprintf(stderr, "%s\n", wrong->message);
        g_error_free(wrong);
        if (pipeline != NULL) gst_object_unref(pipeline);
        return 2;
    }
    if (!GST_IS_BIN(pipeline)) return fprintf(stderr, "expected more than one element\n"), 2;
    guint64 messages = 0;
    Counts counts = {0, 0};
    GstElement *end = gst_bin_get_by_name(GST_BIN(pipeline), "end");
    if (end != NULL) {
        GstPad *pad = gst_element_get_static_pad(end, "sink");
        gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, count_meta, &counts, NULL);
        gst_object_unref(pad);
        gst_object_unref(end);
    }
    GstBus *bus = gst_element_get_bus(pipeline);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    int code = -1;
    while (code < 0) {
        GstMessage *message = gst_bus_timed_pop(bus, GST_CLOCK_TIME_NONE);
        const GstStructure *fields = gst_message_get_structure(message);
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) code = fail(message);
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_EOS) code = 0;
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ELEMENT &&
            gst_structure_has_name(fields, "trocar-result")) {
            printf("%s\n", gst_structure_get_string(fields, "json"));
            ++messages;
        }
        gst_message_unref(message);
    }
    fprintf(stderr,
            "%" G_GUINT64_FORMAT " messages, %" G_GUINT64_FORMAT " metas, %" G_GUINT64_FORMAT
            " frames\n",
            messages, counts.metas, counts.frames);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(bus);
    gst_object_unref(pipeline);
    return code;
}
