/*
 * queue_fixture.h - a queue with its server in a folder of its own, and peers that have no sockets: for the unit tests and
 * for fuzzing. Nothing starts: the host is drained.
 */
#ifndef JB_TESTS_QUEUE_FIXTURE_H
#define JB_TESTS_QUEUE_FIXTURE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "queue/server.h"

struct queue_fixture {
    struct jb_site *site;
    struct jb_state state;
    struct jb_submitter self;
    struct jb_queue q;
    struct jb_server server;
    struct jb_error err;
};

/* `dir`: an empty folder of the caller's. False, with err.text, when it cannot be. */
static bool queue_fixture_begin(struct queue_fixture *f, const char *dir, const char *site_text)
{
    struct jb_diags diags = {0};
    jb_autofree char *text =
        jb_asprintf("paths: { runtime: %s/run, state: %s/state, cgroup_parent: / }\n%s", dir, dir, site_text);
    *f = (struct queue_fixture){.state = JB_STATE_INIT};
    if (!text || jb_site_parse("site.yaml", text, strlen(text), &f->site, &diags) < 0) {
        jb_autofree char *why = jb_diags_format(&diags);
        (void)jb_fail(&f->err, EINVAL, "%s", why ? why : "out of memory");
        jb_diags_free(&diags);
        return false;
    }
    if (jb_submitter_self(&f->self, &f->err) < 0)
        return false;
    f->state.runtime_dir = jb_asprintf("%s/run", dir);
    f->state.state_dir = jb_asprintf("%s/state", dir);
    if (jb_state_open(&f->state, &f->self, &f->err) < 0 ||
        jb_queue_begin(&f->q, f->site, &f->state, &f->self, &f->err) < 0)
        return false;
    f->server = (struct jb_server){.q = &f->q, .epoll_fd = -1, .listen_fd = -1, .now_us = jb_wall_us(NULL)};
    return jb_queue_drain(&f->q, "a test", &f->err) == 0 && jb_queue_commit(&f->q, &f->err) == 0;
}

static void queue_fixture_end(struct queue_fixture *f)
{
    jb_queue_end(&f->q);
    jb_state_close(&f->state);
    jb_submitter_free(&f->self);
    jb_site_free(f->site);
}

static struct jb_conn queue_fixture_peer(uid_t uid, const char *user)
{
    static struct jb_name name;
    name = (struct jb_name){.uid = uid};
    return (struct jb_conn){
        .fd = -1, .uid = uid, .gid = uid, .name = &name, .user = user, .home = "/", .logs = {.fd = {-1, -1}}};
}

static void queue_fixture_peer_free(struct jb_conn *c)
{
    jb_logs_end(c);
    jb_map_free(&c->waits);
    jb_buf_free(&c->in);
    jb_buf_free(&c->out);
}

#endif
