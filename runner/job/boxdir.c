/*
 * boxdir.c - saving and loading what recovery needs.
 *
 * Owns: nothing. Runs in: see boxdir.h. Privilege: see boxdir.h.
 */
#include "job/boxdir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "job/control.h"
#include "job/events.h"
#include "record/record.h"

#define BOX_FILE     JB_BOX_FILE
#define STUCK_FILE   "stuck"
#define BOX_FILE_MAX (32U << 20)

#define JB_BOX_EXECS_MAX 1000

static json_t *make_recovery(const struct jb_plan *plan)
{
    json_t *recovery = json_object();
    json_t *groups = json_array();
    bool ok = jb_json_set(recovery, "cgroups", groups);
    for (enum jb_controller c = 0; ok && c < JB_CTL_MAX; c++) {
        const struct jb_cg_controller *ctl = &plan->cgroups->ctl[c];
        if (!plan->cgroup.use[c])
            continue;
        ok = json_array_append_new(groups, json_pack("{s:i, s:i, s:o, s:o}", "controller", (int)c, "version",
                                                     ctl->version, "mount", jb_json_text(ctl->mount), "own",
                                                     jb_json_text(ctl->own))) == 0;
    }
    bool on_disk = jb_plan_scratch_on_disk(plan);
    ok = ok && jb_json_set(recovery, "name", jb_json_text(plan->cgroup.name)) &&
         jb_json_set(recovery, "parent", jb_json_text(plan->cgroup.parent)) &&
         jb_json_set(recovery, "unified_only", json_boolean(plan->cgroups->unified_only)) &&
         jb_json_set(recovery, "scratch_on_disk", json_boolean(on_disk));
    if (ok)
        return recovery;
    json_decref(recovery);
    return NULL;
}

/* {key: value} as one line. */
static int add_line(struct jb_buf *buf, const char *key, const json_t *value, struct jb_error *err)
{
    jb_autofree char *line = NULL;
    size_t len;
    json_t *object = json_object();
    int r = jb_json_set(object, key, json_incref((json_t *)value)) ? jb_record_line(object, &line, &len, err)
                                                                   : jb_fail_errno(err, ENOMEM, BOX_FILE);
    json_decref(object);
    if (r == 0 && jb_buf_add(buf, line, len) < 0)
        r = jb_fail_errno(err, ENOMEM, BOX_FILE);
    return r;
}

static int append(int fd, const struct jb_buf *buf, struct jb_error *err)
{
    struct stat before;
    ssize_t n;
    if (fstat(fd, &before) < 0)
        return jb_fail_errno(err, errno, "writing " BOX_FILE " of the box");
    do
        n = write(fd, buf->data, buf->len);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)buf->len)
        return 0;
    int saved = n < 0 ? errno : ENOSPC;
    if (n > 0) /* the next line must not become part of half a line */
        (void)!ftruncate(fd, before.st_size);
    return jb_fail_errno(err, saved, "writing " BOX_FILE " of the box");
}

int jb_boxdir_begin(int box_fd, const struct jb_plan *plan, int *ret_fd, struct jb_buf *ret_line,
                    struct jb_error *err)
{
    jb_autobuf struct jb_buf buf = {0};
    json_t *recovery = make_recovery(plan);
    int r = recovery ? add_line(&buf, "plan", recovery, err) : jb_fail_errno(err, ENOMEM, BOX_FILE);
    json_decref(recovery);
    if (r == 0 && jb_buf_add(ret_line, buf.data, buf.len) < 0)
        r = jb_fail_errno(err, ENOMEM, BOX_FILE);
    if (r < 0)
        return r;
    jb_autoclose int fd =
        openat(box_fd, BOX_FILE, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return jb_fail_errno(err, errno, "making " BOX_FILE " of the box");
    JB_CRASH_POINT(box_file_made);
    r = append(fd, &buf, err);
    JB_CRASH_POINT(box_file_begun);
    if (r == 0)
        *ret_fd = jb_take_fd(&fd);
    return r;
}

/* The line is JSON already: it is wrapped, not parsed. */
static int wrap_line(const char *key, const char *line, size_t len, struct jb_buf *ret)
{
    int r = jb_buf_printf(ret, "{\"%s\":", key);
    if (r == 0)
        r = jb_buf_add(ret, line, len > 0 && line[len - 1] == '\n' ? len - 1 : len);
    return r < 0 ? r : jb_buf_puts(ret, "}\n");
}

int jb_boxdir_record_line(const char *line, size_t len, struct jb_buf *ret)
{
    return wrap_line("record", line, len, ret);
}

static int save(int fd, const char *key, const char *line, size_t len, struct jb_error *err)
{
    jb_autobuf struct jb_buf buf = {0};
    int r = wrap_line(key, line, len, &buf);
    return r < 0 ? jb_fail_errno(err, r, BOX_FILE) : append(fd, &buf, err);
}

int jb_boxdir_save_record(int fd, const char *line, size_t len, struct jb_error *err)
{
    return save(fd, "record", line, len, err);
}

int jb_boxdir_save_exec(int fd, const char *line, size_t len, struct jb_error *err)
{
    return save(fd, "exec", line, len, err);
}

int jb_boxdir_save_finished(int fd, const char *line, size_t len, struct jb_error *err)
{
    return save(fd, "finished", line, len, err);
}

static char *copy_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? strdup(text) : NULL;
}

static int read_group(const json_t *group, struct jb_cg_layout *layout, struct jb_cg_plan *plan)
{
    json_int_t c = json_integer_value(json_object_get(group, "controller"));
    json_int_t version = json_integer_value(json_object_get(group, "version"));
    if (!json_is_object(group) || c < 0 || c >= JB_CTL_MAX || (version != 1 && version != 2))
        return -EBADMSG;
    struct jb_cg_controller *ctl = &layout->ctl[c];
    free(ctl->mount);
    free(ctl->own);
    ctl->version = (int)version;
    ctl->mount = copy_text(group, "mount");
    ctl->own = copy_text(group, "own");
    ctl->writable = true;
    plan->use[c] = true;
    return ctl->mount && ctl->own ? 0 : -EBADMSG;
}

static int read_plan(const json_t *recovery, struct jb_boxdir_found *found)
{
    size_t i;
    json_t *group;
    struct jb_cg_layout layout = {.unified_only = json_is_true(json_object_get(recovery, "unified_only"))};
    struct jb_cg_plan plan = {.name = copy_text(recovery, "name"), .parent = copy_text(recovery, "parent")};
    int r = plan.name ? 0 : -EBADMSG;
    json_array_foreach(json_object_get(recovery, "cgroups"), i, group)
    {
        if (r == 0)
            r = read_group(group, &layout, &plan);
    }
    if (r < 0 || found->planned) {
        jb_cg_layout_free(&layout);
        jb_cg_plan_free(&plan);
        return r;
    }
    found->cgroups = layout;
    found->cgroup = plan;
    found->scratch_on_disk = json_is_true(json_object_get(recovery, "scratch_on_disk"));
    found->planned = true;
    return 0;
}

/* What is said later of a command stands in the place of what was said before. */
static void read_exec(struct jb_boxdir_found *found, json_t *exec)
{
    size_t i;
    json_t *other;
    json_int_t seq = json_integer_value(json_object_get(exec, "exec"));
    if (!found->execs)
        found->execs = json_array();
    json_array_foreach(found->execs, i, other)
    {
        if (json_integer_value(json_object_get(other, "exec")) == seq) {
            (void)json_array_set(found->execs, i, exec);
            return;
        }
    }
    if (json_array_size(found->execs) < JB_BOX_EXECS_MAX)
        (void)json_array_append(found->execs, exec);
}

/* Why the line counts for nothing; NULL: it counts. */
static const char *read_line(const char *line, size_t len, struct jb_boxdir_found *found, json_error_t *bad)
{
    json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, bad);
    if (!object)
        return bad->text;
    const json_t *plan = json_object_get(object, "plan");
    json_t *record = json_object_get(object, "record");
    json_t *finished = json_object_get(object, "finished");
    json_t *exec = json_object_get(object, "exec");
    const char *why = NULL;
    if (plan && read_plan(plan, found) < 0)
        why = "its plan makes no sense";
    if (finished)
        record = finished;
    if (record && !json_is_object(record))
        why = "its record is none";
    if (json_is_object(exec))
        read_exec(found, exec);
    else if (!plan && !record)
        why = "it is neither plan nor record";
    if (!why && record) {
        found->finished |= finished != NULL;
        json_decref(found->record);
        found->record = json_incref(record);
    }
    json_decref(object);
    return why;
}

static void read_lines(const char *text, struct jb_boxdir_found *found)
{
    const char *end;
    unsigned number = 1;
    for (const char *line = text; (end = strchr(line, '\n')); line = end + 1, number++) {
        json_error_t bad;
        const char *why = read_line(line, (size_t)(end - line), found, &bad);
        if (why && !found->damage[0])
            (void)snprintf(found->damage, sizeof(found->damage), "line %u of " BOX_FILE ": %s", number, why);
    }
}

void jb_boxdir_learn(const char *lines, struct jb_boxdir_found *found)
{
    struct jb_boxdir_found other = {.fd = -1};
    read_lines(lines, &other);
    if (!found->record)
        found->record = json_incref(other.record);
    if (!found->planned && other.planned) {
        found->cgroups = other.cgroups;
        found->cgroup = other.cgroup;
        found->scratch_on_disk = other.scratch_on_disk;
        found->planned = true;
        other.cgroups = (struct jb_cg_layout){0};
        other.cgroup = (struct jb_cg_plan){0};
    }
    jb_boxdir_found_free(&other);
}

/* What somebody else could have written is not what our supervisor wrote. */
static int check_owner(int fd, bool folder, struct jb_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return jb_fail_errno(err, errno, "%s", folder ? "its folder" : BOX_FILE);
    bool right_kind = folder ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode) && st.st_nlink == 1;
    if (right_kind && st.st_uid == geteuid() && !(st.st_mode & 022))
        return 0;
    return jb_fail(
        err, EPERM,
        "its %s was not made by jobbox (owner, mode or kind are wrong), so nothing of it is believed "
        "and it is left alone: remove the folder",
        folder ? "folder" : BOX_FILE);
}

/* 0: box.jsonl is read, or is not there. `flags`: how it is opened. *ret_len: its bytes that are whole lines, *ret_half: more are. */
static int load(int box_fd, int flags, struct jb_boxdir_found *found, size_t *ret_len, bool *ret_half,
                struct jb_error *err)
{
    jb_autofree char *text = NULL;
    size_t len = 0;
    int r = check_owner(box_fd, true, err);
    if (r < 0)
        return r;
    found->fd = jb_open_at(box_fd, BOX_FILE, flags | O_NOFOLLOW | O_NONBLOCK, 0, JB_WALK_STRICT);
    if (found->fd == -ENOENT) {
        found->fd = -1;
        return 0;
    }
    if (found->fd < 0)
        return jb_fail_errno(err, found->fd, "reading " BOX_FILE " of a box");
    r = check_owner(found->fd, false, err);
    if (r == 0 && (r = jb_read_fd(found->fd, BOX_FILE_MAX, &text, &len)) < 0)
        r = jb_fail_errno(err, r, "reading " BOX_FILE " of a box");
    if (r == 0)
        read_lines(text, found);
    size_t whole = len;
    while (whole > 0 && text[whole - 1] != '\n')
        whole--;
    *ret_len = whole;
    *ret_half = whole < len;
    return r;
}

int jb_boxdir_load(int box_fd, struct jb_boxdir_found *ret, struct jb_error *err)
{
    struct jb_boxdir_found found = {.fd = -1};
    size_t whole = 0;
    bool half = false;
    int r = load(box_fd, O_RDWR | O_APPEND, &found, &whole, &half, err);
    /* whoever died in the middle of a write left a line without an end; ours must not become part of it */
    if (r == 0 && half && ftruncate(found.fd, (off_t)whole) < 0)
        r = jb_fail_errno(err, errno, "cutting half a line off " BOX_FILE " of a box");
    if (r < 0) {
        jb_boxdir_found_free(&found);
        return r;
    }
    *ret = found;
    return 0;
}

int jb_boxdir_look(int box_fd, struct jb_boxdir_found *ret, struct jb_error *err)
{
    struct jb_boxdir_found found = {.fd = -1};
    size_t whole;
    bool half;
    int r = load(box_fd, O_RDONLY, &found, &whole, &half, err);
    jb_close(&found.fd);
    if (r < 0) {
        jb_boxdir_found_free(&found);
        return r;
    }
    *ret = found;
    return 0;
}

void jb_boxdir_found_free(struct jb_boxdir_found *found)
{
    jb_close(&found->fd);
    json_decref(found->record);
    json_decref(found->execs);
    jb_cg_layout_free(&found->cgroups);
    jb_cg_plan_free(&found->cgroup);
    *found = (struct jb_boxdir_found){.fd = -1};
}

void jb_boxdir_set_stuck(int box_fd)
{
    int fd = openat(box_fd, STUCK_FILE, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    jb_close(&fd); /* without it the next one waits longer, that is all */
}

bool jb_boxdir_is_stuck(int box_fd)
{
    struct stat st;
    return fstatat(box_fd, STUCK_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

void jb_boxdir_end(int box_fd)
{
    static const char *const names[] = {JB_CONTROL_NAME, JB_EVENTS_NAME, BOX_FILE};
    for (size_t i = 0; i < JB_ARRAY_LEN(names); i++)
        (void)unlinkat(box_fd, names[i], 0); /* where it stays, it goes with the folder */
}
