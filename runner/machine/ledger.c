/*
 * ledger.c - claiming, releasing and adopting boxes.
 *
 * Owns: the descriptors of a struct jb_ledger_dir. Runs in: every jobbox process that starts, lists or
 * recovers boxes. Privilege: that of the runtime directory.
 */
#include "machine/ledger.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"
#include "machine/slots.h"

#define BOXES_NAME "boxes"
#define TRASH_LEN  (JB_ID_LEN + 2) /* "." and the id: a folder on its way out */

/* A file of ours: regular, no symlink, nobody else's. */
static int open_own(int dirfd, const char *name, int *ret_fd, struct jb_error *err)
{
    jb_autoclose int fd =
        openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
    struct stat st;
    if (fd < 0 && errno == ELOOP)
        return jb_fail(err, ELOOP,
                       "%s in the runtime directory is a symlink; jobbox does not follow it: remove it",
                       name);
    if (fd < 0 || fstat(fd, &st) < 0)
        return jb_fail_errno(err, errno, "%s in the runtime directory", name);
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
        return jb_fail(err, EPERM,
                       "%s in the runtime directory: not a file of uid %u that only it can write; remove it",
                       name, (unsigned)geteuid());
    *ret_fd = jb_take_fd(&fd);
    return 0;
}

int jb_ledger_dir_open(int runtime_fd, struct jb_ledger_dir *ret, struct jb_error *err)
{
    struct jb_ledger_dir dir = JB_LEDGER_DIR_INIT;
    dir.runtime_fd = runtime_fd;
    if (mkdirat(runtime_fd, BOXES_NAME, 0700) < 0 && errno != EEXIST)
        return jb_fail_errno(err, errno, "making %s in the runtime directory", BOXES_NAME);
    int r = jb_open_owned_dir(runtime_fd, BOXES_NAME, geteuid(), &dir.boxes_fd, err);
    if (r == 0)
        r = open_own(runtime_fd, "alloc.lock", &dir.alloc_fd, err);
    for (int f = 0; r == 0 && f < JB_LEDGER_FILES; f++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "ledger.%d", f);
        r = open_own(runtime_fd, name, &dir.slots_fd[f], err);
    }
    if (r < 0) {
        jb_ledger_dir_close(&dir);
        return r;
    }
    *ret = dir;
    return 0;
}

void jb_ledger_dir_close(struct jb_ledger_dir *dir)
{
    jb_close(&dir->boxes_fd);
    jb_close(&dir->alloc_fd);
    for (int f = 0; f < JB_LEDGER_FILES; f++)
        jb_close(&dir->slots_fd[f]);
    dir->runtime_fd = -1;
}

int jb_ledger_lock(const struct jb_ledger_dir *dir, struct jb_error *err)
{
    int r = jb_lock_wait(dir->alloc_fd);
    return r < 0 ? jb_fail_errno(err, r, "alloc.lock") : 0;
}

void jb_ledger_unlock(const struct jb_ledger_dir *dir)
{
    struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    (void)fcntl(dir->alloc_fd, F_OFD_SETLK, &fl);
}

static void trash_name(const struct jb_id *id, char buf[TRASH_LEN])
{
    (void)snprintf(buf, TRASH_LEN, ".%.*s", JB_ID_LEN, id->text);
}

/* A slot that is free for sure: its lock is ours and it is empty (or damaged: whoever wrote it is dead). */
static int take_free(const struct jb_ledger_dir *dir, size_t *ret_g, int *ret_lock_fd)
{
    jb_autoslots struct jb_slots slots = {0};
    int r = jb_slots_read(dir, &slots);
    if (r < 0)
        return r;
    for (size_t g = 0; g < JB_SLOTS_MAX; g++) {
        struct jb_slot *slot = jb_slots_at(&slots, g);
        if (slot && !jb_slot_empty(slot) && jb_slot_sound(slot))
            continue;
        jb_autoclose int fd = -1;
        struct jb_slot now;
        r = jb_slot_take(dir, g, &fd);
        if (r == -EAGAIN)
            continue;
        if (r == 0)
            r = jb_slot_fetch(dir, g, &now);
        if (r < 0)
            return r;
        if (!jb_slot_empty(&now) && jb_slot_sound(&now))
            continue;
        *ret_g = g;
        *ret_lock_fd = jb_take_fd(&fd);
        return 0;
    }
    return -ENOSPC;
}

static int fill(const struct jb_ledger_dir *dir, size_t g, const struct jb_holding *holding)
{
    struct jb_slot slot;
    int r = jb_slot_pack(holding, &slot);
    if (r > 0)
        r = jb_slot_wide_store(dir, g, holding);
    return r < 0 ? r : jb_slot_store(dir, g, &slot);
}

static int open_box(const struct jb_ledger_dir *dir, const struct jb_id *id)
{
    int fd = openat(dir->boxes_fd, id->text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Before anybody else may look: the caller has alloc.lock. */
static int put_devices(int box_fd, const struct jb_holding *holding)
{
    return holding->devices
               ? jb_replace_at(box_fd, JB_HELD_NAME, holding->devices, strlen(holding->devices), 0600)
               : 0;
}

int jb_ledger_claim(const struct jb_ledger_dir *dir, const struct jb_holding *holding, int *ret_box_fd,
                    int *ret_lock_fd, struct jb_error *err)
{
    const char *id = holding->id.text;
    if (!jb_id_valid(id))
        return jb_fail(err, EINVAL, "box id \"%.40s\" is not one", id);
    size_t g = 0;
    jb_autoclose int lock_fd = -1;
    int r = take_free(dir, &g, &lock_fd);
    if (r == -ENOSPC)
        return jb_fail(err, r, "box %s: the ledger is full: %d boxes live at once", id, JB_SLOTS_MAX);
    if (r < 0)
        return jb_fail_errno(err, r, "box %s: taking a slot of the ledger", id);
    JB_CRASH_POINT(slot_taken);
    r = fill(dir, g, holding);
    JB_CRASH_POINT(slot_filled);
    if (r == 0 && mkdirat(dir->boxes_fd, id, 0700) < 0)
        r = -errno;
    JB_CRASH_POINT(folder_made);
    jb_autoclose int box_fd = -1;
    if (r == 0) {
        box_fd = open_box(dir, &holding->id);
        r = box_fd < 0 ? box_fd : put_devices(box_fd, holding);
        if (r < 0)
            (void)jb_remove_tree(dir->boxes_fd, id);
    }
    if (r < 0) {
        (void)jb_slot_store(dir, g, &(struct jb_slot){0});
        return jb_fail_errno(err, r, "box %s: entering it in the ledger", id);
    }
    *ret_box_fd = jb_take_fd(&box_fd);
    *ret_lock_fd = jb_take_fd(&lock_fd);
    return 0;
}

/* The caller's own: nobody else writes it, so it is sound or damaged. */
static int own_slot(const struct jb_ledger_dir *dir, const struct jb_slots *slots, const struct jb_id *id)
{
    int g = jb_slots_find(dir, slots, id);
    return g < 0 || jb_slot_sound(jb_slots_at(slots, (size_t)g)) ? g : -EUCLEAN;
}

int jb_ledger_update(const struct jb_ledger_dir *dir, const struct jb_holding *holding, struct jb_error *err)
{
    jb_autoslots struct jb_slots slots = {0};
    int r = jb_slots_read(dir, &slots);
    int g = r < 0 ? r : own_slot(dir, &slots, &holding->id);
    struct jb_holding now = *holding;
    if (g >= 0)
        now.ends_ns = jb_slots_at(&slots, (size_t)g)->ends_ns;
    r = g < 0 ? g : fill(dir, (size_t)g, &now);
    return r < 0 ? jb_fail_errno(err, r, "box %s: changing its entry in the ledger", holding->id.text) : 0;
}

int jb_ledger_ends(const struct jb_ledger_dir *dir, const struct jb_id *id, uint64_t ends_ns,
                   struct jb_error *err)
{
    jb_autoslots struct jb_slots slots = {0};
    int r = jb_slots_read(dir, &slots);
    int g = r < 0 ? r : own_slot(dir, &slots, id);
    if (g >= 0) {
        struct jb_slot slot = *jb_slots_at(&slots, (size_t)g);
        jb_slot_set_ends(&slot, ends_ns);
        r = jb_slot_store(dir, (size_t)g, &slot);
    } else {
        r = g;
    }
    return r < 0 ? jb_fail_errno(err, r, "box %s: entering its end in the ledger", id->text) : 0;
}

static int remove_trash(const struct jb_ledger_dir *dir, const struct jb_id *id)
{
    char trash[TRASH_LEN];
    trash_name(id, trash);
    return jb_remove_tree(dir->boxes_fd, trash);
}

int jb_ledger_release(const struct jb_ledger_dir *dir, const struct jb_id *id, struct jb_error *err)
{
    jb_autoslots struct jb_slots slots = {0};
    char trash[TRASH_LEN];
    trash_name(id, trash);
    int r = 0;
    /* as a rule its owner has emptied it; else it is renamed first, so that no half of it is left by a crash */
    if (unlinkat(dir->boxes_fd, id->text, AT_REMOVEDIR) < 0) {
        if (renameat(dir->boxes_fd, id->text, dir->boxes_fd, trash) < 0 && errno != ENOENT)
            r = -errno;
        if (r == 0)
            r = jb_remove_tree(dir->boxes_fd, trash);
    }
    if (r < 0)
        return jb_fail_errno(err, r, "box %s: removing its folder", id->text);
    JB_CRASH_POINT(folder_removed);
    r = jb_slots_read(dir, &slots);
    if (r == 0) {
        int g = jb_slots_find(dir, &slots, id);
        r = g < 0 ? (g == -ENOENT ? 0 : g) : jb_slot_store(dir, (size_t)g, &(struct jb_slot){0});
    }
    JB_CRASH_POINT(slot_emptied);
    return r < 0 ? jb_fail_errno(err, r, "box %s: leaving the ledger", id->text) : 0;
}

/* A folder without a slot gets one that holds nothing; a lock on the folder keeps two from doing it at once.
 */
static int adopt_orphan(const struct jb_ledger_dir *dir, const struct jb_id *id, int *ret_box_fd,
                        int *ret_lock_fd)
{
    jb_autoslots struct jb_slots slots = {0};
    jb_autoclose int box_fd = open_box(dir, id);
    if (box_fd == -ENOENT) {
        int r = remove_trash(dir, id);
        return r < 0 ? r : -ENOENT;
    }
    if (box_fd < 0)
        return box_fd;
    if (flock(box_fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    int r = jb_slots_read(dir, &slots);
    if (r < 0)
        return r;
    int found = jb_slots_find(dir, &slots, id);
    if (found != -ENOENT)
        return found < 0 ? found : -EAGAIN;
    size_t g = 0;
    jb_autoclose int lock_fd = -1;
    struct jb_holding nothing = {.id = *id, .memory = JB_UNSET};
    r = take_free(dir, &g, &lock_fd);
    if (r == 0)
        r = fill(dir, g, &nothing);
    if (r < 0)
        return r;
    *ret_box_fd = jb_take_fd(&box_fd);
    *ret_lock_fd = jb_take_fd(&lock_fd);
    return 0;
}

static int adopt(const struct jb_ledger_dir *dir, const struct jb_id *id, int *ret_box_fd, int *ret_lock_fd)
{
    jb_autoslots struct jb_slots slots = {0};
    int r = jb_slots_read(dir, &slots);
    if (r < 0)
        return r;
    int g = jb_slots_find(dir, &slots, id);
    if (g < 0 && g != -ENOENT)
        return g;
    if (g < 0)
        return adopt_orphan(dir, id, ret_box_fd, ret_lock_fd);
    jb_autoclose int lock_fd = -1;
    struct jb_slot now;
    r = jb_slot_take(dir, (size_t)g, &lock_fd);
    if (r == 0)
        r = jb_slot_fetch(dir, (size_t)g, &now);
    if (r < 0)
        return r;
    if (!jb_streq(now.id.text, id->text)) /* recovered by somebody else while we looked */
        return -ENOENT;
    jb_autoclose int box_fd = open_box(dir, id);
    if (box_fd ==
        -ENOENT) { /* it died while being made, or in its release: nothing happened or all is recorded */
        r = remove_trash(dir, id);
        if (r == 0)
            r = jb_slot_store(dir, (size_t)g, &(struct jb_slot){0});
        return r < 0 ? r : -ENOENT;
    }
    if (box_fd < 0)
        return box_fd;
    *ret_box_fd = jb_take_fd(&box_fd);
    *ret_lock_fd = jb_take_fd(&lock_fd);
    return 0;
}

int jb_ledger_adopt(const struct jb_ledger_dir *dir, const struct jb_id *id, int *ret_box_fd,
                    int *ret_lock_fd, struct jb_error *err)
{
    if (!jb_id_valid(id->text))
        return jb_fail(err, EINVAL, "box id \"%.40s\" is not one", id->text);
    int r = adopt(dir, id, ret_box_fd, ret_lock_fd);
    if (r == -EAGAIN)
        return jb_fail(err, r, "box %s: somebody else holds it", id->text);
    if (r == -ENOENT)
        return jb_fail(err, r, "box %s: it is gone", id->text);
    return r < 0 ? jb_fail_errno(err, r, "box %s: taking it over", id->text) : 0;
}
