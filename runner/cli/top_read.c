/*
 * top_read.c - what the live boxes use now.
 *
 * Owns: the open groups of the boxes. Runs in: the client. Privilege: the user's.
 *
 * The figures come from the groups, whose names are in the box's folder. Phase, time and limits are the supervisor's: they
 * change while the job runs. One that does not answer holds up the table once, and is then left alone for a while.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/units.h"
#include "cli/top.h"
#include "job/boxdir.h"
#include "job/control.h"

#define PATIENCE_MS 150
#define QUIET       10

static void box_free(struct jb_top_box *box)
{
    jb_cgroup_free(box->cgroup);
    box->cgroup = NULL;
}

void jb_top_free(struct jb_top *top)
{
    for (size_t i = 0; i < top->n; i++)
        box_free(&top->boxes[i]);
    free(top->boxes);
    jb_client_close(&top->queue);
    jb_close(&top->queue_boxes_fd);
    jb_cli_job_free(&top->job);
    *top = JB_TOP_INIT;
}

/* A box without groups has none; one whose folder cannot be read has none that we know. */
static struct jb_cgroup *open_groups(int boxes_fd, const struct jb_id *id)
{
    struct jb_boxdir_found found;
    struct jb_cgroup *cgroup = NULL;
    jb_autoclose int fd = openat(boxes_fd, id->text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || jb_boxdir_look(fd, &found, NULL) < 0)
        return NULL;
    if (found.planned && jb_cgroup_open(&found.cgroups, &found.cgroup, &cgroup, NULL) < 0)
        cgroup = NULL;
    jb_boxdir_found_free(&found);
    return cgroup;
}

static uint64_t ns_of(const json_t *answer, const char *key)
{
    const json_t *value = json_object_get(answer, key);
    double s = json_is_number(value) ? json_number_value(value) : -1;
    return s >= 0 && s < 1e10 ? (uint64_t)(s * 1e9) : JB_UNSET;
}

static uint64_t number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) && json_integer_value(value) >= 0 ? (uint64_t)json_integer_value(value)
                                                                    : JB_UNSET;
}

/* What the supervisor counts, of groups that are not ours to open. */
static void take_usage(const json_t *answer, struct jb_top_box *box)
{
    const json_t *usage = json_object_get(answer, "usage");
    const char *cpus = json_string_value(json_object_get(answer, "cpus"));
    if (json_is_object(usage))
        box->now = (struct jb_top_reading){
            .at_ns = jb_mono_ns(NULL),
            .cpu_us = number_of(usage, "cpu_us"),
            .memory = number_of(usage, "memory_bytes"),
            .pids = number_of(usage, "pids"),
            .read_bytes = number_of(usage, "read_bytes"),
            .written_bytes = number_of(usage, "written_bytes"),
            .memory_some_us = number_of(usage, "memory_some_us"),
            .memory_full_us = number_of(usage, "memory_full_us"),
        };
    if (cpus)
        (void)jb_cpus_parse(cpus, &box->holding.cpus);
}

static void ask(struct jb_top_box *box)
{
    struct jb_error err;
    json_t *answer = NULL;
    box->phase[0] = '\0';
    box->wall_ns = box->wall_limit_ns = box->memory_limit = JB_UNSET;
    if (box->quiet > 0) {
        box->quiet--;
        return;
    }
    json_t *request = json_pack("{s:s}", "verb", "status");
    int r = jb_control_ask(box->boxes_fd, &box->holding.id, request, PATIENCE_MS, &answer, &err);
    json_decref(request);
    if (r < 0) {
        box->quiet = r == -ETIMEDOUT ? QUIET : 0;
        return;
    }
    const char *phase = json_string_value(json_object_get(answer, "phase"));
    (void)snprintf(box->phase, sizeof(box->phase), "%s", phase ? phase : "");
    box->wall_ns = ns_of(answer, "wall_s");
    box->wall_limit_ns = ns_of(answer, "wall_time_s");
    box->memory_limit = number_of(answer, "memory_max_bytes");
    if (!box->cgroup)
        take_usage(answer, box);
    json_decref(answer);
}

static void read_groups(struct jb_top_box *box)
{
    struct jb_top_reading *now = &box->now;
    struct jb_cg_usage usage;
    *now = (struct jb_top_reading){jb_mono_ns(NULL), JB_UNSET, JB_UNSET, JB_UNSET,
                                   JB_UNSET,         JB_UNSET, JB_UNSET, JB_UNSET};
    if (!box->cgroup || jb_cgroup_usage(box->cgroup, &usage, NULL) < 0)
        return;
    now->cpu_us = usage.cpu_total_us;
    now->read_bytes = usage.read_bytes;
    now->written_bytes = usage.written_bytes;
    now->memory_some_us = usage.psi_memory_some_us;
    now->memory_full_us = usage.psi_memory_full_us;
    now->memory = jb_cgroup_memory_now(box->cgroup);
    now->pids = jb_cgroup_pids_now(box->cgroup);
    jb_cg_usage_free(&usage);
}

/* How much it grew in a second of that time. */
static double rate(uint64_t before, uint64_t now, uint64_t ns)
{
    if (before == JB_UNSET || now == JB_UNSET || now < before || ns == 0)
        return NAN;
    return (double)(now - before) / ((double)ns / 1e9);
}

static void set_rates(struct jb_top_box *box)
{
    const struct jb_top_reading *before = &box->before;
    const struct jb_top_reading *now = &box->now;
    uint64_t ns = before->at_ns ? now->at_ns - before->at_ns : 0;
    box->cpu = rate(before->cpu_us, now->cpu_us, ns) / 1e6;
    box->memory_some = rate(before->memory_some_us, now->memory_some_us, ns) / 1e6;
    box->memory_full = rate(before->memory_full_us, now->memory_full_us, ns) / 1e6;
    box->read_rate = rate(before->read_bytes, now->read_bytes, ns);
    box->written_rate = rate(before->written_bytes, now->written_bytes, ns);
}

/* The ledger's directory, as soon as somebody has started a box. 0: there is none yet. */
static int open_ledger(struct jb_top *top, struct jb_error *err)
{
    struct jb_state *state = &top->job.state;
    if (state->ledger.boxes_fd >= 0)
        return 1;
    jb_close(&state->runtime_fd);
    int r = jb_cli_peek(state, err);
    if (r == -ENOENT || (r == -EACCES && top->job.submitter.uid != 0)) /* root's: none of ours can be in it */
        return 0;
    return r < 0 ? r : 1;
}

static int by_id(const void *a, const void *b)
{
    const struct jb_top_box *x = a;
    const struct jb_top_box *y = b;
    return strcmp(x->holding.id.text, y->holding.id.text);
}

void jb_top_set_box(struct jb_top *top, struct jb_top_box *box, const struct jb_holding *holding,
                    int boxes_fd)
{
    const struct jb_top_box key = {.holding = {.id = holding->id}};
    struct jb_top_box *old = top->n ? bsearch(&key, top->boxes, top->n, sizeof(*top->boxes), by_id) : NULL;
    if (old) {
        *box = *old;
        old->cgroup = NULL;
        box->before = box->now;
    } else {
        jb_cli_user_name(holding->uid, box->user, sizeof(box->user));
    }
    box->holding = *holding;
    box->holding.devices = NULL;
    box->boxes_fd = boxes_fd;
    if (!box->cgroup) /* a box is in the ledger before its groups are made */
        box->cgroup = open_groups(boxes_fd, &holding->id);
    read_groups(box);
    ask(box);
    set_rates(box);
}

int jb_top_read(struct jb_top *top, struct jb_error *err)
{
    struct jb_ledger ledger = {0};
    int r = open_ledger(top, err);
    if (r > 0)
        r = jb_ledger_read(&top->job.state.ledger, &ledger, err);
    struct jb_top_box *boxes = r < 0 ? NULL : calloc(ledger.len + 1, sizeof(*boxes));
    if (!boxes) {
        jb_ledger_free(&ledger);
        return r < 0 ? r : jb_fail_errno(err, ENOMEM, "top");
    }
    if (top->n > 0)
        qsort(top->boxes, top->n, sizeof(*top->boxes), by_id);
    for (size_t i = 0; i < ledger.len; i++) {
        struct jb_holding holding;
        jb_ledger_get(&ledger, i, &holding);
        jb_top_set_box(top, &boxes[i], &holding, top->job.state.ledger.boxes_fd);
    }
    size_t n = jb_top_read_queue(top, &boxes, ledger.len);
    for (size_t i = 0; i < top->n; i++)
        box_free(&top->boxes[i]);
    free(top->boxes);
    top->boxes = boxes;
    top->n = n;
    jb_ledger_free(&ledger);
    return 0;
}
