/*
 * archive.h - tar streams, by libarchive.
 *
 * Owns: handles of libarchive. Runs in: the child that unpacks, or writes. Privilege: none of its own.
 *
 * libarchive is loaded at the first use and not linked: a run that needs no unpacking does not pay for it and for the
 * libraries behind it. Its functions that are used are declared here, so that nothing of it is needed to build; all
 * have been in it since version 3.2.
 */
#ifndef JB_IMAGE_ARCHIVE_H
#define JB_IMAGE_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "base/error.h"

struct archive;
struct archive_entry;

#define JB_ARCHIVE_EOF    1
#define JB_ARCHIVE_OK     0
#define JB_ARCHIVE_WARN   (-20)
#define JB_ARCHIVE_FAILED (-25)

typedef ssize_t jb_archive_read_fn(struct archive *a, void *ctx, const void **ret_data);
typedef ssize_t jb_archive_write_fn(struct archive *a, void *ctx, const void *data, size_t len);

/* The functions by the names that libarchive gives them, without "archive_". */
struct jb_archive_calls {
    void *library;
    const char *(*error_string)(struct archive *a);
    /* reading */
    struct archive *(*read_new)(void);
    int (*read_support_filter_gzip)(struct archive *a);
    int (*read_support_filter_zstd)(struct archive *a);
    int (*read_support_filter_bzip2)(struct archive *a);
    int (*read_support_filter_xz)(struct archive *a);
    int (*read_support_format_tar)(struct archive *a);
    int (*read_support_format_raw)(struct archive *a);
    int (*read_support_format_empty)(struct archive *a);
    int (*read_open)(struct archive *a, void *ctx, void *open, jb_archive_read_fn *read, void *close);
    int (*read_next_header)(struct archive *a, struct archive_entry **ret);
    ssize_t (*read_data)(struct archive *a, void *buf, size_t len);
    int (*read_data_block)(struct archive *a, const void **ret_data, size_t *ret_len, int64_t *ret_offset);
    int (*read_free)(struct archive *a);
    const char *(*entry_pathname)(struct archive_entry *e);
    const char *(*entry_hardlink)(struct archive_entry *e);
    const char *(*entry_symlink)(struct archive_entry *e);
    mode_t (*entry_filetype)(struct archive_entry *e);
    mode_t (*entry_perm)(struct archive_entry *e);
    int64_t (*entry_uid)(struct archive_entry *e);
    int64_t (*entry_gid)(struct archive_entry *e);
    int64_t (*entry_size)(struct archive_entry *e);
    int (*entry_size_is_set)(struct archive_entry *e);
    time_t (*entry_mtime)(struct archive_entry *e);
    long (*entry_mtime_nsec)(struct archive_entry *e);
    int (*entry_xattr_reset)(struct archive_entry *e);
    int (*entry_xattr_next)(struct archive_entry *e, const char **ret_name, const void **ret_value,
                            size_t *ret_len);
    /* writing */
    struct archive *(*write_new)(void);
    int (*write_set_format_pax)(struct archive *a);
    int (*write_set_bytes_in_last_block)(struct archive *a, int bytes);
    int (*write_open)(struct archive *a, void *ctx, void *open, jb_archive_write_fn *write, void *close);
    int (*write_header)(struct archive *a, struct archive_entry *e);
    ssize_t (*write_data)(struct archive *a, const void *data, size_t len);
    int (*write_close)(struct archive *a);
    int (*write_free)(struct archive *a);
    struct archive_entry *(*entry_new)(void);
    void (*entry_free)(struct archive_entry *e);
    void (*entry_set_pathname)(struct archive_entry *e, const char *path);
    void (*entry_set_hardlink)(struct archive_entry *e, const char *path);
    void (*entry_set_symlink)(struct archive_entry *e, const char *path);
    void (*entry_set_mode)(struct archive_entry *e, mode_t mode);
    void (*entry_set_uid)(struct archive_entry *e, int64_t uid);
    void (*entry_set_gid)(struct archive_entry *e, int64_t gid);
    void (*entry_set_size)(struct archive_entry *e, int64_t size);
    void (*entry_set_mtime)(struct archive_entry *e, time_t seconds, long ns);
    void (*entry_set_rdev)(struct archive_entry *e, dev_t dev);
    void (*entry_xattr_add_entry)(struct archive_entry *e, const char *name, const void *value, size_t len);
};

/* -ENOENT, with what to install, when libarchive is not there. Never unloaded. */
int jb_archive_load(struct jb_archive_calls *ret, struct jb_error *err);

#endif
