/*
 * kfile.h - kernel files (cgroupfs, procfs, sysfs) through a held directory, real or a test's copy.
 *
 * Owns: one directory descriptor per context. Runs in: every process. Privilege: that of the files.
 *
 * All reads and writes of kernel files go through a struct jb_kdir, so that a test can point it at a
 * directory of its own and can make the Nth access fail.
 */
#ifndef JB_BASE_KFILE_H
#define JB_BASE_KFILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Consulted before every access when set: a non-zero return is the errno (negative) to fail with. */
struct jb_kfault {
    int (*hit)(void *ctx, const char *verb, const char *path);
    void *ctx;
};

struct jb_kdir {
    int fd;                        /* O_PATH or O_RDONLY directory, owned; -1 when closed */
    const struct jb_kfault *fault; /* NULL outside tests; not owned */
};

int jb_kdir_open(const char *path, struct jb_kdir *ret); /* -errno */
void jb_kdir_close(struct jb_kdir *dir);

/* First line without its newline. -ENAMETOOLONG when it does not fit. */
int jb_kread_line(const struct jb_kdir *dir, const char *path, char *buf, size_t len);
/* The whole file, at most 1 MiB. Caller frees. */
int jb_kread_all(const struct jb_kdir *dir, const char *path, char **ret);
/* A single number; "max" reads as JB_UNSET. -EINVAL when the file says something else. */
int jb_kread_u64(const struct jb_kdir *dir, const char *path, uint64_t *ret);
/* The number behind `key` in a "key value" file such as cpu.stat. -ENODATA when the key is absent. */
int jb_kread_keyed(const struct jb_kdir *dir, const char *path, const char *key, uint64_t *ret);
/* The same on text that was read already. */
int jb_keyed_u64(const char *text, const char *key, uint64_t *ret);
/* One write. */
int jb_kwrite(const struct jb_kdir *dir, const char *path, const char *text);

#endif
