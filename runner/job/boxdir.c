/*
 * boxdir.c - saving and loading what recovery needs.
 *
 * Owns: nothing. Runs in: see boxdir.h. Privilege: see boxdir.h.
 */
#include "job/boxdir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "record/record.h"

#define FILE_MAX (4U << 20)

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
    bool on_disk = plan->n_ops > 0 && plan->ops[0].kind == JB_OP_SCRATCH_DIR;
    ok = ok && jb_json_set(recovery, "name", jb_json_text(plan->cgroup.name)) &&
         jb_json_set(recovery, "parent", jb_json_text(plan->cgroup.parent)) &&
         jb_json_set(recovery, "unified_only", json_boolean(plan->cgroups->unified_only)) &&
         jb_json_set(recovery, "scratch_on_disk", json_boolean(on_disk));
    if (ok)
        return recovery;
    json_decref(recovery);
    return NULL;
}

static int save(int box_fd, const char *name, const json_t *value, struct jb_error *err)
{
    jb_autofree char *line = NULL;
    size_t len;
    int r = jb_record_line(value, &line, &len, err);
    if (r < 0)
        return r;
    r = jb_replace_at(box_fd, name, line, len, 0600);
    return r < 0 ? jb_fail_errno(err, r, "writing %s of the box", name) : 0;
}

int jb_boxdir_save_plan(int box_fd, const struct jb_plan *plan, const json_t *record, struct jb_error *err)
{
    json_t *saved = json_object();
    int r = -ENOMEM;
    if (jb_json_set(saved, "record", json_incref((json_t *)record)) &&
        jb_json_set(saved, "recovery", make_recovery(plan)))
        r = save(box_fd, "plan.json", saved, err);
    else
        (void)jb_fail_errno(err, r, "plan.json");
    json_decref(saved);
    return r;
}

int jb_boxdir_save_record(int box_fd, const json_t *record, struct jb_error *err)
{
    return save(box_fd, "record.json", record, err);
}

/* NULL and 0 when the file is not there. */
static int load(int box_fd, const char *name, json_t **ret, struct jb_error *err)
{
    jb_autofree char *text = NULL;
    size_t len;
    json_error_t bad;
    *ret = NULL;
    jb_autoclose int fd = jb_open_at(box_fd, name, O_RDONLY | O_NOFOLLOW, 0, JB_WALK_STRICT);
    if (fd == -ENOENT)
        return 0;
    int r = fd < 0 ? fd : jb_read_fd(fd, FILE_MAX, &text, &len);
    if (r < 0)
        return jb_fail_errno(err, r, "reading %s of a box", name);
    *ret = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
    return *ret ? 0 : jb_fail(err, EBADMSG, "%s of a box: line %d: %s", name, bad.line, bad.text);
}

static char *copy_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? strdup(text) : NULL;
}

static int read_groups(const json_t *recovery, struct jb_boxdir_found *found)
{
    size_t i;
    json_t *group;
    found->cgroups.unified_only = json_is_true(json_object_get(recovery, "unified_only"));
    found->cgroup.name = copy_text(recovery, "name");
    found->cgroup.parent = copy_text(recovery, "parent");
    json_array_foreach(json_object_get(recovery, "cgroups"), i, group)
    {
        json_int_t c = json_integer_value(json_object_get(group, "controller"));
        if (c < 0 || c >= JB_CTL_MAX)
            return -EBADMSG;
        struct jb_cg_controller *ctl = &found->cgroups.ctl[c];
        free(ctl->mount);
        free(ctl->own);
        ctl->version = (int)json_integer_value(json_object_get(group, "version"));
        ctl->mount = copy_text(group, "mount");
        ctl->own = copy_text(group, "own");
        ctl->writable = true;
        found->cgroup.use[c] = true;
        if (!ctl->mount || !ctl->own)
            return -EBADMSG;
    }
    return found->cgroup.name ? 0 : -EBADMSG;
}

int jb_boxdir_load(int box_fd, struct jb_boxdir_found *ret, struct jb_error *err)
{
    struct jb_boxdir_found found = {0};
    json_t *plan = NULL;
    json_t *record = NULL;
    int r = load(box_fd, "plan.json", &plan, err);
    if (r == 0)
        r = load(box_fd, "record.json", &record, err);
    if (r == 0 && plan) {
        const json_t *recovery = json_object_get(plan, "recovery");
        found.scratch_on_disk = json_is_true(json_object_get(recovery, "scratch_on_disk"));
        found.finished = record != NULL;
        found.record = record ? json_incref(record) : json_incref(json_object_get(plan, "record"));
        r = read_groups(recovery, &found);
        if (r < 0)
            (void)jb_fail_errno(err, r, "plan.json of a box");
    }
    json_decref(plan);
    json_decref(record);
    if (r < 0) {
        jb_boxdir_found_free(&found);
        return r;
    }
    *ret = found;
    return 0;
}

void jb_boxdir_found_free(struct jb_boxdir_found *found)
{
    json_decref(found->record);
    jb_cg_layout_free(&found->cgroups);
    jb_cg_plan_free(&found->cgroup);
    *found = (struct jb_boxdir_found){0};
}

int jb_boxdir_remove_scratch(int state_fd, const struct jb_id *id, struct jb_error *err)
{
    jb_autoclose int dir = jb_open_at(state_fd, "scratch", O_RDONLY | O_DIRECTORY, 0, JB_WALK_STRICT);
    if (dir == -ENOENT)
        return 0;
    int r = dir < 0 ? dir : jb_remove_tree(dir, id->text);
    return r < 0 ? jb_fail_errno(err, r, "removing scratch/%s", id->text) : 0;
}
