/**
 * @file live.h
 * @brief A live loop for C: a thread that always infers the newest frame, and a ring of its results.
 *
 * @code
 *     #include <stdio.h>
 *     #include <trocar/live.h>
 *
 *     static trocar_live *live;
 *
 *     void on_frame(const uint8_t *bgra, int width, int height, int64_t captured_ns) {
 *         trocar_frame frame = {sizeof frame, TROCAR_BGRA, width, height, bgra, 4 * (ptrdiff_t)width};
 *         trocar_live_submit(live, &frame, captured_ns, NULL, NULL);
 *     }
 *
 *     int watch(trocar_session *session) {
 *         trocar_error error = {.size = sizeof error};
 *         trocar_live_options options = {.size = sizeof options};
 *         options.width = 1920;
 *         options.height = 1080;
 *         options.format = TROCAR_BGRA;
 *         if (trocar_live_open(session, &options, &live, &error) != TROCAR_OK) {
 *             fprintf(stderr, "%s\n%s\n", error.message, error.remedy);
 *             return error.code;
 *         }
 *         trocar_instrument instruments[32];
 *         trocar_result result = {.size = sizeof result};
 *         result.instruments = instruments;
 *         result.instrument_capacity = 32;
 *         result.instrument_size = sizeof instruments[0];
 *         trocar_live_result about = {.size = sizeof about};
 *         uint64_t seen = 0;
 *         for (int shown = 0; shown < 100; ++shown) {
 *             if (trocar_live_wait(live, seen, 100) <= seen) continue;
 *             if (trocar_live_read(live, seen, TROCAR_LIVE_NEWEST, &about, &result, &error)) break;
 *             printf("%u instruments, %.1f ms old\n", result.instrument_count, about.age_ms);
 *             seen = about.number;
 *         }
 *         trocar_live_close(live);
 *         return error.code;
 *     }
 * @endcode
 *
 * @par Frames
 * `trocar_live_submit` copies the frame and returns; it never waits for the model. Frames that the
 * model did not begin before the next one came are dropped and counted.
 *
 * @par Results
 * The last results lie in a ring. Any number of threads reads it; no reader takes a lock, waits for
 * the model, or makes it wait.
 *
 * @par Memory
 * The sizes in the options are warmed before `trocar_live_open` returns. From then on frames of that
 * size and format cost no allocation by this library. A larger frame is taken too; the first one of
 * its size is slow.
 *
 * @par Failures
 * A run that fails is counted and makes the state `TROCAR_LIVE_FAULT`; the next frame is tried again.
 *
 * @par Ownership
 * The session stays the caller's. It is closed after the loop.
 */
#ifndef TROCAR_LIVE_H
#define TROCAR_LIVE_H

#include "trocar.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A thread that infers the newest frame. */
typedef struct trocar_live trocar_live;

/** What a live loop is doing, at the moment of the question. */
typedef enum trocar_live_state {
    TROCAR_LIVE_WAITING = 0, /**< There is no result yet, and no frame has waited for `max_age_ms`. */
    TROCAR_LIVE_RUNNING = 1, /**< The newest result is not older than `max_age_ms`. */
    TROCAR_LIVE_STALE = 2,   /**< It is older, or the first one takes longer: the model is too slow, or
                                  no frames come. */
    TROCAR_LIVE_FAULT = 3    /**< The last run failed. */
} trocar_live_state;

/** Which result is read. */
typedef enum trocar_live_order {
    TROCAR_LIVE_NEWEST = 0, /**< The newest one: for a display. */
    TROCAR_LIVE_NEXT = 1    /**< The oldest one of those not seen: for a log of all results. */
} trocar_live_order;

/** What the ring keeps besides instruments, scores and embeddings; these are always kept. */
typedef enum trocar_live_output {
    TROCAR_LIVE_LABELS = 1,        /**< Label maps at network size. */
    TROCAR_LIVE_CONFIDENCE = 2,    /**< Confidence at network size. */
    TROCAR_LIVE_INSTRUMENT_MAP = 4 /**< Which instrument each pixel belongs to. */
} trocar_live_output;

/** How a live loop works. Zero is the default of every member. */
typedef struct trocar_live_options {
    uint32_t size;            /**< `sizeof(trocar_live_options)`. */
    int32_t width;            /**< Of the frames that will come, in pixels; 0: not known, then the first
                                   frames are slow. */
    int32_t height;           /**< See `width`. */
    int32_t format;           /**< A `trocar_format`: of these frames. */
    int32_t spin;             /**< 1: the thread spins while it waits for a frame. It begins some
                                   microseconds earlier and takes a full core. */
    int32_t outputs;          /**< Sum of `trocar_live_output`. */
    uint32_t max_instruments; /**< Of a frame that are kept; 0: 64. */
    uint32_t ring;            /**< Results in the ring, 3..256; 0: 8. */
    double max_age_ms;        /**< Age of the newest result from which on it is stale; 0: 200. */
} trocar_live_options;

/** About one result. Times are those of `trocar_live_now`. */
typedef struct trocar_live_result {
    uint32_t size;        /**< `sizeof(trocar_live_result)`. */
    int32_t width;        /**< Of the frame, in pixels. */
    int32_t height;       /**< Of the frame, in pixels. */
    int32_t reserved;     /**< 0. */
    uint64_t number;      /**< Of the result, from 1 without gaps; 0: there is none. */
    uint64_t frame;       /**< Of the frame, as `trocar_live_submit` gave it. */
    int64_t captured_ns;  /**< When the frame was captured, as the caller said. */
    int64_t submitted_ns; /**< When it was submitted. */
    int64_t started_ns;   /**< When the run began. */
    int64_t finished_ns;  /**< When the run had ended and its result was in the ring. */
    double age_ms;        /**< Time from capture to this call. */
} trocar_live_result;

/** State and counts of a live loop. Counts are since it was opened. */
typedef struct trocar_live_status {
    uint32_t size;         /**< `sizeof(trocar_live_status)`. */
    int32_t state;         /**< A `trocar_live_state`. */
    uint64_t submitted;    /**< Frames submitted: the sum of the next three, and of those that wait or
                                run now. */
    uint64_t processed;    /**< Frames with a result. */
    uint64_t dropped;      /**< Frames that a newer one replaced before the model took them. */
    uint64_t failed;       /**< Frames whose run failed. */
    uint64_t unkept;       /**< Results that found no place, because readers held the full ring. They
                                are counted in `processed`. */
    double result_age_ms;  /**< Age of the newest result since its capture; -1: there is none. */
    double frame_age_ms;   /**< Time since the last submission; -1: there was none. */
    double run_ms;         /**< Time that the current run has taken so far; 0: none runs. */
    double max_age_ms;     /**< The options'. */
    int32_t failed_in_row; /**< Runs that failed since the last one that did not. */
    int32_t error_code;    /**< Status of the last run that failed; 0: none has. */
    char message[512];     /**< Why it failed, UTF-8, always terminated. */
    char remedy[256];      /**< What to do next; may be empty. */
} trocar_live_status;

/**
 * The clock of live loops. It goes on while the machine is suspended, where the system has such a one
 * (CLOCK_BOOTTIME of Linux).
 * @return Nanoseconds.
 */
TROCAR_API int64_t trocar_live_now(void);

/**
 * Starts a live loop, and warms the frames of its options on the thread that will run them.
 * @param session Stays open until the loop is closed. Other calls with it make the loop wait.
 * @param options NULL for the defaults.
 * @param live    Receives the loop; NULL after a failure.
 * @param error   May be NULL.
 * @return `TROCAR_OK`, or the reason why there is no loop, e.g. frames that the model does not take.
 */
TROCAR_API trocar_status trocar_live_open(trocar_session *session, const trocar_live_options *options,
                                          trocar_live **live, trocar_error *error);

/**
 * Ends the run that goes on, stops the thread and frees the loop. No other call may use it meanwhile.
 * @param live The loop; NULL is allowed.
 */
TROCAR_API void trocar_live_close(trocar_live *live);

/**
 * Hands in a frame: it is copied. It replaces a frame that still waits. Threads that submit at the
 * same time wait for each other.
 * @param live        The loop.
 * @param frame       The frame.
 * @param captured_ns When it was captured, by `trocar_live_now`; 0: now.
 * @param number      Receives the number of the frame, from 1; may be NULL.
 * @param error       May be NULL.
 * @return `TROCAR_OK`, or `TROCAR_ERROR_ARGUMENT` for a frame that cannot be read.
 */
TROCAR_API trocar_status trocar_live_submit(trocar_live *live, const trocar_frame *frame,
                                            int64_t captured_ns, uint64_t *number,
                                            trocar_error *error);

/**
 * Reads a result of the ring, without a lock.
 * @param live   The loop.
 * @param after  Only results with a larger number are read; 0: all.
 * @param order  A `trocar_live_order`.
 * @param about  Receives what is known of the result; its `number` is 0 if there is none.
 * @param result Filled as by `trocar_session_run`; may be NULL.
 * @param error  May be NULL.
 * @return `TROCAR_OK`, also without a result, or `TROCAR_ERROR_ARGUMENT` for buffers that are too small
 *         or that the ring does not keep.
 */
TROCAR_API trocar_status trocar_live_read(const trocar_live *live, uint64_t after, int32_t order,
                                          trocar_live_result *about, trocar_result *result,
                                          trocar_error *error);

/**
 * Waits for a result.
 * @param live       The loop.
 * @param after      Number of a result.
 * @param timeout_ms Longest time to wait in milliseconds; below 0: 0.
 * @return Number of the newest result. It is not above `after` if the time is over; 0: none yet.
 */
TROCAR_API uint64_t trocar_live_wait(const trocar_live *live, uint64_t after, double timeout_ms);

/**
 * Gives the state of a live loop at this moment.
 * @param live   The loop.
 * @param status Receives the members that its `size` covers.
 * @param error  May be NULL.
 * @return `TROCAR_OK` or `TROCAR_ERROR_ARGUMENT`.
 */
TROCAR_API trocar_status trocar_live_get_status(const trocar_live *live, trocar_live_status *status,
                                                trocar_error *error);

#ifdef __cplusplus
}
#endif
#endif
