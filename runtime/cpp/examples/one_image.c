/* One image, in plain C:   one_image model.trocar frame.ppm   (binary PPM, 8 bits a channel) */
#include <stdio.h>
#include <stdlib.h>
#include <trocar/trocar.h>

enum { MOST = 32 };

static uint8_t *read_ppm(const char *path, int *width, int *height) {
    FILE *file = fopen(path, "rb");
    uint8_t *pixels = NULL;
    if (file != NULL && fscanf(file, "P6 %d %d 255", width, height) == 2 && fgetc(file) != EOF &&
        *width > 0 && *height > 0 && *width <= 32768 && *height <= 32768) {
        size_t size = (size_t)*width * (size_t)*height * 3;
        pixels = malloc(size);
        if (pixels != NULL && fread(pixels, 1, size, file) != size) {
            free(pixels);
            pixels = NULL;
        }
    }
    if (file != NULL) fclose(file);
    return pixels;
}

static int fail(const trocar_error *error) {
    fprintf(stderr, "%s: %s\n  -> %s\n", trocar_status_name(error->code), error->message,
            error->remedy);
    return error->code;
}

int main(int count, char **arguments) {
    if (count != 3) return fprintf(stderr, "usage: one_image MODEL.trocar FRAME.ppm\n"), 2;
    int width = 0, height = 0;
    uint8_t *pixels = read_ppm(arguments[2], &width, &height);
    if (pixels == NULL) return fprintf(stderr, "cannot read %s\n", arguments[2]), 2;

    trocar_error error = {.size = sizeof error};
    trocar_session *session = NULL;
    if (trocar_session_open(arguments[1], NULL, &session, &error) != TROCAR_OK) {
        free(pixels);
        return fail(&error);
    }
    trocar_frame frame = {.size = sizeof frame};
    frame.format = TROCAR_RGB;
    frame.width = width;
    frame.height = height;
    frame.data = pixels;
    trocar_instrument found[MOST];
    trocar_result result = {.size = sizeof result};
    result.instruments = found;
    result.instrument_capacity = MOST;
    result.instrument_size = sizeof found[0];
    trocar_status status = trocar_session_run(session, &frame, 1, &result, &error);
    for (uint32_t i = 0; status == TROCAR_OK && i < result.instrument_count; ++i) {
        trocar_class row = {.size = sizeof row};
        trocar_session_class(session, found[i].class_id, &row, NULL);
        printf("%s %.3f box %.1f %.1f %.1f %.1f", found[i].joined ? row.type : row.name,
               found[i].score, found[i].box[0], found[i].box[1], found[i].box[2], found[i].box[3]);
        for (int t = 0; t < found[i].tip_count; ++t)
            printf(" tip %.1f %.1f", found[i].tips[t][0], found[i].tips[t][1]);
        printf("\n");
    }
    trocar_session_close(session);
    free(pixels);
    return status == TROCAR_OK ? 0 : fail(&error);
}
