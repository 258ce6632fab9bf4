/*
 * exec_begin.c - a command for a box: from the request to a member that is on its way into it.
 *
 * Owns: struct jb_exec, made and freed here. Runs in: the supervisor, in its loop. Privilege: as the box's.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "box/enter.h"
#include "job/exec/execs.h"

#define ENTER_TIME (60 * JB_NS_PER_S) /* to be in the box */

static int choose_user(struct jb_exec *e, struct jb_error *err)
{
    const struct jb_exec_ask *ask = &e->ask;
    struct jb_plan *plan = &e->plan;
    if (!ask->user_said || (ask->uid == plan->uid && ask->gid == plan->gid))
        return 0;
    if (plan->userns)
        return jb_fail(err, EPERM, "user %u:%u: this box has no other user than %u:%u", (unsigned)ask->uid,
                       (unsigned)ask->gid, (unsigned)plan->uid, (unsigned)plan->gid);
    if (e->by.uid != 0)
        return jb_fail(err, EPERM, "user %u:%u: only root may execute commands as somebody else",
                       (unsigned)ask->uid, (unsigned)ask->gid);
    if (ask->uid == 0 || ask->gid == 0) /* what root must not see was not hidden when the box was made */
        return jb_fail(err, EPERM, "user %u:%u: root, or its group, enters only a box that was made for it",
                       (unsigned)ask->uid, (unsigned)ask->gid);
    plan->uid = ask->uid;
    plan->gid = ask->gid;
    plan->groups = NULL;
    plan->n_groups = 0;
    plan->caps = 0;
    return 0;
}

static int set_env(struct jb_plan *plan, const char *text)
{
    const char *eq = strchr(text, '=');
    jb_autofree char *key = eq ? strndup(text, (size_t)(eq - text)) : NULL;
    return key ? jb_env_set(&plan->env, key, eq + 1) : -ENOMEM;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The box's plan with what is this command's own. */
static int make_plan(const struct jb_plan *box, struct jb_exec *e, struct jb_error *err)
{
    struct jb_plan *plan = &e->plan;
    *plan = *box;
    plan->stands = false;
    plan->tty = e->ask.tty;
    plan->argv = (struct jb_strv){0};
    plan->env = (struct jb_strv){0};
    int r = jb_strv_copy(&plan->argv, &e->ask.argv);
    if (r == 0)
        r = jb_strv_copy(&plan->env, &box->env);
    if (r == 0 && e->ask.user_said && e->ask.uid != box->uid) { /* a number, that has no name */
        jb_env_unset(&plan->env, "USER");
        jb_env_unset(&plan->env, "LOGNAME");
    }
    for (size_t i = 0; r == 0 && i < e->ask.env.len; i++)
        r = set_env(plan, e->ask.env.items[i]);
    if (r == 0 && plan->tty && !jb_env_get(&plan->env, "TERM"))
        r = jb_env_set(&plan->env, "TERM", "dumb");
    if (r < 0)
        return jb_fail_errno(err, r, "the command");
    if (plan->reproducible && plan->env.len > 0) /* in the order of the box's own */
        qsort(plan->env.items, plan->env.len, sizeof(*plan->env.items), by_text);
    if (e->ask.workdir)
        plan->workdir = e->ask.workdir;
    return choose_user(e, err);
}

static int make_group(const struct jb_loop *l, struct jb_exec *e, struct jb_error *err)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "exec-%u", e->seq);
    int r = l->s->cgroup ? jb_cg_child_make(l->s->cgroup, name, &e->group, err) : -ENOTSUP;
    return r == -ENOTSUP ? 0 : r;
}

static int enter(const struct jb_loop *l, struct jb_exec *e, struct jb_error *err)
{
    int fds[JB_CTL_MAX + 2];
    enum jb_controller which[JB_CTL_MAX];
    int clone_fd = jb_cg_child_clone_fd(&e->group);
    size_t n = l->s->cgroup ? jb_cgroup_join_fds(l->s->cgroup, false, fds, which) : 0;
    if (jb_cg_child_join_fd(&e->group) >= 0)
        fds[n++] = jb_cg_child_join_fd(&e->group);
    const struct jb_enter_parts parts = {.box = l->s->box,
                                         .plan = &e->plan,
                                         .join_fds = fds,
                                         .n_join = n,
                                         .cgroup_fd = clone_fd,
                                         .lock_fd = l->s->lock_fd,
                                         .keep = e->ask.keep_children,
                                         .io = e->io.job};
    return jb_box_enter(&parts, &e->box, &e->helper, err);
}

void jb_exec_free(struct jb_exec *e)
{
    if (e->helper > 0) {
        (void)kill(e->helper, SIGKILL); /* our own child, not waited for: nobody else has its number */
        while (waitpid(e->helper, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    jb_box_kill(&e->box);
    jb_box_close(&e->box);
    jb_cg_child_end(&e->group);
    jb_exec_io_close(&e->io);
    jb_close(&e->rest.fd);
    jb_close(&e->peer);
    jb_cg_usage_free(&e->before);
    jb_cg_usage_free(&e->used);
    jb_strv_free(&e->plan.argv);
    jb_strv_free(&e->plan.env);
    jb_exec_ask_free(&e->ask);
    free(e);
}

const struct jb_cg_usage jb_exec_unknown_cpu = {
    .cpu_user_us = JB_UNSET, .cpu_system_us = JB_UNSET, .cpu_total_us = JB_UNSET};

static struct jb_exec *exec_new(struct jb_loop *l, const struct jb_peer *peer)
{
    struct jb_exec *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->seq = ++l->execs->seq;
    e->box = JB_BOX_INIT;
    e->ask = JB_EXEC_ASK_INIT;
    e->group = JB_CG_CHILD_INIT;
    e->io = JB_EXEC_IO_INIT;
    e->peer = e->rest.fd = -1;
    e->by = (struct jb_asker){.uid = peer->uid, .pid = peer->pid, .how = "socket"};
    e->deadline = e->look = e->clear_until = e->drain_until = JB_UNSET;
    e->started_us = e->ended_us = e->wall_ns = e->max_rss = JB_UNSET;
    e->exit_code = -1;
    e->clean = true;
    e->before = e->used = jb_exec_unknown_cpu;
    return e;
}

static int begin(struct jb_loop *l, struct jb_exec *e, int fds[JB_EXEC_FDS], struct jb_error *err)
{
    int r = jb_exec_ask_read(fds[0], &e->ask, err);
    if (r == 0)
        r = make_plan(l->s->plan, e, err);
    if (r < 0)
        return r;
    const int theirs[] = {fds[1], fds[2], fds[3]};
    fds[1] = fds[2] = fds[3] = -1;
    const struct jb_plan *as =
        e->by.uid == 0 ? NULL : l->s->plan; /* else it is the job's owner, or ourselves */
    r = jb_exec_io_open(theirs, as, e->by.uid != 0 && e->by.uid != geteuid(), e->ask.tty, &e->io, err);
    if (r == 0)
        r = make_group(l, e, err);
    if (r == 0)
        r = enter(l, e, err);
    jb_exec_io_handed_over(&e->io);
    return r;
}

static const char *refusal(const struct jb_loop *l, size_t n_fds)
{
    if (n_fds != JB_EXEC_FDS)
        return "exec: the request, standard input, output and error must come along";
    if (l->phase == JB_PHASE_PAUSED)
        return "it is paused; resume it first";
    if (l->phase != JB_PHASE_RUNNING)
        return l->phase == JB_PHASE_STARTING ? "it has just started; try again" : "it is about to end";
    if (l->execs && l->execs->n == JB_EXECS_MAX)
        return "32 commands run in it already; wait for one to end";
    return NULL;
}

static json_t *failed(const char *text)
{
    return json_pack("{s:o}", "error", jb_json_text(text));
}

json_t *jb_execs_begin(struct jb_loop *l, struct jb_peer *peer, int fds[JB_MSG_FDS], size_t n)
{
    struct jb_error err = {0};
    const char *why = refusal(l, n);
    if (!why && !l->execs && !(l->execs = calloc(1, sizeof(*l->execs))))
        why = "out of memory";
    struct jb_exec *e = why ? NULL : exec_new(l, peer);
    int r = e ? begin(l, e, fds, &err) : -ENOMEM;
    for (size_t i = 0; i < n; i++)
        jb_close(&fds[i]);
    if (!e)
        return failed(why ? why : "out of memory");
    if (r < 0) {
        jb_exec_free(e);
        return failed(err.text);
    }
    e->peer = peer->fd;
    peer->fd = -1;
    e->deadline = jb_after(jb_loop_now(l), ENTER_TIME);
    l->execs->items[l->execs->n++] = e;
    return NULL;
}
