/*
 * kept.c - what is kept: finding it, making room, removing it.
 *
 * Owns: see kept.h. Runs in: see kept.h. Privilege: see kept.h.
 */
#include "job/kept/kept.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"

#define ABOUT_MAX (4U << 20)

int jb_kept_open(int state_fd, bool make, struct jb_error *err)
{
    int fd = -1;
    int r = make ? jb_mkdir_p(state_fd, JB_KEPT_DIR, 0700, (uid_t)-1, (gid_t)-1, JB_WALK_STRICT, NULL) : 0;
    if (r == 0)
        fd = jb_open_at(state_fd, JB_KEPT_DIR, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    r = r < 0 ? r : fd;
    return r < 0 && r != -ENOENT ? jb_fail_errno(err, r, JB_KEPT_DIR " of the state directory") : r;
}

int jb_kept_lock(int kept_fd, struct jb_error *err)
{
    jb_autoclose int fd = openat(kept_fd, ".lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : jb_lock_wait(fd);
    return r < 0 ? jb_fail_errno(err, r, JB_KEPT_DIR "/.lock") : jb_take_fd(&fd);
}

/* --- making one --- */

int jb_kept_write(int dir, const char *name, const void *data, size_t len, struct jb_error *err)
{
    jb_autoclose int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : jb_write_all(fd, data, len);
    return r < 0 ? jb_fail_errno(err, r, "%s", name) : 0;
}

int jb_kept_begin(int kept_fd, const struct jb_id *id, int *ret_lock, struct jb_error *err)
{
    char name[JB_ID_LEN + sizeof(JB_KEPT_NEW)];
    (void)snprintf(name, sizeof(name), JB_KEPT_NEW "%s", id->text);
    jb_autoclose int store = jb_kept_lock(kept_fd, err);
    if (store < 0)
        return store;
    if (mkdirat(kept_fd, name, 0700) < 0)
        return jb_fail_errno(err, errno, "%s", name);
    jb_autoclose int dir = openat(kept_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    jb_autoclose int lock = dir < 0 ? -1 : openat(dir, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (lock < 0 || jb_lock_try(lock) < 0)
        return jb_fail_errno(err, errno, "%s", name);
    JB_CRASH_POINT(keep_begun);
    *ret_lock = jb_take_fd(&lock);
    return jb_take_fd(&dir);
}

int jb_kept_finish(int kept_fd, const struct jb_site *site, uid_t uid, const struct jb_id *id,
                   const struct jb_copied *sum, struct jb_error *err)
{
    char name[JB_ID_LEN + sizeof(JB_KEPT_NEW)];
    (void)snprintf(name, sizeof(name), JB_KEPT_NEW "%s", id->text);
    jb_autoclose int store = jb_kept_lock(kept_fd, err);
    if (store < 0)
        return store;
    int r = jb_kept_make_room(kept_fd, site, uid, sum, err);
    if (r == 0 && renameat(kept_fd, name, kept_fd, id->text) < 0)
        r = jb_fail_errno(err, errno, "%s", id->text);
    JB_CRASH_POINT(keep_done);
    return r;
}

/* --- whose it is --- */

const struct jb_idmap *jb_kept_ids(struct jb_kept_ids *ids)
{
    struct jb_submitter self = {0};
    jb_autofree struct jb_host *host = geteuid() == 0 ? NULL : calloc(1, sizeof(*host));
    if (!host || jb_submitter_self(&self, NULL) < 0)
        return NULL;
    jb_host_probe_subids(self.user, self.uid, host);
    ids->map = (struct jb_idmap){.uid = self.uid, .gid = self.gid};
    if (host->subuids.count > 0 && host->subgids.count > 0) {
        (void)snprintf(ids->uid_program, sizeof(ids->uid_program), "%s", host->uid_mapper);
        (void)snprintf(ids->gid_program, sizeof(ids->gid_program), "%s", host->gid_mapper);
        ids->map.uids = host->subuids;
        ids->map.gids = host->subgids;
        ids->map.uid_program = ids->uid_program;
        ids->map.gid_program = ids->gid_program;
    }
    jb_submitter_free(&self);
    return &ids->map;
}

struct removing {
    int kept_fd;
    const char *name;
};

static int remove_inside(void *ctx, struct jb_error *err)
{
    const struct removing *rm = ctx;
    (void)err;
    return jb_remove_tree(rm->kept_fd, rm->name);
}

int jb_kept_remove(int kept_fd, const char *name)
{
    struct removing rm = {kept_fd, name};
    struct jb_kept_ids room;
    int r = jb_remove_tree(kept_fd, name);
    if (r != -EACCES && r != -EPERM && r != -ENOTEMPTY)
        return r;
    const struct jb_idmap *ids = jb_kept_ids(&room);
    return ids ? jb_idmap_inside(ids, remove_inside, &rm, NULL) : r;
}

/* --- looking --- */

void jb_kept_mark(int dir, uid_t uid)
{
    if (geteuid() == 0 && uid != 0)
        (void)!fchownat(dir, "about.json", uid, (gid_t)-1, AT_SYMLINK_NOFOLLOW); /* without it, it is read */
}

/* What about.json says counts; this spares reading those of others. One that is not marked may be anybody's. */
static bool may_be_of(int kept_fd, const char *id, uid_t uid)
{
    char path[JB_ID_LEN + 16];
    struct stat st;
    if (uid == JB_KEPT_ALL)
        return true;
    (void)snprintf(path, sizeof(path), "%.26s/about.json", id);
    return fstatat(kept_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           (st.st_uid == uid || st.st_uid == geteuid());
}

static json_t *read_about(int kept_fd, const char *id)
{
    jb_autofree char *text = NULL;
    jb_autofree char *path = jb_asprintf("%s/about.json", id);
    size_t len = 0;
    if (!path || jb_read_at(kept_fd, path, ABOUT_MAX, &text, &len) < 0)
        return NULL;
    json_t *about = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(about))
        return about;
    json_decref(about);
    return NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of kept/, sorted: the oldest box first. */
static int names_of(int kept_fd, struct jb_strv *ret, struct jb_error *err)
{
    int own = openat(kept_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    jb_autodir DIR *dir = own < 0 ? NULL : fdopendir(own);
    if (!dir) {
        int saved = errno;
        jb_close(&own);
        return jb_fail_errno(err, saved, JB_KEPT_DIR);
    }
    for (struct dirent *e; (e = readdir(dir));)
        if (jb_strv_add(ret, e->d_name) < 0)
            return jb_fail_errno(err, ENOMEM, JB_KEPT_DIR);
    if (ret->len)
        qsort(ret->items, ret->len, sizeof(*ret->items), by_text);
    return 0;
}

/* about.json of a box that is asked for; NULL: it is another one. */
static json_t *read_wished(int kept_fd, const char *name, const struct jb_kept_wish *wish)
{
    if (!jb_id_valid(name) || (wish->begins && strncasecmp(name, wish->begins, strlen(wish->begins)) != 0) ||
        !may_be_of(kept_fd, name, wish->uid))
        return NULL;
    json_t *about = read_about(kept_fd, name);
    if (about && (wish->uid == JB_KEPT_ALL ||
                  json_integer_value(json_object_get(about, "uid")) == (json_int_t)wish->uid))
        return about;
    json_decref(about);
    return NULL;
}

int jb_kept_list(int state_fd, const struct jb_kept_wish *wish, json_t **ret, bool *ret_more,
                 struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    jb_autoclose int kept = jb_kept_open(state_fd, false, err);
    if (kept < 0 && kept != -ENOENT)
        return kept;
    bool more = false;
    json_t *newest = json_array();
    json_t *list = json_array();
    int r = !list || !newest ? jb_fail_errno(err, ENOMEM, JB_KEPT_DIR)
            : kept < 0       ? 0
                             : names_of(kept, &names, err);
    for (size_t i = names.len; r == 0 && !more && i-- > 0;) {
        json_t *about = read_wished(kept, names.items[i], wish);
        more = about && wish->limit && json_array_size(newest) == wish->limit;
        if (about && !more)
            (void)json_array_append(newest, about);
        json_decref(about);
    }
    for (size_t i = json_array_size(newest); r == 0 && i-- > 0;)
        (void)json_array_append(list, json_array_get(newest, i));
    json_decref(newest);
    if (r < 0) {
        json_decref(list);
        return r;
    }
    *ret = list;
    if (ret_more)
        *ret_more = more;
    return 0;
}

json_t *jb_kept_summary(int state_fd, const char *state_dir, const struct jb_id *id)
{
    static const char *const keys[] = {"bytes", "files", "left_out"};
    jb_autoclose int kept = jb_kept_open(state_fd, false, NULL);
    json_t *about = kept < 0 ? NULL : read_about(kept, id->text);
    if (!about)
        return NULL;
    jb_autofree char *path = jb_asprintf("%s/" JB_KEPT_DIR "/%s/fs", state_dir, id->text);
    json_t *summary = json_pack("{s:o}", "path", jb_json_text(path ? path : ""));
    for (size_t i = 0; summary && i < JB_ARRAY_LEN(keys); i++)
        (void)json_object_set(summary, keys[i], json_object_get(about, keys[i]));
    json_decref(about);
    return summary;
}

void jb_kept_close(struct jb_kept *kept)
{
    json_decref(kept->about);
    jb_close(&kept->fd);
    jb_close(&kept->lock_fd);
    *kept = JB_KEPT_INIT;
}

/* Shared: -EAGAIN while it is being removed. */
static int use(int dir)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    jb_autoclose int fd = openat(dir, "lock", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0)
        return -errno;
    return jb_take_fd(&fd);
}

static int no_such(const char *text, size_t found, struct jb_error *err)
{
    return found ? jb_fail(err, ENOTUNIQ, "%.40s: %zu kept boxes have an id that begins so; give more of it",
                           text, found)
                 : jb_fail(err, ENOENT,
                           "%.40s: no kept box has an id that begins so; jobbox ps --kept lists them", text);
}

/* A box of another one's is passed over as if it were not there. */
static bool is_of(int kept_fd, const char *id, uid_t uid)
{
    json_t *about = uid == JB_KEPT_ALL ? NULL : read_wished(kept_fd, id, &(struct jb_kept_wish){.uid = uid});
    bool is = uid == JB_KEPT_ALL || about;
    json_decref(about);
    return is;
}

int jb_kept_find(int state_fd, const char *text, struct jb_kept *ret, struct jb_error *err)
{
    return jb_kept_find_of(state_fd, text, JB_KEPT_ALL, ret, err);
}

int jb_kept_find_of(int state_fd, const char *text, uid_t uid, struct jb_kept *ret, struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    jb_autokept struct jb_kept kept = JB_KEPT_INIT;
    size_t found = 0;
    jb_autoclose int dir = jb_kept_open(state_fd, false, err);
    if (dir < 0)
        return dir == -ENOENT ? no_such(text, 0, err) : dir;
    int r = names_of(dir, &names, err);
    for (size_t i = 0; r == 0 && i < names.len; i++) {
        if (!*text || !jb_id_valid(names.items[i]) || strncasecmp(names.items[i], text, strlen(text)) != 0 ||
            !is_of(dir, names.items[i], uid))
            continue;
        (void)snprintf(kept.id.text, sizeof(kept.id.text), "%s", names.items[i]);
        found++;
    }
    if (r < 0 || found != 1)
        return r < 0 ? r : no_such(text, found, err);
    kept.fd = jb_open_at(dir, kept.id.text, O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    kept.lock_fd = kept.fd < 0 ? kept.fd : use(kept.fd);
    kept.about = read_about(dir, kept.id.text);
    if (kept.lock_fd == -ENOENT || kept.lock_fd == -EAGAIN) /* it goes just now */
        return no_such(text, 0, err);
    if (kept.lock_fd < 0 || !kept.about)
        return jb_fail_errno(err, kept.lock_fd < 0 ? kept.lock_fd : EUCLEAN, JB_KEPT_DIR "/%s", kept.id.text);
    *ret = kept;
    kept = JB_KEPT_INIT; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

/* --- removing --- */

/* Nobody may come into it any more: *ret_lock, -1 where it has none. -EBUSY: somebody uses it. */
static int lock_out(int kept_fd, const char *id, int *ret_lock)
{
    jb_autofree char *path = jb_asprintf("%s/lock", id);
    jb_autoclose int lock = path ? jb_open_at(kept_fd, path, O_RDWR, 0, JB_WALK_STRICT) : -ENOMEM;
    if (lock < 0 && lock != -ENOENT)
        return lock;
    if (lock >= 0 && jb_lock_try(lock) < 0)
        return -EBUSY;
    *ret_lock = lock < 0 ? -1 : jb_take_fd(&lock);
    return 0;
}

/* Out of sight, under the lock of the store and its own. */
static int hide(int kept_fd, const char *id)
{
    char gone[JB_ID_LEN + sizeof(JB_KEPT_GONE)];
    (void)snprintf(gone, sizeof(gone), JB_KEPT_GONE "%.26s", id);
    return renameat(kept_fd, id, kept_fd, gone) < 0 ? -errno : 0;
}

/* Under the lock of the store. -EBUSY: somebody uses it. */
static int move_away(int kept_fd, const char *id)
{
    jb_autoclose int lock = -1;
    int r = lock_out(kept_fd, id, &lock);
    return r < 0 ? r : hide(kept_fd, id);
}

int jb_kept_discard(int state_fd, const struct jb_id *id, struct jb_error *err)
{
    jb_autoclose int kept = jb_kept_open(state_fd, false, err);
    if (kept < 0)
        return kept == -ENOENT ? no_such(id->text, 0, err) : kept;
    jb_autoclose int lock = jb_kept_lock(kept, err);
    if (lock < 0)
        return lock;
    int r = move_away(kept, id->text);
    jb_close(&lock);
    if (r == -EBUSY)
        return jb_fail(err, EBUSY, "%s: somebody is in it, or makes an image of it; try again later",
                       id->text);
    if (r < 0)
        return r == -ENOENT ? no_such(id->text, 0, err) : jb_fail_errno(err, r, "%s", id->text);
    char gone[JB_ID_LEN + sizeof(JB_KEPT_GONE)];
    (void)snprintf(gone, sizeof(gone), JB_KEPT_GONE "%s", id->text);
    r = jb_kept_remove(kept, gone);
    return r < 0 ? jb_fail_errno(err, r, "removing " JB_KEPT_DIR "/%s", gone) : 0;
}

/* What its maker does not hold any more. Under the lock of the store, where it is made. */
static bool is_dead(int kept_fd, const char *name)
{
    jb_autofree char *path = jb_asprintf("%s/lock", name);
    jb_autoclose int lock = path ? jb_open_at(kept_fd, path, O_RDWR, 0, JB_WALK_STRICT) : -1;
    return lock < 0 || jb_lock_try(lock) == 0;
}

void jb_kept_clear(int kept_fd)
{
    jb_autostrv struct jb_strv names = {0};
    jb_autoclose int lock = jb_kept_lock(kept_fd, NULL);
    if (lock < 0 || names_of(kept_fd, &names, NULL) < 0)
        return;
    for (size_t i = 0; i < names.len; i++) {
        const char *name = names.items[i];
        char gone[JB_ID_LEN + sizeof(JB_KEPT_GONE)];
        if (!jb_starts_with(name, JB_KEPT_NEW) || !is_dead(kept_fd, name))
            continue;
        (void)snprintf(gone, sizeof(gone), JB_KEPT_GONE "%.26s", name + strlen(JB_KEPT_NEW));
        (void)renameat(kept_fd, name, kept_fd, gone);
    }
    jb_close(&lock); /* removing takes its time */
    jb_strv_free(&names);
    if (names_of(kept_fd, &names, NULL) < 0)
        return;
    for (size_t i = 0; i < names.len; i++)
        if (jb_starts_with(names.items[i], JB_KEPT_GONE))
            (void)jb_kept_remove(kept_fd, names.items[i]);
}

static bool is_old(int kept_fd, const char *id, uint64_t max_age_ns, uint64_t now_us)
{
    struct stat st;
    if (max_age_ns == JB_UNSET || fstatat(kept_fd, id, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    uint64_t made_us = (uint64_t)st.st_mtim.tv_sec * 1000000 + (uint64_t)st.st_mtim.tv_nsec / 1000;
    return now_us > made_us && now_us - made_us > max_age_ns / JB_NS_PER_US;
}

int jb_kept_sweep(int state_fd, uint64_t max_age_ns, struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    jb_autoclose int kept = jb_kept_open(state_fd, false, err);
    bool clear = false;
    int n = 0;
    if (kept < 0)
        return kept == -ENOENT ? 0 : kept;
    int r = names_of(kept, &names, err);
    for (size_t i = 0; r == 0 && i < names.len; i++) {
        const char *name = names.items[i];
        clear = clear || jb_starts_with(name, JB_KEPT_NEW) || jb_starts_with(name, JB_KEPT_GONE);
        if (!jb_id_valid(name) || !is_old(kept, name, max_age_ns, jb_wall_us(NULL)))
            continue;
        jb_autoclose int lock = jb_kept_lock(kept, err);
        if (lock >= 0 && move_away(kept, name) == 0)
            n++;
    }
    if (r == 0 && (clear || n > 0))
        jb_kept_clear(kept);
    return r < 0 ? r : n;
}

/* --- room --- */

struct holding {
    uint64_t boxes, bytes, files;
};

static uint64_t number(const json_t *about, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(about, key));
}

/* The first limit that is passed, and what it is; NULL: it fits. */
static const char *passed(const struct jb_site *site, const struct holding *h, const struct jb_copied *sum,
                          char ret[static 64])
{
    char size[32];
    if (h->boxes >= site->kept.max_count) {
        (void)snprintf(ret, 64, "%" PRIu64 " boxes", site->kept.max_count);
        return "kept.max_count";
    }
    if (site->kept.max_bytes != JB_UNSET && h->bytes + sum->bytes > site->kept.max_bytes) {
        (void)snprintf(ret, 64, "%s", jb_format_size(site->kept.max_bytes, size, sizeof(size)));
        return "kept.max_bytes";
    }
    if (site->kept.max_files != JB_UNSET && h->files + sum->files > site->kept.max_files) {
        (void)snprintf(ret, 64, "%" PRIu64 " files", site->kept.max_files);
        return "kept.max_files";
    }
    return NULL;
}

struct his_box {
    char id[JB_ID_LEN + 1];
    struct holding size;
    bool goes;
    int lock; /* owned; -1: none */
};

struct his_boxes {
    struct his_box *items; /* owned; the oldest first */
    size_t n;
};

static void his_free(struct his_boxes *his)
{
    for (size_t i = 0; i < his->n; i++)
        jb_close(&his->items[i].lock);
    free(his->items);
}

static int read_his(int kept_fd, uid_t uid, struct his_boxes *ret, struct holding *sum, struct jb_error *err)
{
    jb_autostrv struct jb_strv names = {0};
    int r = names_of(kept_fd, &names, err);
    if (r < 0)
        return r;
    ret->items = calloc(names.len + 1, sizeof(*ret->items));
    if (!ret->items)
        return jb_fail_errno(err, ENOMEM, JB_KEPT_DIR);
    for (size_t i = 0; i < names.len; i++) {
        json_t *about = read_wished(kept_fd, names.items[i], &(struct jb_kept_wish){.uid = uid});
        if (!about)
            continue;
        struct his_box *box = &ret->items[ret->n++];
        (void)snprintf(box->id, sizeof(box->id), "%s", names.items[i]);
        box->lock = -1;
        box->size = (struct holding){1, number(about, "bytes"), number(about, "files")};
        sum->boxes += box->size.boxes;
        sum->bytes += box->size.bytes;
        sum->files += box->size.files;
        json_decref(about);
    }
    return 0;
}

/* Nothing goes for a box that has no room even then: first it is seen, and held, what can go, and whether that is enough. */
int jb_kept_make_room(int kept_fd, const struct jb_site *site, uid_t uid, const struct jb_copied *sum,
                      struct jb_error *err)
{
    __attribute__((cleanup(his_free))) struct his_boxes his = {0};
    struct holding h = {0};
    char limit[64];
    int r = read_his(kept_fd, uid, &his, &h, err);
    for (size_t i = 0; r == 0 && i < his.n && passed(site, &h, sum, limit); i++) {
        struct his_box *box = &his.items[i];
        if (lock_out(kept_fd, box->id, &box->lock) < 0)
            continue; /* in use */
        box->goes = true;
        h.boxes -= box->size.boxes;
        h.bytes -= box->size.bytes;
        h.files -= box->size.files;
    }
    const char *key = r == 0 ? passed(site, &h, sum, limit) : NULL;
    if (key)
        return jb_fail(err, EDQUOT,
                       "the site keeps %s of one user at most (%s), and with those of your kept boxes that "
                       "somebody is in there would be more; leave one, or keep less",
                       limit, key);
    for (size_t i = 0; r == 0 && i < his.n; i++)
        if (his.items[i].goes && (r = hide(kept_fd, his.items[i].id)) < 0)
            return jb_fail_errno(err, r, JB_KEPT_DIR "/%s", his.items[i].id);
    return r;
}
