/*
 * kept.c - boxes that were kept of queued jobs: whose they are lists them, has them removed, or takes them over.
 *
 * Owns: nothing. Runs in: jobboxd, and a child of the nursery for what takes its time. Privilege: jobboxd's; whose a box
 * was is what its supervisor wrote, who asks is what the kernel says of the peer.
 */
#include "job/kept/kept.h"

#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "queue/launch.h"
#include "queue/pick.h"

#define LIST_MAX 10000 /* what a peer can be sent at once */

/* --- requests --- */

int jb_kept_requested_list(struct jb_server *s, struct jb_conn *c, const json_t *request,
                           struct jb_error *err)
{
    json_t *list = NULL;
    if (c->listed_us == s->now_us) /* thousands that came at once would hold up everybody */
        return jb_fail(err, EBUSY, "one list of kept boxes at a time on a connection");
    c->listed_us = s->now_us;
    bool all = jb_request_flag(request, "all") && jb_conn_is_operator(s, c);
    bool more = false;
    json_int_t limit = json_integer_value(json_object_get(request, "limit"));
    const struct jb_kept_wish wish = {.uid = all ? JB_KEPT_ALL : c->uid,
                                      .begins = jb_request_text(request, "id"),
                                      .limit = limit > 0 && limit < LIST_MAX ? (size_t)limit : LIST_MAX};
    int r = jb_kept_list(s->q->state->state_fd, &wish, &list, &more, err);
    if (r < 0)
        return r;
    json_t *reply = jb_reply_ok();
    (void)json_object_set_new(reply, "kept", list);
    (void)json_object_set_new(reply, "more", json_boolean(more));
    jb_conn_send(c, reply);
    return 0;
}

/* With whose name and rights; without a folder it is to be removed. The answer comes as that of a box does: by the connection's token. */
static int ask_nursery(struct jb_server *s, struct jb_conn *c, const char *id, const char *dir,
                       struct jb_error *err)
{
    json_t *groups = json_array();
    if (c->token) {
        json_decref(groups);
        return jb_fail(err, EBUSY, "one question at a time on a connection");
    }
    for (size_t i = 0; i < c->n_groups; i++)
        (void)json_array_append_new(groups, json_integer((json_int_t)c->groups[i]));
    json_t *ask = json_pack("{s:s, s:I, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:b}", "do", "kept", "token",
                            (json_int_t)s->tokens + 1, "id", id, "dir", dir, "uid", (json_int_t)c->uid, "gid",
                            (json_int_t)c->gid, "groups", groups, "user", jb_json_text(c->user), "home",
                            jb_json_text(c->home), "any", jb_conn_is_operator(s, c));
    if (!ask)
        return jb_fail_errno(err, ENOMEM, "the queue");
    c->token = ++s->tokens;
    (void)json_array_append_new(s->q->launches, ask);
    return 0;
}

int jb_kept_requested_discard(struct jb_server *s, struct jb_conn *c, const json_t *request,
                              struct jb_error *err)
{
    const char *id = jb_request_text(request, "id");
    return id ? ask_nursery(s, c, id, "", err) : jb_fail(err, EINVAL, "\"id\" is missing");
}

int jb_kept_requested_take(struct jb_server *s, struct jb_conn *c, const json_t *request,
                           struct jb_error *err)
{
    const char *id = jb_request_text(request, "id");
    const char *dir = jb_request_text(request, "dir");
    if (!id || !dir || dir[0] != '/')
        return jb_fail(err, EINVAL, "\"id\" and \"dir\", an absolute path, are needed");
    return ask_nursery(s, c, id, dir, err);
}

/* --- in the child --- */

static int discard(const struct jb_nursery_ctx *ctx, const char *id, uid_t uid, struct jb_error *err)
{
    struct jb_kept kept = JB_KEPT_INIT;
    int r = jb_kept_find_of(ctx->state->state_fd, id, uid, &kept, err);
    if (r < 0)
        return r;
    const struct jb_id whole = kept.id;
    jb_kept_close(&kept); /* or it would be in use */
    return jb_kept_discard(ctx->state->state_fd, &whole, err);
}

void jb_nursery_kept(const struct jb_nursery_ctx *ctx, const json_t *request)
{
    struct jb_error err = {0};
    struct jb_submitter who = {0};
    struct jb_copied sum = {0};
    json_t *token = json_object_get(request, "token");
    const char *id = jb_request_text(request, "id");
    const char *dir = jb_request_text(request, "dir");
    int r = jb_nursery_submitter(ctx, request, &who);
    if (r < 0)
        (void)jb_fail_errno(&err, r, "the queue");
    else if (dir && dir[0])
        r = jb_kept_hand_over(ctx->state->state_fd, id, &who, dir, &sum, &err);
    else
        r = discard(ctx, id, json_is_true(json_object_get(request, "any")) ? JB_KEPT_ALL : who.uid, &err);
    jb_submitter_free(&who);
    jb_nursery_answer(ctx, r < 0 ? json_pack("{s:O, s:i, s:o}", "control", token, "errnum", -r, "error",
                                             jb_json_text(err.text))
                                 : json_pack("{s:O, s:{s:I, s:I}}", "control", token, "answer", "bytes",
                                             (json_int_t)sum.bytes, "files", (json_int_t)sum.files));
}
