/*
 * fd.h - files through descriptors: whole reads and writes, walks that cannot leave their root.
 *
 * Owns: nothing; every returned descriptor is CLOEXEC and the caller's. Runs in: every process.
 * Privilege: none of its own.
 */
#ifndef JB_BASE_FD_H
#define JB_BASE_FD_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * How far a walk may go from its directory. All refuse magic links (/proc/self/fd/N and the like).
 *   BENEATH  symlinks are followed while they stay below dirfd; absolute ones and ".." above it fail (EXDEV)
 *   IN_ROOT  dirfd is treated as "/": absolute symlinks and ".." stay inside it
 *   STRICT   no symlink at all, in any component (ELOOP)
 */
enum jb_walk {
    JB_WALK_BENEATH,
    JB_WALK_IN_ROOT,
    JB_WALK_STRICT,
};

/*
 * openat2(2); where the kernel (< 5.6) or a filter lacks it, a component-by-component walk that follows no
 * symlink in any mode, which is stricter. `flags` as open(2), O_CLOEXEC is added. Returns fd or -errno.
 */
int jb_open_at(int dirfd, const char *path, int flags, mode_t mode, enum jb_walk walk);

/* The fallback walk, exposed so that tests can hold both against each other. */
int jb_open_at_walk(int dirfd, const char *path, int flags, mode_t mode);

/*
 * mkdir -p below dirfd; components that exist must be directories under the walk's rule. New ones get `mode`
 * and, when uid/gid are not -1, that owner. `ret_fd` (may be NULL): O_PATH descriptor of the last one.
 */
int jb_mkdir_p(int dirfd, const char *path, mode_t mode, uid_t uid, gid_t gid, enum jb_walk walk,
               int *ret_fd);

/* The whole file, NUL-terminated, at most `max` bytes (-EFBIG). `ret_len` may be NULL. Caller frees. */
int jb_read_fd(int fd, size_t max, char **ret, size_t *ret_len);
int jb_read_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);

/* Writes all bytes, through EINTR and short writes. */
int jb_write_all(int fd, const void *data, size_t len);

/* One open, one write, one close, as kernel files want it; no O_CREAT. */
int jb_write_at(int dirfd, const char *path, const char *text);

/* Writes a temporary beside `name` and renames it: readers see the old or the new whole. No fsync. */
int jb_replace_at(int dirfd, const char *name, const void *data, size_t len, mode_t mode);

/*
 * Removes everything below `name` in dirfd and `name` itself. Never follows a symlink, never crosses into
 * another mount (-EXDEV). Absent is success.
 */
int jb_remove_tree(int dirfd, const char *name);

/* Opens a directory that must be a real directory, owned by `uid`, writable by nobody else. */
int jb_open_owned_dir(int dirfd, const char *path, uid_t uid, int *ret_fd, struct jb_error *err);

/* An open file description lock on the whole file. -EAGAIN when somebody else holds it. */
int jb_lock_try(int fd);
int jb_lock_wait(int fd);
void jb_unlock(int fd);
/* 1 when another description holds a lock that conflicts with ours, 0 when free, -errno. */
int jb_lock_held(int fd);

/*
 * Closes every descriptor from `first` to `last`. close_range(2); where a filter or a kernel (< 5.9) lacks it, those that
 * /proc/self/fd lists, one by one: -ENOSYS when there is no /proc either.
 */
int jb_close_between(unsigned first, unsigned last);
/* The fallback, exposed so that tests can hold both against each other. */
int jb_close_listed(unsigned first, unsigned last);

/* Raises the soft limit of open files to `wanted`, or as near to it as the hard one lets; never lowers it. */
int jb_files_raise(uint64_t wanted);

/* An anonymous sealed file with these bytes, offset 0, read-only from now on. */
int jb_sealed_memfd(const char *name, const void *data, size_t len, bool executable, int *ret_fd);

#endif
