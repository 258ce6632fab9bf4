/*
 * iostat.c - what a v2 group read and wrote, by io.stat: each byte once, though the kernel counts it at every device of a
 * stack (LVM, encryption, RAID, multipath) that it goes through.
 *
 * Owns: nothing beyond one call. Runs in: the supervisor, jobbox top, whoever recovers a box. Privilege: none; /sys/dev/block
 * and text.
 *
 * Neither end of a stack will do by itself. A disk lacks what a driver hands to it in a thread of its own (encrypted
 * writes, RAID 5) or as a request that is ready (multipath); the volume on top lacks what goes to other parts of the disk.
 * So for each stack the greater of the two sums is taken.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cgroup/internal.h"

#define LOOP_MAJOR \
    7 /* what goes to one goes to its file, and is counted at the disk of that, if it gets there */
#define STACK_MAX 4096

struct device {
    uint32_t major, minor;
    uint64_t figures[JB_CG_IO_FIGURES];
    size_t stack;      /* index of another device of the same stack; its own: the one that stands for it */
    bool above, below; /* there are devices above, below it */
};

struct devices {
    struct device *items;
    size_t len, cap;
};

static int find_or_add(struct devices *list, uint32_t major, uint32_t minor, size_t *ret)
{
    for (size_t i = 0; i < list->len; i++)
        if (list->items[i].major == major && list->items[i].minor == minor) {
            *ret = i;
            return 0;
        }
    if (list->len == STACK_MAX)
        return -E2BIG;
    if (list->len == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 16;
        struct device *grown = realloc(list->items, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        list->items = grown;
        list->cap = cap;
    }
    *ret = list->len;
    list->items[list->len] = (struct device){.major = major, .minor = minor, .stack = list->len};
    list->len++;
    return 0;
}

static bool parse_device(const char *word, uint32_t *major, uint32_t *minor)
{
    unsigned a;
    unsigned b;
    char rest;
    if (sscanf(word, "%u:%u%c", &a, &b, &rest) != 2) /* NOLINT(cert-err34-c): a kernel file */
        return false;
    *major = a;
    *minor = b;
    return true;
}

/*
 * "8:0 rbytes=1 wbytes=2 ...". Some kernels leave the numbers of devices without figures before it, on the same line: the
 * last one counts. A line without any is a path of a multipath disk, which has its own line.
 */
static int parse_line(char *line, struct devices *list)
{
    static const char *const words[JB_CG_IO_FIGURES] = {"rbytes=", "wbytes=", "rios=", "wios="};
    bool known = false;
    uint32_t major = 0;
    uint32_t minor = 0;
    char *save = NULL;
    for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        if (parse_device(word, &major, &minor)) {
            known = true;
            continue;
        }
        for (size_t f = 0; known && major != LOOP_MAJOR && f < JB_CG_IO_FIGURES; f++) {
            uint64_t value;
            size_t at;
            if (!jb_starts_with(word, words[f]) ||
                jb_parse_u64(word + strlen(words[f]), UINT64_MAX, &value) < 0)
                continue;
            int r = find_or_add(list, major, minor, &at);
            if (r < 0)
                return r;
            list->items[at].figures[f] += value;
        }
    }
    return 0;
}

/* Whom the device stands for; the way there becomes shorter. */
static size_t stack_of(struct devices *list, size_t at)
{
    while (list->items[at].stack != at) {
        list->items[at].stack = list->items[list->items[at].stack].stack;
        at = list->items[at].stack;
    }
    return at;
}

/* Notes that `slave`, or the disk that it is a partition of, lies below `upper`. */
static int put_below(struct devices *list, size_t upper, const struct jb_kdir *block, const char *slave)
{
    char path[400];
    char line[32];
    uint32_t major;
    uint32_t minor;
    size_t lower;
    (void)snprintf(path, sizeof(path), "%s/partition", slave);
    int r = jb_kread_line(block, path, line, sizeof(line));
    if (r < 0 && r != -ENOENT)
        return r;
    (void)snprintf(path, sizeof(path), "%s/%sdev", slave, r == 0 ? "../" : "");
    r = jb_kread_line(block, path, line, sizeof(line));
    if (r == -ENOENT || r == -ENODEV) /* taken away meanwhile */
        return 0;
    if (r < 0 || !parse_device(line, &major, &minor))
        return r < 0 ? r : -EINVAL;
    r = find_or_add(list, major, minor, &lower);
    if (r < 0)
        return r;
    list->items[upper].below = true;
    list->items[lower].above = true;
    list->items[stack_of(list, upper)].stack = stack_of(list, lower);
    return 0;
}

/* Notes what lies directly below one device. */
static int look_below(struct devices *list, size_t at, const struct jb_kdir *block)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "%u:%u/slaves", list->items[at].major, list->items[at].minor);
    int r = jb_cg_hit(block, "open", path);
    int fd = r < 0 ? r : openat(block->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return r < 0 ? r : errno == ENOENT ? 0 : -errno;
    jb_autodir DIR *dir = fdopendir(fd);
    if (!dir) {
        r = -errno;
        (void)close(fd);
        return r;
    }
    for (struct dirent *e; r == 0 && (e = readdir(dir));) {
        char slave[360];
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(slave, sizeof(slave), "%s/%s", path, e->d_name);
        r = put_below(list, at, block, slave);
    }
    return r;
}

/* For each stack the greater of what is counted at its top and at its bottom. */
static int add_up(struct devices *list, uint64_t ret[JB_CG_IO_FIGURES])
{
    struct sums {
        uint64_t top[JB_CG_IO_FIGURES], bottom[JB_CG_IO_FIGURES];
    };
    jb_autofree struct sums *sums = calloc(list->len + 1, sizeof(*sums));
    if (!sums)
        return -ENOMEM;
    for (size_t i = 0; i < list->len; i++) {
        struct sums *s = &sums[stack_of(list, i)];
        const struct device *d = &list->items[i];
        for (size_t f = 0; f < JB_CG_IO_FIGURES; f++) {
            s->top[f] += d->above ? 0 : d->figures[f];
            s->bottom[f] += d->below ? 0 : d->figures[f];
        }
    }
    for (size_t f = 0; f < JB_CG_IO_FIGURES; f++) {
        ret[f] = 0;
        for (size_t i = 0; i < list->len; i++)
            ret[f] += sums[i].top[f] > sums[i].bottom[f] ? sums[i].top[f] : sums[i].bottom[f];
    }
    return 0;
}

int jb_cg_io_count(const struct jb_kdir *block, char *text, uint64_t ret[JB_CG_IO_FIGURES])
{
    struct devices list = {0};
    char *save = NULL;
    int r = 0;
    for (char *line = strtok_r(text, "\n", &save); r == 0 && line; line = strtok_r(NULL, "\n", &save))
        r = parse_line(line, &list);
    for (size_t i = 0; r == 0 && block->fd >= 0 && i < list.len; i++) /* what lies below is added behind */
        r = look_below(&list, i, block);
    if (r == 0)
        r = add_up(&list, ret);
    free(list.items);
    return r;
}
