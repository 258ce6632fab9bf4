/*
 * disks.c - from mounts to disks, by the mount table and sysfs.
 *
 * Owns: nothing beyond the results. Runs in: the client. Privilege: none.
 */
#include "machine/disks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define OVERLAYS_MAX 8 /* one on the other */

void jb_disks_free(struct jb_disks *disks)
{
    free(disks->items);
    jb_strv_free(&disks->unknown);
    *disks = (struct jb_disks){0};
}

static int add(struct jb_disks *disks, uint32_t major, uint32_t minor)
{
    for (size_t i = 0; i < disks->len; i++)
        if (disks->items[i].major == major && disks->items[i].minor == minor)
            return 0;
    struct jb_disk *grown = realloc(disks->items, (disks->len + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    disks->items = grown;
    disks->items[disks->len++] = (struct jb_disk){major, minor};
    return 0;
}

static bool read_number(const struct jb_kdir *sys, const char *path, uint32_t *major, uint32_t *minor)
{
    char line[32];
    unsigned a;
    unsigned b;
    if (sys->fd < 0 || jb_kread_line(sys, path, line, sizeof(line)) < 0 ||
        sscanf(line, "%u:%u", &a, &b) != 2) /* NOLINT(cert-err34-c): a kernel file */
        return false;
    *major = a;
    *minor = b;
    return true;
}

/* Limits are taken by whole disks only. `dir` is the device in sysfs; one that cannot be looked at stays as it is. */
static int add_whole(struct jb_disks *disks, const struct jb_kdir *sys, const char *dir, uint32_t major,
                     uint32_t minor)
{
    char path[512];
    char line[32];
    (void)snprintf(path, sizeof(path), "%s/partition", dir);
    if (sys->fd >= 0 && jb_kread_line(sys, path, line, sizeof(line)) == 0) {
        (void)snprintf(path, sizeof(path), "%s/../dev", dir);
        (void)read_number(sys, path, &major, &minor);
    }
    return add(disks, major, minor);
}

/* NULL with errno when it cannot be listed. */
static DIR *list(const struct jb_kdir *sys, const char *path)
{
    int r = sys->fault && sys->fault->hit ? sys->fault->hit(sys->fault->ctx, "open", path) : 0;
    int fd = r < 0 || sys->fd < 0 ? -1 : openat(sys->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        errno = r < 0 ? -r : sys->fd < 0 ? ENOENT : errno;
        return NULL;
    }
    DIR *dir = fdopendir(fd);
    if (!dir)
        (void)close(fd);
    return dir;
}

/* Of one file system: 1 all its devices were added, 0 not, or -ENOMEM. */
static int add_btrfs_devices(struct jb_disks *disks, const struct jb_kdir *sys, const char *path)
{
    jb_autodir DIR *dir = list(sys, path);
    size_t n = 0;
    for (struct dirent *e; dir && (e = readdir(dir)); n++) {
        char device[400];
        char file[416];
        uint32_t major;
        uint32_t minor;
        if (e->d_name[0] == '.') {
            n--;
            continue;
        }
        (void)snprintf(device, sizeof(device), "%s/%s", path, e->d_name);
        (void)snprintf(file, sizeof(file), "%s/dev", device);
        if (!read_number(sys, file, &major, &minor))
            return 0;
        int r = add_whole(disks, sys, device, major, minor);
        if (r < 0)
            return r;
    }
    return n > 0;
}

/*
 * The numbers that btrfs shows in the mount table are of no device, and what it calls its source is one of several. sysfs
 * has all devices of each that is mounted. 1: they were added, 0: not all are known, or -ENOMEM.
 */
static int add_btrfs(struct jb_disks *disks, const struct jb_kdir *sys)
{
    jb_autodir DIR *dir = list(sys, "fs/btrfs");
    bool all = true;
    size_t n = 0;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char path[320];
        (void)snprintf(path, sizeof(path), "fs/btrfs/%s/devices", e->d_name);
        if (e->d_name[0] == '.' || faccessat(sys->fd, path, F_OK, 0) < 0) /* "features" */
            continue;
        int r = add_btrfs_devices(disks, sys, path);
        if (r < 0)
            return r;
        all = all && r > 0; /* those of the others are limited all the same */
        n++;
    }
    return all && n > 0;
}

static bool is_type(const char *type, const char *const *types, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (jb_streq(type, types[i]))
            return true;
    return false;
}

/* What `path` lies on; NULL: nothing. */
static const struct jb_mount *mount_of(const struct jb_mounts *mounts, const char *path)
{
    const struct jb_mount *found = NULL;
    for (size_t i = 0; i < mounts->len; i++) {
        const struct jb_mount *m = &mounts->items[i];
        if (jb_path_beneath(path, m->target) && (!found || strlen(m->target) >= strlen(found->target)))
            found = m;
    }
    return found;
}

static bool known(const struct jb_mounts *mounts, const struct jb_mount *m, bool btrfs, unsigned depth);

/* Whether all layers are on something known. `options` is cut in place. */
static bool layers_known(const struct jb_mounts *mounts, char *options, bool btrfs, unsigned depth)
{
    static const char *const keys[] = {"lowerdir=", "lowerdir+=", "datadir+=", "upperdir="};
    bool any = false;
    char *save = NULL;
    for (char *option = strtok_r(options, ",", &save); option; option = strtok_r(NULL, ",", &save)) {
        const char *value = NULL;
        for (size_t i = 0; i < JB_ARRAY_LEN(keys); i++)
            if (jb_starts_with(option, keys[i]))
                value = option + strlen(keys[i]);
        char *inner = NULL;
        for (char *path = value ? strtok_r(option + (value - option), ":", &inner) : NULL; path;
             path = strtok_r(NULL, ":", &inner)) {
            /* what was named from a folder or by a descriptor lies beside the others: who mounts so has them all */
            if (*path != '/' || jb_path_beneath(path, "/proc"))
                continue;
            const struct jb_mount *below = mount_of(mounts, path);
            if (!below || !known(mounts, below, btrfs, depth + 1))
                return false;
            any = true;
        }
    }
    return any;
}

/* False: it lies on disks that are not in the list. */
static bool known(const struct jb_mounts *mounts, const struct jb_mount *m, bool btrfs, unsigned depth)
{
    static const char *const untold[] = {"zfs", "bcachefs", "aufs"};
    if (m->major != 0)
        return true;
    if (jb_streq(m->fstype, "btrfs"))
        return btrfs;
    if (!jb_streq(m->fstype, "overlay"))
        return !is_type(m->fstype, untold, JB_ARRAY_LEN(untold));
    jb_autofree char *options = m->options && depth < OVERLAYS_MAX ? strdup(m->options) : NULL;
    return options && layers_known(mounts, options, btrfs, depth);
}

/* Later mounts of the same file system, and overlays beside overlays, tell nothing new. */
static bool told(const struct jb_mounts *mounts, const bool *untold, size_t at)
{
    const struct jb_mount *m = &mounts->items[at];
    for (size_t i = 0; i < at; i++)
        if (untold[i] && mounts->items[i].major == m->major && mounts->items[i].minor == m->minor)
            return true;
    return false;
}

static int find(const struct jb_kdir *sys, const struct jb_mounts *mounts, struct jb_disks *disks)
{
    jb_autofree bool *untold = calloc(mounts->len + 1, sizeof(*untold));
    bool seen = false;
    int btrfs = 0;
    int r = untold ? 0 : -ENOMEM;
    for (size_t i = 0; r >= 0 && i < mounts->len; i++) {
        const struct jb_mount *m = &mounts->items[i];
        char dir[48];
        (void)snprintf(dir, sizeof(dir), "dev/block/%u:%u", m->major, m->minor);
        if (m->major != 0)
            r = add_whole(disks, sys, dir, m->major, m->minor);
        else if (!seen && jb_streq(m->fstype, "btrfs")) {
            seen = true;
            r = btrfs = add_btrfs(disks, sys);
        }
    }
    for (size_t i = 0; r >= 0 && i < mounts->len; i++) {
        const struct jb_mount *m = &mounts->items[i];
        untold[i] = !known(mounts, m, btrfs == 1, 0);
        if (untold[i] && !told(mounts, untold, i))
            r = jb_strv_printf(&disks->unknown, "%s on %s", m->fstype, m->target);
    }
    return r < 0 ? r : 0;
}

static int by_number(const void *a, const void *b)
{
    const struct jb_disk *x = a;
    const struct jb_disk *y = b;
    if (x->major != y->major)
        return x->major < y->major ? -1 : 1;
    return x->minor < y->minor ? -1 : x->minor > y->minor;
}

int jb_disks_find(const struct jb_kdir *sys, const struct jb_mounts *mounts, struct jb_disks *ret)
{
    struct jb_disks disks = {0};
    int r = find(sys, mounts, &disks);
    if (r < 0) {
        jb_disks_free(&disks);
        return r;
    }
    if (disks.len) /* so that one host gives one plan */
        qsort(disks.items, disks.len, sizeof(*disks.items), by_number);
    *ret = disks;
    return 0;
}
