/*
 * top_queue.c - the boxes that the system's queue runs for an ordinary user, who cannot read its ledger.
 *
 * Owns: the connection of a struct jb_top, and a descriptor of the folder with the queue's boxes. Runs in: the client.
 * Privilege: the user's; the daemon names his jobs, and their supervisors answer him.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "cli/top.h"

static int open_queue(struct jb_top *top, struct jb_error *err)
{
    const struct jb_client_wish wish = {
        .site = top->job.site, .who = &top->job.submitter, .state = &top->job.state};
    int r = jb_client_open(&wish, &top->queue, err);
    const struct timeval patience = {.tv_sec = 1}; /* one that is stopped must not hold up the table */
    if (r == 0)
        (void)setsockopt(top->queue.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (r == 0 && top->queue.own) { /* its boxes are in his own ledger */
        jb_client_close(&top->queue);
        return -ENOENT;
    }
    return r;
}

/* Where the boxes are, asked once: of any job that still runs when its turn comes. */
static int open_boxes(struct jb_top *top, const char *id, struct jb_error *err)
{
    json_t *reply = NULL;
    int r = jb_client_call(&top->queue, "box", json_pack("{s:s}", "id", id), &reply, err);
    const char *runtime = json_string_value(json_object_get(reply, "runtime"));
    jb_autofree char *path = runtime ? jb_asprintf("%s/boxes", runtime) : NULL;
    json_decref(reply);
    if (r == 0)
        top->queue_boxes_fd = path ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    return r < 0 ? r : top->queue_boxes_fd < 0 ? -ENOENT : 0;
}

static void take(struct jb_top *top, const json_t *job, struct jb_top_box *box)
{
    const char *name = json_string_value(json_object_get(job, "name"));
    const char *id = json_string_value(json_object_get(job, "id"));
    struct jb_holding holding = {.uid = top->job.submitter.uid, .memory = JB_UNSET};
    (void)snprintf(holding.id.text, sizeof(holding.id.text), "%s", id);
    (void)snprintf(holding.name, sizeof(holding.name), "%s", name ? name : "");
    jb_top_set_box(top, box, &holding, top->queue_boxes_fd);
}

size_t jb_top_read_queue(struct jb_top *top, struct jb_top_box **boxes, size_t n)
{
    struct jb_error err = {0};
    json_t *reply = NULL;
    size_t i;
    const json_t *job;
    if (top->job.submitter.uid == 0 || (top->queue.fd < 0 && open_queue(top, &err) < 0))
        return n;
    if (jb_client_call(&top->queue, "list", json_pack("{s:s}", "state", "running"), &reply, &err) < 0) {
        jb_client_close(&top->queue); /* the daemon has gone, or is a new one: the next time */
        return n;
    }
    const json_t *jobs = json_object_get(reply, "jobs");
    struct jb_top_box *grown = realloc(*boxes, (n + json_array_size(jobs) + 1) * sizeof(*grown));
    json_array_foreach(grown ? jobs : NULL, i, job)
    {
        const char *id = json_string_value(json_object_get(job, "id"));
        if (!id || !jb_id_valid(id) || (top->queue_boxes_fd < 0 && open_boxes(top, id, &err) < 0))
            continue;
        memset(&grown[n], 0, sizeof(grown[n]));
        take(top, job, &grown[n++]);
    }
    *boxes = grown ? grown : *boxes;
    json_decref(reply);
    return n;
}
