#include "report.hpp"

namespace trocar_gst {

namespace {

std::string number(double value) {
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    return g_ascii_dtostr(text, sizeof text, value);
}

std::string numbers(const double *values, int count) {
    std::string text = "[";
    for (int i = 0; i < count; ++i) text += (i == 0 ? "" : ", ") + number(values[i]);
    return text + "]";
}

std::string quoted(const std::string &given) {
    std::string text = "\"";
    for (const char c : given) {
        if (c == '"' || c == '\\') text += '\\';
        if (static_cast<unsigned char>(c) < 0x20) {
            char escape[8];
            g_snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
            text += escape;
        } else {
            text += c;
        }
    }
    return text + "\"";
}

const char *truth(int32_t value) { return value != 0 ? "true" : "false"; }

const std::string &name_of(const trocar_instrument &one, const std::vector<ClassName> &classes) {
    static const std::string unknown;
    const auto row = static_cast<std::size_t>(one.class_id);
    if (one.class_id < 0 || row >= classes.size()) return unknown;
    return one.joined != 0 ? classes[row].type : classes[row].name;
}

/// The fields of a line of `trocar run --json`, with all digits.
std::string instrument_json(const trocar_instrument &one, const std::string &name) {
    std::string text = "{\"class_id\": " + std::to_string(one.class_id) +
                       ", \"class\": " + quoted(name) + ", \"score\": " + number(one.score) +
                       ", \"box\": " + numbers(one.box, 4) +
                       ", \"centroid\": " + numbers(one.centroid, 2) +
                       ", \"area\": " + number(one.area) + ", \"axis\": " + numbers(one.axis, 2) +
                       ", \"angle\": " + number(one.angle) + ", \"tips\": [";
    for (int i = 0; i < one.tip_count; ++i) text += (i == 0 ? "" : ", ") + numbers(one.tips[i], 2);
    text += "], \"entry\": ";
    text += one.has_entry != 0 ? numbers(one.entry, 2) : "null";
    text += std::string(", \"touches_border\": ") + truth(one.touches_border);
    if (one.instance != 0) text += ", \"instance\": " + std::to_string(one.instance);
    return text + "}";
}

void set_numbers(GstStructure *fields, const char *name, const double *values, int count) {
    GValue array = G_VALUE_INIT;
    gst_value_array_init(&array, static_cast<guint>(count));
    for (int i = 0; i < count; ++i) {
        GValue value = G_VALUE_INIT;
        g_value_init(&value, G_TYPE_DOUBLE);
        g_value_set_double(&value, values[i]);
        gst_value_array_append_and_take_value(&array, &value);
    }
    gst_structure_take_value(fields, name, &array);
}

GstStructure *instrument_fields(const trocar_instrument &one, const std::string &name) {
    GstStructure *fields = gst_structure_new(
        "instrument", "class-id", G_TYPE_INT, one.class_id, "class", G_TYPE_STRING, name.c_str(),
        "score", G_TYPE_DOUBLE, one.score, "area", G_TYPE_DOUBLE, one.area, "angle", G_TYPE_DOUBLE,
        one.angle, "touches-border", G_TYPE_BOOLEAN, one.touches_border, "instance", G_TYPE_INT,
        one.instance, nullptr);
    set_numbers(fields, "box", one.box, 4);
    set_numbers(fields, "centroid", one.centroid, 2);
    set_numbers(fields, "axis", one.axis, 2);
    set_numbers(fields, "tips", one.tips[0], 2 * one.tip_count);
    set_numbers(fields, "entry", one.entry, one.has_entry != 0 ? 2 : 0);
    return fields;
}

}  // namespace

GstStructure *report(const char *name, const Moment &moment, const trocar_result &result,
                     const std::vector<ClassName> &classes, const std::vector<float> &scores) {
    GValue instruments = G_VALUE_INIT;
    gst_value_array_init(&instruments, result.instrument_count);
    std::string json = "{\"frame\": " + std::to_string(moment.frame);
    if (GST_CLOCK_TIME_IS_VALID(moment.stream_time))
        json += ", \"time\": " + number(static_cast<double>(moment.stream_time) / GST_SECOND);
    json += ", \"size\": [" + std::to_string(moment.height) + ", " + std::to_string(moment.width) +
            "], \"instruments\": [";
    for (uint32_t i = 0; i < result.instrument_count; ++i) {
        const trocar_instrument &one = result.instruments[i];
        const std::string &called = name_of(one, classes);
        json += (i == 0 ? "" : ", ") + instrument_json(one, called);
        GValue value = G_VALUE_INIT;
        g_value_init(&value, GST_TYPE_STRUCTURE);
        g_value_take_boxed(&value, instrument_fields(one, called));
        gst_value_array_append_and_take_value(&instruments, &value);
    }
    json += "]";
    if (!scores.empty()) {
        const std::vector<double> wide(scores.begin(), scores.end());
        json += ", \"scores\": " + numbers(wide.data(), static_cast<int>(wide.size()));
    }
    json += "}";
    GstStructure *fields = gst_structure_new(
        name, "frame", G_TYPE_UINT64, moment.frame, "pts", G_TYPE_UINT64, moment.pts,
        "running-time", G_TYPE_UINT64, moment.running_time, "stream-time", G_TYPE_UINT64,
        moment.stream_time, "width", G_TYPE_INT, moment.width, "height", G_TYPE_INT, moment.height,
        "infer-ms", G_TYPE_DOUBLE, result.infer_ms, "json", G_TYPE_STRING, json.c_str(), nullptr);
    gst_structure_take_value(fields, "instruments", &instruments);
    return fields;
}

}  // namespace trocar_gst
