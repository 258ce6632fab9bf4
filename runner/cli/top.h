/*
 * top.h - what the parts of jobbox top share: the live boxes with what they use now, and the table of them.
 *
 * Owns: a struct jb_top holds the boxes and their open groups. Runs in: the client. Privilege: the user's; it reads the ledger
 * and the groups where it may, and asks each supervisor.
 */
#ifndef JB_CLI_TOP_H
#define JB_CLI_TOP_H

#include <jansson.h>

#include "cgroup/cgroup.h"
#include "cli/queue.h"

/* What the kernel says at one moment; JB_UNSET: not known. */
struct jb_top_reading {
    uint64_t at_ns; /* monotonic; 0: there is no reading */
    uint64_t cpu_us, memory, pids, read_bytes, written_bytes, memory_some_us, memory_full_us;
};

struct jb_top_box {
    struct jb_holding holding;
    int boxes_fd; /* the folder that its own is in; borrowed */
    char user[64];
    struct jb_cgroup *cgroup; /* NULL: none that we could open */
    unsigned quiet;           /* for so many readings its supervisor is not asked: it did not answer */
    struct jb_top_reading before, now;
    /* what the supervisor says; "" and JB_UNSET: it does not */
    char phase[16];
    uint64_t wall_ns, wall_limit_ns, memory_limit;
    /* from both readings; NaN: not known */
    double cpu;                      /* 1 is one CPU that is busy all the time */
    double memory_some, memory_full; /* share of the time */
    double read_rate, written_rate;  /* bytes a second */
};

struct jb_top {
    struct jb_cli_job job;
    struct jb_top_box *boxes; /* by id */
    size_t n;
    struct jb_client queue; /* the system's, of an ordinary user; fd -1: there is none */
    int queue_boxes_fd;
};
#define JB_TOP_INIT ((struct jb_top){.job = JB_CLI_JOB_INIT, .queue = JB_CLIENT_INIT, .queue_boxes_fd = -1})
void jb_top_free(struct jb_top *top);
#define jb_autotop __attribute__((cleanup(jb_top_free)))

/* Reads all live boxes. Of those that were there before rates are known from then on. */
int jb_top_read(struct jb_top *top, struct jb_error *err);

/* Takes over what is known of a box, or begins with it; then reads it. */
void jb_top_set_box(struct jb_top *top, struct jb_top_box *box, const struct jb_holding *holding,
                    int boxes_fd);
/* top_queue.c: those that the system's queue runs for this user, behind the first `n`. Returns how many there are. */
size_t jb_top_read_queue(struct jb_top *top, struct jb_top_box **boxes, size_t n);

/* --- the table --- */

enum jb_top_sort {
    JB_TOP_CPU,
    JB_TOP_MEMORY,
    JB_TOP_PRESSURE,
    JB_TOP_PIDS,
    JB_TOP_IO,
    JB_TOP_TIME,
    JB_TOP_NAME,
    JB_TOP_USER,
    JB_TOP_SORT_MAX,
};
struct jb_top_key {
    const char *name; /* of --sort */
    char key;         /* of the keyboard */
};
extern const struct jb_top_key jb_top_keys[JB_TOP_SORT_MAX];

struct jb_top_style {
    size_t width; /* columns of the terminal; 0: as wide as it gets, ids in full */
    enum jb_top_sort sort;
    bool reverse;
    bool marks;        /* the heading that is sorted by is bright, and headings are reversed */
    size_t skip, rows; /* of the boxes, those from here on, at most so many; 0: all */
};

/* The table into `into`, each line with `end_line`. The boxes are put into its order. */
int jb_top_table(struct jb_top *top, const struct jb_top_style *style, const char *end_line,
                 struct jb_buf *into);

/* "3 boxes, 2.31 CPUs busy, memory 4.20 GiB": a line without its end. */
int jb_top_summary(const struct jb_top *top, struct jb_buf *into);

/* All figures of all boxes, by `sort`; unknown ones are null. NULL: out of memory. */
json_t *jb_top_json(struct jb_top *top, enum jb_top_sort sort, bool reverse);

/* --- the terminal (top_live.c) --- */

struct jb_top_live {
    uint64_t interval_ns;
    enum jb_top_sort sort;
    bool reverse;
};
/* Until a key, a signal or the terminal ends it; the terminal is then as it was. 0, or the exit code (an error is printed). */
int jb_top_live(struct jb_top *top, const struct jb_top_live *options);

#endif
