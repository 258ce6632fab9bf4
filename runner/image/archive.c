/*
 * archive.c - libarchive, loaded when it is needed.
 *
 * Owns: nothing. Runs in: the child that unpacks, or writes. Privilege: none of its own.
 */
#include "image/archive.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"

#define LIBRARY "libarchive.so.13"

#define CALL(name)                                                \
    {                                                             \
        "archive_" #name, offsetof(struct jb_archive_calls, name) \
    }
static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
    CALL(error_string),
    CALL(read_new),
    CALL(read_support_filter_gzip),
    CALL(read_support_filter_zstd),
    CALL(read_support_filter_bzip2),
    CALL(read_support_filter_xz),
    CALL(read_support_format_tar),
    CALL(read_support_format_raw),
    CALL(read_support_format_empty),
    CALL(read_open),
    CALL(read_next_header),
    CALL(read_data),
    CALL(read_data_block),
    CALL(read_free),
    CALL(entry_pathname),
    CALL(entry_hardlink),
    CALL(entry_symlink),
    CALL(entry_filetype),
    CALL(entry_perm),
    CALL(entry_uid),
    CALL(entry_gid),
    CALL(entry_size),
    CALL(entry_size_is_set),
    CALL(entry_mtime),
    CALL(entry_mtime_nsec),
    CALL(entry_xattr_reset),
    CALL(entry_xattr_next),
    CALL(write_new),
    CALL(write_set_format_pax),
    CALL(write_set_bytes_in_last_block),
    CALL(write_open),
    CALL(write_header),
    CALL(write_data),
    CALL(write_close),
    CALL(write_free),
    CALL(entry_new),
    CALL(entry_free),
    CALL(entry_set_pathname),
    CALL(entry_set_hardlink),
    CALL(entry_set_symlink),
    CALL(entry_set_mode),
    CALL(entry_set_uid),
    CALL(entry_set_gid),
    CALL(entry_set_size),
    CALL(entry_set_mtime),
    CALL(entry_set_rdev),
    CALL(entry_xattr_add_entry),
};

int jb_archive_load(struct jb_archive_calls *ret, struct jb_error *err)
{
    struct jb_archive_calls calls = {.library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL)};
    if (!calls.library)
        return jb_fail(err, ENOENT,
                       "images are unpacked by libarchive, which is not installed (" LIBRARY
                       "); install the package libarchive13, or what your system calls it");
    for (size_t i = 0; i < JB_ARRAY_LEN(symbols); i++) {
        void *found = dlsym(calls.library, symbols[i].name);
        if (!found)
            return jb_fail(err, ENOENT, LIBRARY " has no %s; jobbox needs libarchive 3.2 or newer",
                           symbols[i].name);
        memcpy((char *)&calls + symbols[i].offset, &found, sizeof(found));
    }
    *ret = calls;
    return 0;
}
