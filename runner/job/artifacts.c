/*
 * artifacts.c - globs over a dead job's files, copied out one by one.
 *
 * Owns: nothing. Runs in: the supervisor, with the submitter's credentials. Privilege: see artifacts.h.
 */
#include "job/artifacts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <sha2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "box/identity.h"

struct collect {
    const struct jb_plan *plan;
    const struct jb_plan_artifact *artifact;
    int root; /* the box's root */
    json_t *list;
    size_t files;
    uint64_t bytes;
    size_t text;        /* bytes of paths in `list` */
    size_t matched;     /* by the current artifact */
    const char *prefix; /* of the current artifact: what is left off in the destination folder */
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
        if (pwrite(out, buf, (size_t)n, from) != n)
            return errno ? -errno : -ENOSPC;
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

/* Written beside its place and renamed, so that nobody finds half a file. */
static int write_out(int in, const struct stat *st, const char *to, char digest[SHA256_DIGEST_STRING_LENGTH])
{
    const char *slash = strrchr(to, '/');
    jb_autofree char *parent = strndup(to, slash == to ? 1 : (size_t)(slash - to));
    jb_autoclose int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    jb_autoclose int dir = -1;
    char tmp[NAME_MAX + 1];
    if (!parent || root < 0)
        return -ENOMEM;
    int r = jb_mkdir_p(root, parent, 0777, (uid_t)-1, (gid_t)-1, JB_WALK_IN_ROOT, &dir);
    if (r < 0)
        return r;
    if (snprintf(tmp, sizeof(tmp), ".%s.jobbox", slash + 1) >= (int)sizeof(tmp))
        return -ENAMETOOLONG;
    (void)unlinkat(dir, tmp, 0);
    jb_autoclose int out = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                                  st->st_mode & 0100 ? 0777 : 0666);
    if (out < 0)
        return -errno;
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
    if (c->files >= JB_ARTIFACT_FILES_MAX)
        return "too many files";
    if ((uint64_t)st->st_size > JB_ARTIFACT_BYTES_MAX - c->bytes)
        return "too large";
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
    jb_autofree char *to =
        folder ? jb_asprintf("%s%s", c->artifact->to, path + strlen(c->prefix)) : strdup(c->artifact->to);
    if (!to)
        return -ENOMEM;
    c->matched++;
    int r = write_out(fd, &st, to, digest);
    if (r < 0)
        return note_errno(c, path, r);
    c->files++;
    c->text += strlen(path) + strlen(to) + sizeof(digest);
    c->bytes += (uint64_t)st.st_size;
    return json_array_append_new(c->list, json_pack("{s:o, s:o, s:I, s:s}", "path", jb_json_text(path), "to",
                                                    jb_json_text(to), "bytes", (json_int_t)st.st_size,
                                                    "sha256", digest)) < 0
               ? -ENOMEM
               : 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int not_dots(const struct dirent *e)
{
    return !jb_streq(e->d_name, ".") && !jb_streq(e->d_name, "..");
}

/* The names are the job's choice, and so is their number: the record takes so many of them. */
static bool list_is_full(const struct collect *c)
{
    return c->text >= JB_ARTIFACT_TEXT_MAX;
}

static int walk(struct collect *c, int dir, const char *path, const char *pattern, unsigned depth);

/* One name of a directory against the pattern that is left. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static int visit(struct collect *c, int dir, const char *name, const char *path, const char *pattern,
                 unsigned depth)
{
    size_t len = strcspn(pattern, "/");
    const char *rest = pattern[len] ? pattern + len + 1 : NULL;
    jb_autofree char *part = strndup(pattern, len);
    jb_autofree char *full = *path ? jb_asprintf("%s/%s", path, name) : strdup(name);
    if (!part || !full)
        return -ENOMEM;
    bool any = jb_streq(part, "**");
    jb_autoclose int sub = jb_open_at(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, JB_WALK_STRICT);
    bool is_dir = sub >= 0;
    if (any) { /* some directories deeper, or none: the rest of the pattern is tried on the same name */
        int r = is_dir ? walk(c, sub, full, pattern, depth + 1) : 0;
        if (r < 0 || !rest)
            return r < 0 || is_dir ? r : collect_file(c, dir, name, full);
        return visit(c, dir, name, path, rest, depth);
    }
    if (fnmatch(part, name, FNM_PERIOD) != 0)
        return 0;
    if (rest)
        return is_dir ? walk(c, sub, full, rest, depth + 1) : 0;
    return is_dir ? walk(c, sub, full, "**", depth + 1) : collect_file(c, dir, name, full);
}

/* NOLINTNEXTLINE(misc-no-recursion) */
static int walk(struct collect *c, int dir, const char *path, const char *pattern, unsigned depth)
{
    struct dirent **names = NULL;
    if (depth > JB_ARTIFACT_DEPTH_MAX)
        return note(c, path, "nested too deeply");
    size_t len = strcspn(pattern, "/");
    if (strcspn(pattern, "*?[\\") >= len) { /* a plain name: no need to look at the others */
        jb_autofree char *name = strndup(pattern, len);
        return name ? visit(c, dir, name, path, pattern, depth) : -ENOMEM;
    }
    int n = scandirat(dir, ".", &names, not_dots, by_name);
    if (n < 0)
        return note_errno(c, path, -errno);
    int r = 0;
    for (int i = 0; i < n; i++) {
        if (r == 0 && !list_is_full(c))
            r = visit(c, dir, names[i]->d_name, path, pattern, depth);
        free(names[i]);
    }
    free(names);
    return r;
}

/* Bytes of the path that are left off in the destination: up to the component with the first wildcard, or the
 * last. */
static size_t prefix_length(const char *path)
{
    size_t start = 0;
    for (;;) {
        size_t len = strcspn(path + start, "/");
        size_t wild = strcspn(path + start, "*?[\\"); /* an escape is one byte less in the real name */
        if (wild < len || path[start + len] == '\0')
            return start;
        start += len + 1;
    }
}

static int collect_all(void *ctx)
{
    struct collect *c = ctx;
    for (size_t i = 0; i < c->plan->n_artifacts; i++) {
        c->artifact = &c->plan->artifacts[i];
        c->matched = 0;
        const char *pattern = c->artifact->path + strspn(c->artifact->path, "/");
        jb_autofree char *prefix = strndup(pattern, prefix_length(pattern));
        if (!prefix)
            return -ENOMEM;
        c->prefix = prefix;
        size_t before = json_array_size(c->list);
        int r = walk(c, c->root, "", pattern, 0);
        if (r == 0 && json_array_size(c->list) == before)
            r = note(c, c->artifact->path, "nothing matches");
        if (r == 0 && list_is_full(c))
            return note(c, c->artifact->path,
                        "too many names for the record; what comes after these was left");
        if (r < 0)
            return r;
    }
    return 0;
}

int jb_artifacts_collect(const struct jb_plan *plan, const struct jb_box *box, json_t **ret,
                         struct jb_error *err)
{
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/%d/root", (int)box->pid);
    jb_autoclose int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return jb_fail_errno(err, errno, "opening the box to collect artifacts");
    struct collect c = {.plan = plan, .root = root, .list = json_array()};
    int r = c.list ? jb_as_submitter(plan, collect_all, &c, err) : -ENOMEM;
    if (r < 0) {
        json_decref(c.list);
        return jb_fail_errno(err, r, "collecting artifacts");
    }
    *ret = c.list;
    return 0;
}
