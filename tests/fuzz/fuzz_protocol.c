/*
 * fuzz_protocol.c - any lines to jobboxd: each is answered with lines of JSON, a refusal says why, and the queue in memory is
 * the one on the disk.
 *
 * The first byte chooses who asks: one of two users, an operator, root.
 */
#include <errno.h>
#include <fcntl.h>

#include "../unit/queue_fixture.h"
#include "base/fd.h"

#define INPUTS_MAX 2000 /* then the queue begins anew from an empty folder */
#define SITE       "queue: { private: true, operators: [op], admins: [boss], limits: { user: { queued: 500 } } }\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct queue_fixture f;
static char dir[64];
static unsigned inputs;

static void must(bool truth)
{
    if (!truth)
        abort();
}

static void end(void)
{
    if (dir[0]) {
        queue_fixture_end(&f);
        must(jb_remove_tree(AT_FDCWD, dir) == 0);
    }
    dir[0] = '\0';
}

static void begin(void)
{
    (void)snprintf(dir, sizeof(dir), "/dev/shm/fuzz_protocol.XXXXXX");
    if (!mkdtemp(dir)) {
        (void)snprintf(dir, sizeof(dir), "/tmp/fuzz_protocol.XXXXXX");
        must(mkdtemp(dir) != NULL);
    }
    if (!queue_fixture_begin(&f, dir, SITE)) {
        (void)fprintf(stderr, "%s\n", f.err.text);
        abort();
    }
    inputs = 0;
}

/* Whole lines, each a JSON object that says what it is. */
static void check_answers(const struct jb_conn *c)
{
    const char *at = c->out.data;
    const char *stop = at ? at + c->out.len : at;
    if (c->out.len >= 5 && memcmp(at, "HTTP/", 5) == 0)
        return;
    while (at < stop) {
        const char *newline = memchr(at, '\n', (size_t)(stop - at));
        must(newline != NULL);
        json_t *answer = json_loadb(at, (size_t)(newline - at), 0, NULL);
        must(json_is_object(answer));
        const json_t *ok = json_object_get(answer, "ok");
        must(ok || json_is_string(json_object_get(answer, "event")));
        if (json_is_false(ok)) {
            const char *text = json_string_value(json_object_get(json_object_get(answer, "error"), "text"));
            must(text && *text);
        }
        json_decref(answer);
        at = newline + 1;
    }
}

/* The lists and the maps agree, and nothing has started. */
static void check_queue(const struct jb_queue *q)
{
    size_t tasks = 0;
    const struct jb_qjob *job;
    for (size_t at = 0; (job = jb_map_next(&q->jobs, &at));) {
        must(job->n_left > 0 && job->n_left <= job->n_tasks && job->n_running == 0);
        tasks += job->n_left;
        for (size_t i = 0; i < job->n_left; i++)
            must(job->tasks[i]->at == i && job->tasks[i]->job == job &&
                 q->pending.items[job->tasks[i]->slot] == job->tasks[i]);
    }
    must(tasks == q->tasks.len && tasks == q->pending.len - q->pending.holes);
    must(q->running.len == q->running.holes);
}

static void ask(struct jb_conn *c, const char *line, size_t len)
{
    jb_request(&f.server, c, line, len);
    must(!f.q.broken);
    struct jb_error err = {0};
    must(jb_queue_commit(&f.q, &err) == 0);
    if (c->logs.on)
        jb_logs_more(&f.server, c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        uid_t uid;
        const char *user;
    } people[] = {{1001, "ann"}, {1002, "bob"}, {1003, "op"}, {0, "root"}};
    if (inputs == 0 && !dir[0])
        (void)atexit(end);
    if (!dir[0])
        begin();
    if (size == 0)
        return 0;
    struct jb_conn c = queue_fixture_peer(people[data[0] % 4].uid, people[data[0] % 4].user);
    const char *at = (const char *)data + 1;
    const char *stop = (const char *)data + size;
    while (at < stop && !c.closing) {
        const char *newline = memchr(at, '\n', (size_t)(stop - at));
        size_t len = (size_t)((newline ? newline : stop) - at);
        ask(&c, at, len);
        at += len + 1;
    }
    check_answers(&c);
    check_queue(&f.q);
    queue_fixture_peer_free(&c);
    if (++inputs >= INPUTS_MAX || f.q.tasks.len > 5000)
        end();
    return 0;
}
