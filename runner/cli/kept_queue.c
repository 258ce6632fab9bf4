/*
 * kept_queue.c - boxes that the system's queue kept of one's jobs: they are listed, removed, or become one's own.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; the daemon decides whose a box is.
 *
 * Root's store is entered by root alone. Whoever wants to look into a box of his takes it over: into his own state
 * directory, where entering it and making an image of it need nobody else.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/kept.h"
#include "cli/queue.h"
#include "job/kept/kept.h"

/* -ENOENT: there is no queue but one's own, whose kept boxes are one's own. */
static int open_queue(const struct jb_cli_job *job, struct jb_client *ret, struct jb_error *err)
{
    const struct jb_client_wish wish = {.site = job->site, .who = &job->submitter, .state = &job->state};
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    int r = job->submitter.uid == 0 ? -ENOENT : jb_client_open(&wish, &client, err);
    if (r == 0 && client.own)
        r = -ENOENT;
    if (r < 0)
        return r;
    *ret = client;
    client = JB_CLIENT_INIT; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

/* The one that is kept there and whose id begins so. */
static int find(struct jb_client *client, const char *text, struct jb_id *ret, struct jb_error *err)
{
    json_t *reply = NULL;
    size_t found = 0;
    size_t i;
    const json_t *one;
    int r = jb_client_call(client, "kept", json_pack("{s:s}", "id", text), &reply, err);
    if (r < 0)
        return r;
    json_array_foreach(json_object_get(reply, "kept"), i, one)
    {
        const char *id = json_string_value(json_object_get(one, "id"));
        if (!id || !*text || strncasecmp(id, text, strlen(text)) != 0)
            continue;
        (void)snprintf(ret->text, sizeof(ret->text), "%s", id);
        found++;
    }
    json_decref(reply);
    return found == 1 ? 0
           : found > 1
               ? jb_fail(err, ENOTUNIQ, "%.40s: the queue has kept %zu boxes whose id begins so", text, found)
               : -ENOENT;
}

static int ask_to_discard(struct jb_client *client, const struct jb_id *id, struct jb_error *err)
{
    json_t *reply = NULL;
    int r = jb_client_call(client, "discard", json_pack("{s:s}", "id", id->text), &reply, err);
    json_decref(reply);
    return r;
}

/* Whether it is kept there, and gone now. */
int jb_cli_kept_queue_discard(const struct jb_cli_job *job, const char *text, struct jb_error *err)
{
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    struct jb_id id;
    int r = open_queue(job, &client, err);
    if (r == 0)
        r = find(&client, text, &id, err);
    return r < 0 ? r : ask_to_discard(&client, &id, err);
}

void jb_cli_kept_queue_list(const struct jb_cli_job *job, json_t *list)
{
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    struct jb_error ignored = {0};
    json_t *reply = NULL;
    size_t i;
    size_t k;
    json_t *one;
    const json_t *own;
    if (open_queue(job, &client, &ignored) < 0 || jb_client_call(&client, "kept", NULL, &reply, &ignored) < 0)
        return;
    json_array_foreach(json_object_get(reply, "kept"), i, one)
    {
        bool taken = false;
        json_array_foreach(list, k, own)
        {
            taken = taken || json_equal(json_object_get(own, "id"), json_object_get(one, "id"));
        }
        if (!taken)
            (void)json_array_append(list, one);
    }
    if (json_is_true(json_object_get(reply, "more")))
        (void)fprintf(stderr, "jobbox: the queue has kept more boxes; the oldest are not listed\n");
    json_decref(reply);
}

/* Into a folder of one's own store that has its name only when all is there. */
static int receive(struct jb_client *client, const struct jb_state *state, const struct jb_site *site,
                   uid_t uid, const struct jb_id *id, struct jb_copied *ret, struct jb_error *err)
{
    json_t *reply = NULL;
    jb_autoclose int lock = -1;
    jb_autoclose int kept = jb_kept_open(state->state_fd, true, err);
    jb_autofree char *path = jb_asprintf("%s/" JB_KEPT_DIR "/" JB_KEPT_NEW "%s", state->state_dir, id->text);
    if (kept < 0 || !path)
        return kept < 0 ? kept : jb_fail_errno(err, ENOMEM, "taking over a box");
    jb_autoclose int dir = jb_kept_begin(kept, id, &lock, err);
    int r = dir < 0 ? dir
                    : jb_client_call(client, "take", json_pack("{s:s, s:s}", "id", id->text, "dir", path),
                                     &reply, err);
    const json_t *answer = json_object_get(reply, "answer");
    const struct jb_copied sum = {
        .bytes = (uint64_t)json_integer_value(json_object_get(answer, "bytes")),
        .files = (uint64_t)json_integer_value(json_object_get(answer, "files")),
    };
    json_decref(reply);
    if (r == 0)
        r = jb_kept_finish(kept, site, uid, id, &sum, err);
    jb_close(&lock);
    jb_kept_clear(kept);
    if (r == 0)
        *ret = sum;
    return r;
}

int jb_cli_kept_take(const struct jb_cli_job *job, const char *text, struct jb_error *err)
{
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    jb_autostate struct jb_state state = JB_STATE_INIT;
    struct jb_copied sum = {0};
    struct jb_error left = {0};
    struct jb_id id;
    char size[48];
    int r = open_queue(job, &client, err);
    if (r == 0)
        r = find(&client, text, &id, err);
    if (r == 0)
        r = jb_state_paths(job->site, &job->submitter, &state, err);
    if (r == 0)
        r = jb_state_open(&state, &job->submitter, err);
    if (r == 0)
        r = receive(&client, &state, job->site, job->submitter.uid, &id, &sum, err);
    if (r < 0)
        return r == -ENOENT ? r : jb_wrap(err, "taking over what the queue kept");
    (void)fprintf(stderr, "jobbox: %s was kept by the system's queue; it is in %s/" JB_KEPT_DIR " now (%s)\n",
                  id.text, state.state_dir, jb_format_size(sum.bytes, size, sizeof(size)));
    if (ask_to_discard(&client, &id, &left) < 0)
        (void)fprintf(stderr, "jobbox: the queue still has its own: %s\n", left.text);
    return 0;
}
