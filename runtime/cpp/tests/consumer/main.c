/* Refuses a folder that is not there; with arguments runs one frame:  main BUNDLE LIBRARY */
#include <stdio.h>
#include <trocar/trocar.h>

enum { WIDTH = 128, HEIGHT = 96 };

static int run(const char *bundle, const char *library) {
    static uint8_t rgb[WIDTH * HEIGHT * 3];
    trocar_error error = {.size = sizeof error};
    trocar_options options = {.size = sizeof options};
    options.library = library;
    trocar_session *session = NULL;
    trocar_instrument found[8];
    trocar_result result = {.size = sizeof result};
    result.instruments = found;
    result.instrument_capacity = 8;
    result.instrument_size = sizeof found[0];
    for (int i = 0; i < WIDTH * HEIGHT; ++i) {
        /* A blue bar from the left on red. */
        const int bar = i / WIDTH > 30 && i / WIDTH < 48 && i % WIDTH < 80;
        rgb[3 * i] = bar ? 60 : 180;
        rgb[3 * i + 1] = 60;
        rgb[3 * i + 2] = bar ? 210 : 50;
    }
    trocar_frame frame = {
        .size = sizeof frame, .format = TROCAR_RGB, .width = WIDTH, .height = HEIGHT};
    frame.data = rgb;
    trocar_status status = trocar_session_open(bundle, &options, &session, &error);
    if (status == TROCAR_OK) status = trocar_session_run(session, &frame, 1, &result, &error);
    trocar_session_close(session);
    if (status != TROCAR_OK) fprintf(stderr, "%s\n%s\n", error.message, error.remedy);
    printf("%u instruments\n", (unsigned)result.instrument_count);
    return status == TROCAR_OK && result.instrument_count == 1 ? 0 : 1;
}

int main(int count, char **arguments) {
    trocar_error error = {.size = sizeof error};
    trocar_session *session = NULL;
    if (count == 3) return run(arguments[1], arguments[2]);
    printf("%s\n", trocar_version());
    return trocar_session_open("/nowhere", NULL, &session, &error) == TROCAR_ERROR_BUNDLE &&
                   error.code == TROCAR_ERROR_BUNDLE && session == NULL
               ? 0
               : 1;
}
