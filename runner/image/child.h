/*
 * child.h - programs and workers that the image verbs start, watched until they end.
 *
 * Owns: the processes. Runs in: the client; each worker in a process of its own that dies with the client.
 * Privilege: the user's.
 */
#ifndef JB_IMAGE_CHILD_H
#define JB_IMAGE_CHILD_H

#include <sys/types.h>

#include "base/str.h"
#include "image/unpack.h"

/* How the user is told, and how he can end it. */
struct jb_image_ui {
    int signal_fd; /* signalfd of those that mean "stop"; -1: none */
    /* Called some times a second while something goes on; `total` 0: not known. May be NULL. */
    void (*progress)(void *ctx, const char *what, uint64_t done, uint64_t total);
    /* One line about what has been done or is about to. May be NULL. */
    void (*say)(void *ctx, const char *line);
    void *ctx;
};

/* A program found in $PATH. Its standard error comes back as words of the error when it fails. */
struct jb_tool {
    const char *const *argv; /* ended by NULL */
    int stdin_fd;            /* -1: none */
    struct jb_buf *out;      /* gets its standard output, at most `out_max` bytes; NULL: not wanted */
    size_t out_max;
    uint64_t time_ns;            /* then it is killed; 0: never */
    const char *what;            /* for progress */
    uint64_t (*done)(void *ctx); /* how far it is; may be NULL */
    void *done_ctx;
    uint64_t total;
    uint64_t done_max; /* when it has done more it is killed; 0: no limit */
    int cwd_fd;        /* where it runs; -1: here */
};

/*
 * Runs it to its end. -ENOENT when there is no such program, -ECANCELED when the user stops it, -ETIMEDOUT, -EIO when
 * it fails; the error has the last line that it wrote.
 */
int jb_tool_run(const struct jb_tool *program, const struct jb_image_ui *ui, struct jb_error *err);

/* Memory that a worker and its starter both see, zeroed; NULL when there is none. Release with jb_shared_free. */
void *jb_shared_new(size_t len);
void jb_shared_free(void *memory, size_t len);

/* Work of our own in a process of its own, so that it can be stopped, limited and survived. */
struct jb_worker {
    int (*run)(void *ctx, struct jb_error *err); /* what it finds goes into shared memory */
    void *ctx;
    /* The user stops it: it is told so, and ends by itself. NULL: it is killed. */
    void (*stop)(void *ctx);
    uint64_t time_ns; /* then it is killed; 0: never */
    bool confined;    /* it reads what strangers made: little memory, no new privileges */
    const char *what; /* for progress */
    uint64_t (*done)(void *ctx);
    void *done_ctx;
    uint64_t total;
};
int jb_worker_run(const struct jb_worker *worker, const struct jb_image_ui *ui, struct jb_error *err);

/* jb_unpack_run in a worker. *ret: what it found. `what`, `total`: for progress. */
int jb_unpack_child(const struct jb_unpack *unpack, const char *what, uint64_t total,
                    const struct jb_image_ui *ui, struct jb_unpack_state *ret, struct jb_error *err);

/* Tries until it is had (-EAGAIN: not yet), or until the user stops it. */
int jb_image_wait(int (*try)(void *ctx, struct jb_error *err), void *ctx, const struct jb_image_ui *ui,
                  struct jb_error *err);

void jb_image_say(const struct jb_image_ui *ui, const char *fmt, ...) JB_PRINTF(2, 3);

#endif
