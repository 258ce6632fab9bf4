/*
 * artifacts.c - globs over a dead job's files, copied out one by one.
 *
 * Owns: nothing. Runs in: the supervisor, with the submitter's credentials. Privilege: see artifacts.h.
 */
#include "job/artifacts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <sha2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/glob.h"
#include "base/json.h"
#include "base/str.h"
#include "box/identity.h"

#define TMP_NAME        24   /* bytes of a temporary name */
#define TMP_MAX_AT_ONCE 1000 /* files being written into one folder */

struct collect {
    const struct jb_plan *plan;
    const struct jb_plan_artifact *artifact;
    bool success; /* the job's */
    int root;     /* the box's root */
    json_t *list;
    uint64_t files, bytes;         /* brought out, of all artifacts */
    uint64_t own_files, own_bytes; /* of the current one */
    size_t looked;                 /* names listed, of all */
    struct jb_glob glob;           /* of the current artifact */
    size_t text;                   /* bytes of paths in `list` */
    size_t matched;                /* by the current artifact */
    char *closed;                  /* owned: the first folder that could not be looked into, NULL: none */
    int closed_why;                /* negative errno */
    size_t n_closed;               /* folders, by the current artifact */
    unsigned common;               /* folders of the current one that are left off in the destination */
};

static int note(struct collect *c, const char *path, const char *error)
{
    c->text += strlen(path) + strlen(error);
    return json_array_append_new(
               c->list, json_pack("{s:o, s:o}", "path", jb_json_text(path), "error", jb_json_text(error))) < 0
               ? -ENOMEM
               : 0;
}

static int note_errno(struct collect *c, const char *path, int r)
{
    return note(c, path, strerrordesc_np(-r) ?: "unknown error");
}

/* Copies [from, to) of the data; what is between the stretches of data stays a hole. */
static int copy_stretch(int in, int out, off_t from, off_t to, SHA2_CTX *sha)
{
    jb_autofree char *buf = malloc(1 << 16);
    if (!buf)
        return -ENOMEM;
    while (from < to) {
        size_t want = to - from < (1 << 16) ? (size_t)(to - from) : 1 << 16;
        ssize_t n = pread(in, buf, want, from);
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO; /* shrunk under our hands: nobody should be alive to do that */
        for (ssize_t done = 0, some; done < n; done += some) {
            some = pwrite(out, buf + done, (size_t)(n - done), from + done);
            if (some < 0)
                return -errno;
        }
        SHA256Update(sha, (const uint8_t *)buf, (size_t)n);
        from += n;
    }
    return 0;
}

static void hash_hole(SHA2_CTX *sha, off_t len)
{
    static const uint8_t zeros[4096];
    for (; len > 0; len -= (off_t)sizeof(zeros))
        SHA256Update(sha, zeros, len < (off_t)sizeof(zeros) ? (size_t)len : sizeof(zeros));
}

static int copy_data(int in, int out, off_t size, char digest[SHA256_DIGEST_STRING_LENGTH])
{
    SHA2_CTX sha;
    SHA256Init(&sha);
    for (off_t at = 0; at < size;) {
        off_t data = lseek(in, at, SEEK_DATA);
        if (data < 0 && errno != ENXIO && errno != EINVAL)
            return -errno;
        if (data < 0)
            data = errno == EINVAL ? at : size;
        if (data > size)
            data = size;
        hash_hole(&sha, data - at);
        off_t hole = data < size ? lseek(in, data, SEEK_HOLE) : size;
        if (hole < 0 || hole > size)
            hole = size;
        int r = copy_stretch(in, out, data, hole, &sha);
        if (r < 0)
            return r;
        at = hole;
    }
    (void)SHA256End(&sha, digest);
    return ftruncate(out, size) < 0 ? -errno : 0;
}

/* The place of a name, by descriptor: what stands there is what is open, and not what somebody put there since. */
static bool is_still(int dir, const char *name, int fd)
{
    struct stat a;
    struct stat b;
    return fstat(fd, &a) == 0 && fstatat(dir, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* Of somebody who was killed while he wrote: nobody holds it. Only who does may remove it or give it its name. */
static void remove_left(int dir, const char *name)
{
    struct stat st;
    jb_autoclose int fd = openat(dir, name, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && jb_lock_try(fd) == 0 &&
        is_still(dir, name, fd))
        (void)unlinkat(dir, name, 0);
}

/*
 * A file beside the place, under a short name of its own: others may bring something out into the same folder, even under
 * the same name, at the same time. It is locked for as long as it is written; where the file system has no locks, what is
 * left of the dead stays.
 */
static int open_beside(int dir, mode_t mode, char tmp[TMP_NAME])
{
    for (unsigned i = 0; i < TMP_MAX_AT_ONCE; i++) {
        (void)snprintf(tmp, TMP_NAME, ".jobbox-%u", i);
        remove_left(dir, tmp);
        jb_autoclose int fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd < 0 && errno != EEXIST)
            return -errno;
        if (fd < 0 || jb_lock_try(fd) == -EAGAIN || !is_still(dir, tmp, fd)) /* taken for a dead one's */
            continue;
        return jb_take_fd(&fd);
    }
    return -EBUSY;
}

/* Written beside its place and renamed, so that nobody finds half a file. */
static int write_out(int in, const struct stat *st, const char *to, char digest[SHA256_DIGEST_STRING_LENGTH])
{
    const char *slash = strrchr(to, '/');
    jb_autofree char *parent = strndup(to, slash == to ? 1 : (size_t)(slash - to));
    jb_autoclose int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    jb_autoclose int dir = -1;
    char tmp[TMP_NAME];
    if (!parent || root < 0)
        return -ENOMEM;
    int r = jb_mkdir_p(root, parent, 0777, (uid_t)-1, (gid_t)-1, JB_WALK_IN_ROOT, &dir);
    if (r < 0)
        return r;
    jb_autoclose int out = open_beside(dir, st->st_mode & 0100 ? 0777 : 0666, tmp);
    if (out < 0)
        return out;
    r = copy_data(in, out, st->st_size, digest);
    if (r == 0 && renameat(dir, tmp, dir, slash + 1) < 0)
        r = -errno;
    if (r < 0)
        (void)unlinkat(dir, tmp, 0);
    return r;
}

static const char *unfit(const struct collect *c, const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return S_ISLNK(st->st_mode) ? "a symlink is not collected" : "not a regular file";
    if (st->st_nlink != 1)
        return "it has several links";
    if (c->own_files >= c->artifact->max_files)
        return "too many files: this artifact's max_files are out already";
    if (c->files >= c->plan->artifact_files_max)
        return "too many files: as many as the site allows are out already";
    if ((uint64_t)st->st_size > c->artifact->max_bytes - c->own_bytes)
        return "too large: with it there would be more than this artifact's max_bytes";
    if ((uint64_t)st->st_size > c->plan->artifact_bytes_max - c->bytes)
        return "too large: with it there would be more than the site allows";
    return NULL;
}

/* `path`: from the root of the box, without a leading slash. */
static int collect_file(struct collect *c, int dir, const char *name, const char *path)
{
    char digest[SHA256_DIGEST_STRING_LENGTH] = "";
    struct stat st;
    /* opened without following and without waiting for a FIFO's writer, then judged by what was opened */
    jb_autoclose int fd =
        jb_open_at(dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY, 0, JB_WALK_STRICT);
    if (fd < 0)
        return fd == -ELOOP ? note(c, path, "a symlink is not collected") : note_errno(c, path, fd);
    if (fstat(fd, &st) < 0)
        return note_errno(c, path, -errno);
    const char *why = unfit(c, &st);
    if (why)
        return note(c, path, why);
    size_t to_len = strlen(c->artifact->to);
    bool folder = to_len > 0 && c->artifact->to[to_len - 1] == '/';
    if (!folder && c->matched > 0)
        return note(c, path, "several files match, but \"to\" names one file; end it in \"/\" for a folder");
    const char *below = path;
    for (unsigned i = 0; i < c->common; i++)
        below += strcspn(below, "/") + 1;
    jb_autofree char *to = folder ? jb_asprintf("%s%s", c->artifact->to, below) : strdup(c->artifact->to);
    if (!to)
        return -ENOMEM;
    c->matched++;
    int r = write_out(fd, &st, to, digest);
    if (r < 0)
        return note_errno(c, path, r);
    c->files++;
    c->own_files++;
    c->own_bytes += (uint64_t)st.st_size;
    c->text += strlen(path) + strlen(to) + sizeof(digest);
    c->bytes += (uint64_t)st.st_size;
    return json_array_append_new(c->list, json_pack("{s:o, s:o, s:I, s:s}", "path", jb_json_text(path), "to",
                                                    jb_json_text(to), "bytes", (json_int_t)st.st_size,
                                                    "sha256", digest)) < 0
               ? -ENOMEM
               : 0;
}

/* The names are the job's choice, and so is their number: the record takes so many of them. */
static bool list_is_full(const struct collect *c)
{
    return c->text >= JB_ARTIFACT_TEXT_MAX;
}

struct names {
    char **items;
    size_t len, cap;
};

static void free_names(struct names *names)
{
    for (size_t i = 0; i < names->len; i++)
        free(names->items[i]);
    free(names->items);
}

static int keep_name(struct names *names, const char *name)
{
    if (names->len == names->cap) {
        size_t cap = names->cap ? names->cap * 2 : 64;
        char **grown = realloc(names->items, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        names->items = grown;
        names->cap = cap;
    }
    names->items[names->len] = strdup(name);
    return names->items[names->len] ? (names->len++, 0) : -ENOMEM;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names that lead on, sorted. What does not is not kept: a folder may hold millions. */
static int list_names(struct collect *c, int dir, const char *path, uint64_t state, struct names *ret)
{
    jb_autoclose int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    jb_autodir DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (!list)
        return note_errno(c, path, -errno);
    (void)jb_take_fd(&fd); /* the stream's */
    size_t bytes = 0;
    for (const struct dirent *e; (e = readdir(list));) {
        if (jb_streq(e->d_name, ".") || jb_streq(e->d_name, ".."))
            continue;
        if (c->looked++ >= JB_ARTIFACT_LOOK_MAX || bytes >= JB_ARTIFACT_NAMES_MAX)
            return note(c, path, "too many names to look through; some were left");
        if (jb_glob_step(&c->glob, state, e->d_name) == 0)
            continue;
        bytes += strlen(e->d_name) + 1;
        int r = keep_name(ret, e->d_name);
        if (r < 0)
            return r;
    }
    return 0;
}

/* What of it would have matched nobody knows. A pattern may come by many of them: the record has the first, and how many. */
static int keep_closed(struct collect *c, const char *path, int why)
{
    if (why == -ENOTDIR || why == -ELOOP || why == -ENOENT)
        return 0;
    if (c->n_closed++ > 0)
        return 0;
    c->closed_why = why;
    c->closed = strdup(path);
    return c->closed ? 0 : -ENOMEM;
}

static int note_closed(struct collect *c)
{
    char text[128];
    if (c->n_closed == 0)
        return 0;
    const char *why = strerrordesc_np(-c->closed_why) ?: "unknown error";
    if (c->n_closed == 1)
        (void)snprintf(text, sizeof(text), "the folder could not be looked into: %s", why);
    else
        (void)snprintf(text, sizeof(text), "the folder, and %zu more, could not be looked into: %s",
                       c->n_closed - 1, why);
    return note(c, c->closed, text);
}

static int walk(struct collect *c, int dir, const char *path, uint64_t state, unsigned depth);

/* One name of a folder. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static int visit(struct collect *c, int dir, const char *name, const char *path, uint64_t state,
                 unsigned depth)
{
    uint64_t next = jb_glob_step(&c->glob, state, name);
    if (next == 0)
        return 0;
    jb_autofree char *full = *path ? jb_asprintf("%s/%s", path, name) : strdup(name);
    if (!full)
        return -ENOMEM;
    jb_autoclose int sub = jb_open_at(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, JB_WALK_STRICT);
    if (sub >= 0)
        return walk(c, sub, full, next, depth + 1);
    return jb_glob_matches(&c->glob, next) ? collect_file(c, dir, name, full) : keep_closed(c, full, sub);
}

/* Each folder is listed once, for all places of the pattern that it may stand for. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static int walk(struct collect *c, int dir, const char *path, uint64_t state, unsigned depth)
{
    if (depth > JB_ARTIFACT_DEPTH_MAX)
        return note(c, path, "nested too deeply");
    const char *only = jb_glob_only(&c->glob, state);
    if (only)
        return visit(c, dir, only, path, state, depth);
    struct names names = {0};
    int r = list_names(c, dir, path, state, &names);
    if (names.len > 0)
        qsort(names.items, names.len, sizeof(*names.items), by_name);
    for (size_t i = 0; r == 0 && i < names.len && !list_is_full(c); i++)
        r = visit(c, dir, names.items[i], path, state, depth);
    free_names(&names);
    return r;
}

/* How many folders of the path are left off in the destination: those before the first wildcard, or the last name. */
static unsigned common_folders(const struct jb_glob *glob)
{
    unsigned i = 0;
    while (i + 1 < glob->n && !strpbrk(glob->parts[i], "*?[\\"))
        i++;
    return i;
}

static bool wanted(const struct collect *c)
{
    return c->artifact->when == JB_ARTIFACT_ALWAYS ||
           (c->artifact->when == JB_ARTIFACT_ON_SUCCESS) == c->success;
}

static int collect_one(struct collect *c)
{
    int r = jb_glob_make(c->artifact->path, &c->glob);
    if (r < 0)
        return r;
    c->common = common_folders(&c->glob);
    c->matched = 0;
    c->own_files = 0;
    c->own_bytes = 0;
    c->n_closed = 0;
    size_t before = json_array_size(c->list);
    r = walk(c, c->root, "", jb_glob_start(&c->glob), 0);
    jb_glob_free(&c->glob);
    if (r == 0)
        r = note_closed(c);
    free(jb_take_ptr(c->closed));
    return r == 0 && json_array_size(c->list) == before ? note(c, c->artifact->path, "nothing matches") : r;
}

static int collect_all(void *ctx)
{
    struct collect *c = ctx;
    for (size_t i = 0; i < c->plan->n_artifacts; i++) {
        c->artifact = &c->plan->artifacts[i];
        if (!wanted(c))
            continue;
        int r = collect_one(c);
        if (r == 0 && list_is_full(c))
            return note(c, c->artifact->path,
                        "too many names for the record; what comes after these was left");
        if (r < 0)
            return r;
    }
    return 0;
}

static int open_root(const struct jb_box *box)
{
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/%d/root", (int)box->pid);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* In a child that ends with this; its list comes back as text. */
static _Noreturn void collect_as_one_of_the_box(struct collect *c, const struct jb_box *box, pid_t parent,
                                                int to)
{
    int r = setns(box->pidfd, CLONE_NEWUSER) < 0 ? -errno : 0;
    /* other credentials forget it */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
        _exit(1);
    if (r == 0)
        c->root = open_root(box);
    if (r == 0)
        r = c->root < 0 ? c->root : collect_all(c);
    if (r == 0 && json_dumpfd(c->list, to, JSON_COMPACT) < 0)
        r = -EIO;
    _exit(-r & 0xff);
}

/*
 * The root of a box that fuse-overlayfs serves is shown to nobody outside of its user namespace. In there the submitter is
 * still himself: what he may write on the host has not changed.
 */
static int collect_inside(struct collect *c, const struct jb_box *box)
{
    int status = 0;
    jb_autoclose int text = memfd_create("artifacts", MFD_CLOEXEC);
    if (text < 0)
        return -errno;
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        collect_as_one_of_the_box(c, box, parent, text);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
    json_t *list = lseek(text, 0, SEEK_SET) < 0 ? NULL : json_loadfd(text, 0, NULL);
    if (!list)
        return -EIO;
    json_decref(c->list);
    c->list = list;
    return 0;
}

int jb_artifacts_collect(const struct jb_plan *plan, const struct jb_box *box, bool success, json_t **ret,
                         struct jb_error *err)
{
    jb_autoclose int root = plan->fuse.program ? -1 : open_root(box);
    if (root < 0 && !plan->fuse.program)
        return jb_fail_errno(err, root, "opening the box to collect artifacts");
    struct collect c = {.plan = plan, .success = success, .root = root, .list = json_array()};
    int r = !c.list              ? -ENOMEM
            : plan->fuse.program ? collect_inside(&c, box)
                                 : jb_as_submitter(plan, collect_all, &c, err);
    if (r < 0) {
        json_decref(c.list);
        return jb_fail_errno(err, r, "collecting artifacts");
    }
    *ret = c.list;
    return 0;
}
