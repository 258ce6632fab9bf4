/*
 * hold_boxes.c - many live boxes of the ledger without jobs, for tests of what jobbox does beside them.
 *
 * hold_boxes RUNTIME_DIR N CPUS: enters N boxes that share CPUS, says "ready", and gives them back at the end of its
 * standard input.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/units.h"
#include "machine/ledger.h"

struct box {
    struct jb_id id;
    int fd, lock;
};

static int enter(const struct jb_ledger_dir *dir, const struct jb_cpus *cpus, struct box *box,
                 struct jb_error *err)
{
    struct jb_holding h = {.name = "held", .cpus = *cpus, .memory = JB_UNSET};
    int r = jb_id_new(jb_wall_us(NULL), &h.id);
    if (r == 0)
        r = jb_ledger_lock(dir, err);
    if (r < 0)
        return r;
    r = jb_ledger_claim(dir, &h, &box->fd, &box->lock, err);
    jb_ledger_unlock(dir);
    box->id = h.id;
    return r;
}

static int hold(const char *path, size_t n, const struct jb_cpus *cpus, struct jb_error *err)
{
    struct jb_ledger_dir dir = JB_LEDGER_DIR_INIT;
    struct box *boxes = calloc(n, sizeof(*boxes));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = boxes && fd >= 0 ? jb_ledger_dir_open(fd, &dir, err) : -1;
    size_t held = 0;
    while (r == 0 && held < n)
        if ((r = enter(&dir, cpus, &boxes[held], err)) == 0)
            held++;
    if (r == 0) {
        char c;
        (void)puts("ready");
        (void)fflush(stdout);
        while (read(STDIN_FILENO, &c, 1) > 0)
            ;
    }
    for (size_t i = 0; i < held; i++) {
        if (jb_ledger_release(&dir, &boxes[i].id, err) < 0)
            r = -1;
        jb_close(&boxes[i].fd);
        jb_close(&boxes[i].lock);
    }
    jb_ledger_dir_close(&dir);
    jb_close(&fd);
    free(boxes);
    return r;
}

int main(int argc, char **argv)
{
    struct jb_error err = {0};
    struct jb_cpus cpus = {0};
    uint64_t n = 0;
    if (argc != 4 || jb_parse_u64(argv[2], 10000, &n) < 0 || jb_cpus_parse(argv[3], &cpus) < 0) {
        (void)fputs("usage: hold_boxes RUNTIME_DIR N CPUS\n", stderr);
        return 2;
    }
    if (hold(argv[1], n, &cpus, &err) == 0)
        return 0;
    (void)fprintf(stderr, "hold_boxes: %s: %s\n", argv[1], err.text);
    return 1;
}
