/**
 * @file trocar.h
 * @brief Trocar for C, and for every language with a C interface: bundles and frames in, located
 *        instruments out.
 *
 * A complete program:
 * @code
 *     #include <stdio.h>
 *     #include <trocar/trocar.h>
 *
 *     int find(const uint8_t *rgb, int width, int height) {
 *         trocar_error error = {.size = sizeof error};
 *         trocar_session *session = NULL;
 *         if (trocar_session_open("model.trocar", NULL, &session, &error) != TROCAR_OK) {
 *             fprintf(stderr, "%s\n%s\n", error.message, error.remedy);
 *             return error.code;
 *         }
 *         trocar_frame frame = {sizeof frame, TROCAR_RGB, width, height, rgb, 3 * (ptrdiff_t)width};
 *         trocar_instrument instruments[32];
 *         trocar_result result = {.size = sizeof result};
 *         result.instruments = instruments;
 *         result.instrument_capacity = 32;
 *         result.instrument_size = sizeof instruments[0];
 *         trocar_status status = trocar_session_run(session, &frame, 1, &result, &error);
 *         for (uint32_t i = 0; status == TROCAR_OK && i < result.instrument_count; ++i)
 *             printf("class %d at (%.1f, %.1f)\n", instruments[i].class_id,
 *                    instruments[i].centroid[0], instruments[i].centroid[1]);
 *         trocar_session_close(session);
 *         return status;
 *     }
 * @endcode
 *
 * @par Ownership
 * The caller owns every buffer that a call writes. After a call has returned, the library does not use
 * its frames, results and options any more, except `trocar_options.log` and its context. Texts inside
 * `trocar_info` and `trocar_class` belong to the session and are valid until it is closed.
 * `trocar_session_close` frees the session of `trocar_session_open`.
 *
 * @par Structs
 * Each struct starts with `size`. Set it to `sizeof` of the struct, and set all other members to zero
 * before filling it in. Later versions only append members, so a program built with an older header
 * keeps working. In an array of structs, `size` of the first element is the distance between elements.
 *
 * @par Threads
 * Sessions are independent. One session may be used from several threads; its calls are serialised.
 * The caller must not close a session while another thread uses it. For parallel inference open one
 * session per thread.
 *
 * @par Errors
 * A call returns a status, whose values are those of Trocar's Python errors, and fills its
 * `trocar_error` (NULL is allowed). The library throws no exception and never ends the process. After a
 * failed run the contents of the output buffers are unspecified; the session can be used again.
 *
 * @par Memory
 * After the first call with a given batch and frame size, the library allocates no memory per call.
 */
#ifndef TROCAR_H
#define TROCAR_H

#include <stddef.h>
#include <stdint.h>

/** Version of the library that this header belongs to: first number. */
#define TROCAR_VERSION_MAJOR 0
/** Version of the library that this header belongs to: second number. */
#define TROCAR_VERSION_MINOR 1
/** Version of the library that this header belongs to: third number. */
#define TROCAR_VERSION_PATCH 0
/** Version of the binary interface; also the number in the library's file name. */
#define TROCAR_ABI_VERSION 0

#if defined(TROCAR_STATIC)
/** Marks the functions that the shared library exports. */
#define TROCAR_API
#elif defined(_WIN32)
#ifdef TROCAR_BUILDING
#define TROCAR_API __declspec(dllexport)
#else
#define TROCAR_API __declspec(dllimport)
#endif
#else
#define TROCAR_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Status of a call. The numbers never change. */
typedef enum trocar_status {
    TROCAR_OK = 0,                  /**< Success. */
    TROCAR_ERROR = 1,               /**< Any other error, e.g. out of memory. */
    TROCAR_ERROR_CONFIG = 2,        /**< The file of `trocar_options.trust` holds no public key. */
    TROCAR_ERROR_DATA = 3,          /**< Not returned by this library. */
    TROCAR_ERROR_BUNDLE = 4,        /**< The bundle is missing, truncated or malformed. */
    TROCAR_ERROR_INTEGRITY = 5,     /**< A file's SHA-256 is not the manifest's, or the bundle is not
                                         signed by the key of `trocar_options.trust`. */
    TROCAR_ERROR_VERSION = 6,       /**< The bundle has a schema that this library cannot read. */
    TROCAR_ERROR_CHECKPOINT = 7,    /**< Not returned by this library. */
    TROCAR_ERROR_PARITY = 8,        /**< The golden frame's result differs on this machine. */
    TROCAR_ERROR_BACKEND = 9,       /**< Device, backend or precision is not available. */
    TROCAR_ERROR_MISSING_EXTRA = 10, /**< The backend is not compiled in, or its library is missing. */
    TROCAR_ERROR_OUTPUT_EXISTS = 11, /**< Not returned by this library. */
    TROCAR_ERROR_TRAINING = 12,     /**< Not returned by this library. */
    TROCAR_ERROR_SOURCE = 13,       /**< Not returned by this library. */
    TROCAR_ERROR_SINK = 14,         /**< Not returned by this library. */
    TROCAR_ERROR_ARGUMENT = 15,     /**< An argument has the wrong shape, type or range. */
    TROCAR_ERROR_INTERRUPTED = 16,  /**< Not returned by this library. */
    TROCAR_ERROR_DAMAGED_INPUT = 17 /**< Not returned by this library. */
} trocar_status;

/** Order of a frame's bytes. */
typedef enum trocar_format {
    TROCAR_RGB = 0,  /**< 3 bytes per pixel. If tightly packed, passed to the model without a copy. */
    TROCAR_BGR = 1,  /**< 3 bytes per pixel, as in OpenCV. */
    TROCAR_RGBA = 2, /**< 4 bytes per pixel, alpha ignored. */
    TROCAR_BGRA = 3, /**< 4 bytes per pixel, alpha ignored. */
    TROCAR_GRAY = 4, /**< 1 byte per pixel, used for all three channels. */
    TROCAR_NV12 = 5  /**< A plane of Y, then one of U and V at half size; odd sides are rounded up. */
} trocar_format;

/** Colour matrix and range of an NV12 frame. */
typedef enum trocar_yuv {
    TROCAR_BT709_LIMITED = 0, /**< HD video. */
    TROCAR_BT601_LIMITED = 1, /**< SD video. */
    TROCAR_BT709_FULL = 2,    /**< HD, Y from 0 to 255. */
    TROCAR_BT601_FULL = 3,    /**< SD and JPEG, Y from 0 to 255. */
    TROCAR_BT2020_LIMITED = 4, /**< UHD video, non-constant luminance. */
    TROCAR_BT2020_FULL = 5     /**< UHD, Y from 0 to 255. */
} trocar_yuv;

/** Size of the label maps a run writes. */
typedef enum trocar_label_size {
    TROCAR_LABELS_NETWORK = 0, /**< The network's height and width. */
    TROCAR_LABELS_FRAME = 1    /**< The frame's, enlarged by nearest neighbour. */
} trocar_label_size;

/** Task of a model. */
typedef enum trocar_task {
    TROCAR_SEGMENTATION = 0,  /**< Frames to label maps and instruments. */
    TROCAR_CLASSIFICATION = 1, /**< Frames to class scores and, if the model has one, an embedding. */
    TROCAR_INSTANCES = 2      /**< Frames to instances, label maps and instruments. */
} trocar_task;

/** What a frame counts as by the out-of-body model. Whatever is not INSIDE counts as outside. */
typedef enum trocar_body {
    TROCAR_BODY_NOT_JUDGED = 0, /**< There is no model, or the run failed before it. */
    TROCAR_BODY_INSIDE = 1,     /**< Taken inside the body. */
    TROCAR_BODY_OUTSIDE = 2,    /**< Taken outside. */
    TROCAR_BODY_UNSURE = 3,     /**< The model is not sure. */
    TROCAR_BODY_FAILED = 4      /**< The model failed. */
} trocar_body;

/** What happens to frames from outside the body. */
typedef enum trocar_privacy {
    TROCAR_PRIVACY_OFF = 0,  /**< Nothing. */
    TROCAR_PRIVACY_BLUR = 1, /**< Reduced to the mean colours of 12 cells along the longer side. */
    TROCAR_PRIVACY_BLACK = 2 /**< Black. */
} trocar_privacy;

/** An opened, verified and warm bundle. */
typedef struct trocar_session trocar_session;

/** Why a call failed: what happened, and what to do next. UTF-8, always terminated. */
typedef struct trocar_error {
    uint32_t size;      /**< `sizeof(trocar_error)`. */
    int32_t code;       /**< The status that was returned. */
    char message[1024]; /**< What happened, with the actual and the expected value. */
    char remedy[512];   /**< What to do next; may be empty. */
} trocar_error;

/**
 * Receives the log of the backend's library; may be called from any thread during calls. It may not
 * open, run or close a session: such calls are refused with `TROCAR_ERROR_ARGUMENT`, or ignored.
 */
typedef void (*trocar_log)(void *context, int32_t severity, const char *message);

/** How to open a session. Zero is the default of every member. */
typedef struct trocar_options {
    uint32_t size;             /**< `sizeof(trocar_options)`. */
    int32_t threads;           /**< CPU threads; 0: one per usable core. */
    const char *backend;       /**< `onnxruntime` (default), `tensorrt` or `tensorrt-rtx`. */
    const char *device;        /**< `cpu` (default), `cuda` or `cuda:N`; no fallback. */
    const char *provider;      /**< ONNX Runtime on CUDA: `cuda` (default), `tensorrt`, or
                                    `tensorrt-rtx`. */
    const char *precision;     /**< `fp32`, `fp16`, `bf16` or `int8`: must be the bundle's; or `tf32`
                                    for an fp32 bundle on CUDA. NULL: the bundle's. */
    const char *library;       /**< File of the backend's library; NULL: searched. */
    int32_t no_spinning;       /**< 1: idle CPU threads sleep, so others get the cores. */
    int32_t min_pixels;        /**< Smallest region in pixels of the label map; 0: the bundle's. */
    double min_area;           /**< Smallest region as a fraction of the label map;
                                    0: the bundle's, below 0: no limit. */
    trocar_log log;            /**< NULL: no log. */
    void *log_context;         /**< Passed to `log`. */
    double min_score;          /**< Smallest mean confidence of an instrument; 0: the bundle's,
                                    below 0: no limit. */
    int32_t max_instruments;   /**< Largest number of instruments of a frame, the best by score times
                                    area; 0: the bundle's, below 0: no limit. */
    int32_t no_nv12;           /**< 1: a bundle's second graph, for NV12 frames, is not opened: less
                                    memory, and NV12 frames are converted to RGB. */
    const char *classes;       /**< Names of the instruments that are located, with commas between;
                                    NULL: the bundle's. */
    const char *location;      /**< A JSON object with any options of location, e.g.
                                    `{"strip_depth": 0.05}`; NULL: the bundle's. The members above
                                    override it. */
    const char *trust;         /**< PEM file of a public key (Ed25519, or ECDSA on P-256, P-384 or
                                    P-521): a bundle that its owner did not sign is refused.
                                    Needs OpenSSL 3; NULL: no signature is looked at. */
    int32_t frame_width;       /**< Of the frames that will come, in pixels, with `frame_height`: the
                                    engine that takes them is chosen. 0: not known. */
    int32_t frame_height;      /**< See `frame_width`. */
    const char *out_of_body;   /**< Bundle of a classifier with a class `inside` and another one: each
                                    frame is judged first, on one CPU thread, and the verdict is
                                    `trocar_result.body`. `trust` holds for it too. NULL: none. */
    double body_certainty;     /**< Least certainty of `inside`, 0..1; 0: 0.9, below 0: any. */
    int32_t privacy;           /**< A `trocar_privacy`. But for OFF, results of frames that do not
                                    count as inside show nothing, and `trocar_session_cover` covers
                                    their pixels. Needs `out_of_body`. */
    int32_t reserved_2;        /**< 0. */
} trocar_options;

/** One frame. The distance of rows is `stride` bytes; a negative stride means bottom-up. */
typedef struct trocar_frame {
    uint32_t size;            /**< `sizeof(trocar_frame)`. */
    int32_t format;           /**< A `trocar_format`. */
    int32_t width;            /**< Pixels, 1..32768. */
    int32_t height;           /**< Pixels, 1..32768. */
    const uint8_t *data;      /**< Top-left pixel; of NV12 the Y plane. */
    ptrdiff_t stride;         /**< Bytes from one row to the next; 0: tightly packed. */
    const uint8_t *chroma;    /**< NV12: the UV plane; NULL: directly after the Y plane. */
    ptrdiff_t chroma_stride;  /**< NV12: bytes from one row of UV to the next; 0: as `stride`, or
                                   tightly packed where that is 0. */
    int32_t yuv;              /**< NV12: a `trocar_yuv`. */
    int32_t reserved;         /**< 0. */
    double view[3];           /**< Centre x, y and radius of the endoscope's field of view in frame
                                   pixels, finite; radius 0: the full frame. */
    size_t data_bytes;        /**< Size of the buffer that holds the rows at `data`, from its first
                                   byte in memory to its last; 0: not stated, and not checked. */
    size_t chroma_bytes;      /**< NV12: likewise of the rows at `chroma`. */
} trocar_frame;

/** One located instrument, in pixels of the frame; pixel (0, 0) covers [0, 1) x [0, 1). */
typedef struct trocar_instrument {
    uint32_t size;          /**< Set by the library: number of bytes written. */
    int32_t class_id;       /**< Row of the class table; of joined rows the smallest. */
    int32_t touches_border; /**< 1 if it touches the border of the frame or of the field of view. */
    int32_t has_entry;      /**< 1 if `entry` is set. */
    int32_t tip_count;      /**< 0, 1 or 2; two if the jaws are open. */
    int32_t joined;         /**< 1 if rows of a common type were joined; its name is then the type. */
    double score;           /**< Mean confidence of its pixels, 0..1. */
    double box[4];          /**< x0, y0, x1, y1, half open. */
    double centroid[2];     /**< x, y. */
    double area;            /**< Square pixels. */
    double axis[2];         /**< Unit vector dx, dy, from entry to tip. */
    double angle;           /**< Direction of `axis` in degrees, -180..180; positive is down. */
    double tips[2][2];      /**< x, y of each tip. */
    double entry[2];        /**< Where the shaft enters the view. */
    int32_t instance;       /**< Number of the instance of an instance model, from 1; else 0. */
    int32_t reserved;       /**< 0. */
} trocar_instrument;

/** Result of one frame. Buffers that are NULL are not filled. */
typedef struct trocar_result {
    uint32_t size; /**< `sizeof(trocar_result)`. */
    /* The caller fills these in. */
    int32_t label_size;              /**< A `trocar_label_size`. */
    uint8_t *labels;                 /**< Class ids, row by row. */
    ptrdiff_t label_stride;          /**< Bytes from one row to the next; 0: tightly packed. */
    size_t label_bytes;              /**< Size of the buffer at `labels`. */
    float *confidence;               /**< Largest softmax 0..1 at network size, tightly packed. */
    size_t confidence_capacity;      /**< Size of that buffer in floats. */
    trocar_instrument *instruments;  /**< Array for instruments. */
    uint32_t instrument_capacity;    /**< Size of that array in elements. */
    uint32_t instrument_size;        /**< `sizeof(trocar_instrument)` of the caller. */
    float *scores;                   /**< A classifier's class scores. */
    size_t score_capacity;           /**< Size of that buffer in floats. */
    float *embedding;                /**< A classifier's embedding. */
    size_t embedding_capacity;       /**< Size of that buffer in floats. */
    /* The library fills these in. */
    uint32_t instrument_count;       /**< Elements written. */
    uint32_t instrument_total;       /**< Instruments located. If the array is too short, this is
                                          above `instrument_count`, and the last are missing. */
    int32_t label_width;             /**< Pixels of a row at `labels`. */
    int32_t label_height;            /**< Rows at `labels`. */
    double convert_ms;               /**< Conversion of the frames, full batch. */
    double infer_ms;                 /**< Inference, full batch. */
    double locate_ms;                /**< Locating instruments and writing this result. */
    /* The caller fills these in. */
    uint8_t *instrument_map;         /**< Which instrument each pixel belongs to: 1 + its place in
                                          `instruments`, 0 for none; of the size of `labels`. The
                                          first 255 instruments have pixels. */
    ptrdiff_t instrument_map_stride; /**< Bytes from one row to the next; 0: tightly packed. */
    size_t instrument_map_bytes;     /**< Size of the buffer at `instrument_map`. */
    /* The library fills these in. */
    int32_t instance_count;          /**< Instance models: instances that reached the smallest
                                          score, also those beyond the model's maximum. */
    int32_t reserved;                /**< 0. */
    int32_t body;                    /**< A `trocar_body`. */
    int32_t reserved_2;              /**< 0. */
} trocar_result;

/** Properties of a session. */
typedef struct trocar_info {
    uint32_t size;           /**< `sizeof(trocar_info)`. */
    int32_t task;            /**< A `trocar_task`. */
    int32_t network_width;   /**< Pixels. */
    int32_t network_height;  /**< Pixels. */
    int32_t class_count;     /**< Rows of the class table. */
    int32_t score_count;     /**< Number of a classifier's scores; else 0. */
    int32_t embedding_count; /**< Length of a classifier's embedding; else 0. */
    int32_t golden;          /**< 1 if the golden frame was replayed and is equal. */
    const char *name;        /**< Name of the model. */
    const char *method;      /**< Training method. */
    const char *backend;     /**< Name of the backend. */
    const char *device;      /**< Device in use, e.g. `cuda:0`. */
    const char *precision;   /**< Precision of the arithmetic. */
    const char *library;     /**< Name and version of the backend's library. */
    int32_t takes_nv12;      /**< 1 if the planes of NV12 frames go to a graph of their own, without
                                  a copy if tightly packed; 0 if NV12 is converted to RGB. */
    int32_t reserved;        /**< 0. */
} trocar_info;

/** One row of the class table. */
typedef struct trocar_class {
    uint32_t size;      /**< `sizeof(trocar_class)`. */
    int32_t id;         /**< Label value. */
    uint8_t colour[3];  /**< Red, green, blue. */
    uint8_t grey;       /**< Grey value. */
    int32_t instrument; /**< 1 if its regions are located. */
    const char *name;   /**< Unique. */
    const char *type;   /**< Instrument type; may be empty. */
    const char *part;   /**< Instrument part; may be empty. */
} trocar_class;

/**
 * Version of the library in use.
 * @return Text that is never freed, e.g. "0.1.0".
 */
TROCAR_API const char *trocar_version(void);

/**
 * Binary interface of the library in use.
 * @return Its `TROCAR_ABI_VERSION`.
 */
TROCAR_API int32_t trocar_abi_version(void);

/**
 * Name of a status.
 * @param status A `trocar_status`.
 * @return Text that is never freed, e.g. "BundleError"; "unknown" for other numbers.
 */
TROCAR_API const char *trocar_status_name(int32_t status);

/**
 * Opens a bundle, checks every hash, and replays its golden frame, which is also the warm-up.
 * @param path    The bundle's folder, or an `.onnx` file that contains its manifest. UTF-8.
 * @param options NULL for the defaults.
 * @param session Receives the session; NULL after a failure.
 * @param error   May be NULL.
 * @return `TROCAR_OK`, or the reason why there is no session.
 */
TROCAR_API trocar_status trocar_session_open(const char *path, const trocar_options *options,
                                             trocar_session **session, trocar_error *error);

/**
 * Closes a session and frees it.
 * @param session The session; NULL is allowed.
 */
TROCAR_API void trocar_session_close(trocar_session *session);

/**
 * Gives the properties of a session.
 * @param session The session.
 * @param info    Receives the members that its `size` covers.
 * @param error   May be NULL.
 * @return `TROCAR_OK` or `TROCAR_ERROR_ARGUMENT`.
 */
TROCAR_API trocar_status trocar_session_info(const trocar_session *session, trocar_info *info,
                                             trocar_error *error);

/**
 * Gives one row of the class table.
 * @param session The session.
 * @param id      Label value, from 0 to `trocar_info.class_count` - 1.
 * @param row     Receives it.
 * @param error   May be NULL.
 * @return `TROCAR_OK` or `TROCAR_ERROR_ARGUMENT`.
 */
TROCAR_API trocar_status trocar_session_class(const trocar_session *session, int32_t id,
                                              trocar_class *row, trocar_error *error);

/**
 * Runs the model on a batch of frames of one size; their formats may differ.
 * @param session The session.
 * @param frames  `count` frames, all of one width and height.
 * @param count   1..64.
 * @param results `count` results, one per frame.
 * @param error   May be NULL.
 * @return `TROCAR_OK`, or the reason why the results are invalid.
 */
TROCAR_API trocar_status trocar_session_run(trocar_session *session, const trocar_frame *frames,
                                            uint32_t count, trocar_result *results,
                                            trocar_error *error);

/**
 * Covers the pixels of a frame that does not count as inside the body, as `trocar_options.privacy`
 * says. Call it after each run, also after one that failed, before anybody sees the frame: without
 * a verdict the frame is covered. Of a covered frame nothing finer than the cells is left; RGBA and
 * BGRA become opaque.
 * @param session The session.
 * @param frame   A frame of the run; its memory at `data` and `chroma` is written.
 * @param result  The frame's result; NULL covers.
 * @param error   May be NULL.
 * @return `TROCAR_OK` or `TROCAR_ERROR_ARGUMENT`: then nothing is covered, do not show the frame.
 */
TROCAR_API trocar_status trocar_session_cover(trocar_session *session, const trocar_frame *frame,
                                              const trocar_result *result, trocar_error *error);

/**
 * Locates instruments in a label map that is not the model's direct output, e.g. a smoothed one.
 * @param session    Its class table gives the meaning of the labels.
 * @param labels     Class ids, `height` rows of `stride` bytes (0: `width`).
 * @param width      1..8192.
 * @param height     1..8192.
 * @param stride     Bytes from one row to the next.
 * @param confidence `height * width` floats, or NULL.
 * @param frame      Only its width, height and view are read; results are in its pixels.
 * @param result     Receives the instruments.
 * @param error      May be NULL.
 * @return `TROCAR_OK` or `TROCAR_ERROR_ARGUMENT`.
 */
TROCAR_API trocar_status trocar_session_locate(trocar_session *session, const uint8_t *labels,
                                               int32_t width, int32_t height, ptrdiff_t stride,
                                               const float *confidence, const trocar_frame *frame,
                                               trocar_result *result, trocar_error *error);

/**
 * Gives the mask of one instrument of a result whose `instrument_map` was filled.
 * @param result The result of a run or of `trocar_session_locate`.
 * @param index  Place in `instruments`, from 0 to `instrument_count` - 1.
 * @param mask   Receives `label_height` rows of `label_width` bytes: 255 inside, 0 outside.
 * @param bytes  Size of the buffer at `mask`.
 * @param error  May be NULL.
 * @return `TROCAR_OK` or `TROCAR_ERROR_ARGUMENT`.
 */
TROCAR_API trocar_status trocar_instrument_mask(const trocar_result *result, uint32_t index,
                                                uint8_t *mask, size_t bytes, trocar_error *error);

/**
 * Checks the text of a manifest, as `trocar_session_open` does, without the files.
 * @param json   UTF-8, not necessarily terminated.
 * @param length Bytes.
 * @param error  May be NULL.
 * @return `TROCAR_OK`, `TROCAR_ERROR_BUNDLE` or `TROCAR_ERROR_VERSION`.
 */
TROCAR_API trocar_status trocar_check_manifest(const char *json, size_t length,
                                               trocar_error *error);

#ifdef __cplusplus
}
#endif
#endif
