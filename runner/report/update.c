/*
 * update.c - making the index and bringing it up to date.
 *
 * Owns: FILE.lock while it fills, FILE.new while it makes one. Runs in: jobbox-report, jobboxd. Privilege: the user's.
 *
 * A new index is made beside the old one and renamed over it, so that nobody reads half of one. Additions go in by
 * transactions, each of which is short.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "report/fill.h"
#include "report/index.h"
#include "report/source.h"

static int list_files(const struct jb_index_spec *spec, struct jb_strv *ret, struct jb_error *err)
{
    for (size_t i = 0; i < spec->journals->len; i++) {
        int r = jb_lines_list(spec->journals->items[i], ret, err);
        if (r == -ENOENT) /* nobody ever wrote one */
            continue;
        if (r < 0)
            return r;
    }
    return 0;
}

static int fill_all(struct jb_store *store, const struct jb_strv *files, uint64_t *ret_new,
                    struct jb_error *err)
{
    struct jb_fill fill = {0};
    int r = jb_fill_begin(store, &fill, err);
    if (r < 0)
        return r;
    for (size_t i = 0; r >= 0 && i < files->len; i++) {
        r = jb_fill_is_new(&fill, files->items[i], err);
        if (r > 0)
            r = jb_fill_file(&fill, files->items[i], err);
    }
    if (r >= 0)
        r = jb_fill_flush(&fill, err);
    *ret_new = fill.counts[JB_LINE_RECORD];
    jb_fill_free(&fill);
    return r;
}

/* Whether any file is new is asked without a transaction, which costs more than the answer. */
static int any_new(struct jb_store *store, const struct jb_strv *files, struct jb_error *err)
{
    struct jb_fill look = {.store = store};
    int r = 0;
    for (size_t i = 0; r == 0 && i < files->len; i++)
        r = jb_fill_is_new(&look, files->items[i], err);
    return r;
}

static int add_new(struct jb_store *store, const struct jb_strv *files, uint64_t *ret_new,
                   struct jb_error *err)
{
    int r = any_new(store, files, err);
    if (r <= 0)
        return r;
    r = jb_store_begin(store, err);
    if (r == 0)
        r = fill_all(store, files, ret_new, err);
    if (r < 0) {
        (void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
        return r;
    }
    return jb_store_commit(store, err);
}

/* Nobody else sees the new file before it is whole, and after a crash it is made again: it needs no journal of its own. */
static int make_new(const char *file, const struct jb_strv *files, uint64_t *ret_new, struct jb_error *err)
{
    char path[4096];
    struct jb_store store = {0};
    if ((size_t)snprintf(path, sizeof(path), "%s.new", file) >= sizeof(path))
        return jb_fail_errno(err, ENAMETOOLONG, "index %s", file);
    (void)unlink(path);
    int r = jb_store_open(path, true, &store, err);
    if (r < 0)
        return r;
    (void)sqlite3_exec(store.db, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF", NULL, NULL, NULL);
    r = jb_store_begin(&store, err);
    if (r == 0)
        r = fill_all(&store, files, ret_new, err);
    if (r >= 0)
        r = jb_store_commit(&store, err);
    jb_store_close(&store);
    jb_autoclose int fd = r < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (r >= 0 && (fd < 0 || fchmod(fd, 0640) < 0 || fdatasync(fd) < 0 || rename(path, file) < 0))
        r = jb_fail_errno(err, errno, "index %s", file);
    if (r < 0)
        (void)unlink(path);
    return r;
}

static int lock_beside(const char *file, struct jb_error *err)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof(path), "%s.lock", file) >= sizeof(path))
        return jb_fail_errno(err, ENAMETOOLONG, "index %s", file);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r = fd < 0 ? -errno : jb_lock_wait(fd);
    if (r == 0)
        return fd;
    if (fd >= 0)
        (void)close(fd);
    return jb_fail_errno(err, r, "index: %s", path);
}

int jb_index_update(const struct jb_index_spec *spec, bool rebuild, uint64_t *ret_new, struct jb_error *err)
{
    jb_autostrv struct jb_strv files = {0};
    struct jb_store store = {0};
    uint64_t added = 0;
    if (!spec->file)
        return jb_fail(err, EINVAL, "index: it has no name");
    int r = list_files(spec, &files, err);
    if (r < 0)
        return r;
    jb_autoclose int lock = lock_beside(spec->file, err);
    if (lock < 0)
        return lock;
    /* one that is there is opened, not made: what we make goes to another name first */
    if (!rebuild && access(spec->file, W_OK) == 0) {
        r = jb_store_open(spec->file, true, &store, err);
        if (r == 0)
            r = add_new(&store, &files, &added, err);
        jb_store_close(&store);
        rebuild = r == -EBADMSG;
    } else {
        rebuild = rebuild || errno == ENOENT;
        r = rebuild ? 0 : jb_fail_errno(err, errno, "index %s", spec->file);
    }
    if (rebuild) {
        jb_error_clear(err);
        r = make_new(spec->file, &files, &added, err);
    }
    if (r >= 0 && ret_new)
        *ret_new = added;
    return r < 0 ? r : 0;
}

/* 1 when the index has all that the journals have, 0 when not. */
static int is_current(const struct jb_index_spec *spec, struct jb_error *err)
{
    jb_autostrv struct jb_strv files = {0};
    struct jb_store store = {0};
    int r = list_files(spec, &files, err);
    if (r == 0)
        r = jb_store_open(spec->file, false, &store, err);
    if (r < 0)
        return r;
    r = any_new(&store, &files, err);
    jb_store_close(&store);
    return r < 0 ? r : r == 0;
}

static uint64_t hash(uint64_t h, const char *text)
{
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return (h ^ '\n') * UINT64_C(0x100000001b3);
}

/* $XDG_CACHE_HOME/jobbox/index-HASH.db: one for each set of journals. */
static int own_file(const struct jb_index_spec *spec, char **ret, struct jb_error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    if ((!cache || cache[0] != '/') && (!home || home[0] != '/'))
        return jb_fail(err, ENOENT, "there is no place for an index: neither HOME nor XDG_CACHE_HOME is set");
    for (size_t i = 0; i < spec->journals->len; i++) {
        jb_autofree char *whole = realpath(spec->journals->items[i], NULL);
        h = hash(h, whole ? whole : spec->journals->items[i]);
    }
    jb_autofree char *folder =
        cache && cache[0] == '/' ? jb_asprintf("%s/jobbox", cache) : jb_asprintf("%s/.cache/jobbox", home);
    char *file = folder ? jb_asprintf("%s/index-%016llx.db", folder, (unsigned long long)h) : NULL;
    jb_autoclose int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r = root < 0 ? -errno : file ? 0 : -ENOMEM;
    if (r == 0) /* a home that is a symlink is one all the same */
        r = jb_mkdir_p(root, folder + 1, 0700, (uid_t)-1, (gid_t)-1, JB_WALK_IN_ROOT, NULL);
    if (r < 0) {
        free(file);
        return jb_fail_errno(err, r, "a folder for the index, %s", folder ? folder : "");
    }
    *ret = file;
    return 0;
}

static bool is_forbidden(int r)
{
    return r == -EACCES || r == -EPERM || r == -EROFS;
}

int jb_index_get(const struct jb_index_spec *spec, struct jb_index **ret, struct jb_error *err)
{
    struct jb_error why = {0};
    jb_autofree char *own = NULL;
    int r = -EROFS;
    if (spec->file) {
        r = jb_index_update(spec, false, NULL, err);
        if (r == 0 || (is_forbidden(r) && is_current(spec, &why) == 1))
            return jb_index_open(spec->file, ret, err);
    }
    if (!is_forbidden(r))
        return r;
    jb_error_clear(err);
    r = own_file(spec, &own, err);
    if (r < 0)
        return r;
    const struct jb_index_spec mine = {own, spec->journals};
    r = jb_index_update(&mine, false, NULL, err);
    return r < 0 ? r : jb_index_open(own, ret, err);
}
