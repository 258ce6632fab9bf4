/*
 * hand_over.c - what root's queue kept of somebody's job becomes a kept box of his own.
 *
 * Owns: nothing. Runs in: a child of the nursery, for this alone. Privilege: root's to read; what is written is written with
 * the credentials of whose it is, into a folder that he has made.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "box/identity.h"
#include "job/kept/kept.h"

#define FILE_MAX (4U << 20)

struct handing {
    const struct jb_kept *kept;
    const char *dir;
    int fs; /* of the kept box */
    struct jb_copied *sum;
    struct jb_error *err;
};

static int copy_file(const struct handing *h, int to, const char *name)
{
    jb_autofree char *text = NULL;
    size_t len = 0;
    int r = jb_read_at(h->kept->fd, name, FILE_MAX, &text, &len);
    return r < 0 ? jb_fail_errno(h->err, r, "%s", name) : jb_kept_write(to, name, text, len, h->err);
}

/* With his identity. Only reading is root's, and only from descriptors of root's store on. */
static int write_as_him(void *ctx)
{
    const struct handing *h = ctx;
    jb_autoclose int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    /* no magic links: by /proc/self/fd he would come past the folders of root's store into what is his there */
    jb_autoclose int dir =
        root < 0 ? -errno : jb_open_at(root, h->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, JB_WALK_IN_ROOT);
    if (dir < 0 || mkdirat(dir, "fs", 0755) < 0)
        return jb_fail_errno(h->err, dir < 0 ? dir : errno, "%s", h->dir);
    jb_autoclose int to = openat(dir, "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0)
        return jb_fail_errno(h->err, errno, "%s/fs", h->dir);
    int r = jb_raise_capability(CAP_DAC_READ_SEARCH);
    if (r == 0) /* his quota holds, and what the file system reserves for root is not for him */
        r = jb_drop_capability(CAP_SYS_RESOURCE);
    if (r < 0)
        return jb_fail_errno(h->err, r, "reading what was kept");
    const struct jb_copy copy = {
        .from = h->fs, .to = to, .max_bytes = JB_UNSET, .max_files = JB_UNSET, .for_user = true};
    r = jb_copy_tree(&copy, h->sum, h->err);
    if (r == 0)
        r = copy_file(h, dir, "spec.yaml");
    if (r == 0)
        r = copy_file(h, dir, "about.json");
    if (r == 0 && syncfs(dir) < 0)
        r = jb_fail_errno(h->err, errno, "writing it to the disk");
    return r;
}

int jb_kept_hand_over(int state_fd, const char *id, const struct jb_submitter *who, const char *dir,
                      struct jb_copied *ret, struct jb_error *err)
{
    jb_autokept struct jb_kept kept = JB_KEPT_INIT;
    struct jb_copied sum = {0};
    int r = jb_kept_find_of(state_fd, id, who->uid, &kept, err);
    if (r < 0)
        return r;
    jb_autoclose int fs = openat(kept.fd, "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fs < 0)
        return jb_fail_errno(err, errno, "kept box %s", kept.id.text);
    struct handing h = {&kept, dir, fs, &sum, err};
    r = jb_as_user(who, write_as_him, &h, err);
    if (r == 0)
        *ret = sum;
    return r;
}
