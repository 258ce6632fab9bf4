/*
 * queue_world.h - a queue in a folder of its own for each unit test, a peer that is root, and words for what is asked of it.
 */
#ifndef JB_TESTS_QUEUE_WORLD_H
#define JB_TESTS_QUEUE_WORLD_H

#include "queue_fixture.h"
#include "support.h"

struct world {
    char *dir;
    struct queue_fixture f;
    struct jb_conn peer;
};

static inline int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->dir = test_tmpdir();
    if (!queue_fixture_begin(&w->f, w->dir, ""))
        fail_msg("%s", w->f.err.text);
    w->peer = queue_fixture_peer(0, "root");
    *state = w;
    return 0;
}

static inline int teardown(void **state)
{
    struct world *w = *state;
    queue_fixture_peer_free(&w->peer);
    queue_fixture_end(&w->f);
    test_tmpdir_remove(w->dir);
    free(w);
    return 0;
}

/* Submits a spec with these lines more; its job. */
static inline struct jb_qjob *submit(struct world *w, const char *lines)
{
    struct jb_error err = {0};
    jb_autofree char *diags = NULL;
    jb_autofree char *spec = jb_asprintf("version: 1\nname: one\nimage: /\ncommand: [/bin/true]\n%s", lines);
    struct jb_qjob *job = NULL;
    const struct jb_submission s = {
        .spec = spec, .spec_len = strlen(spec), .file = "one.yaml", .user = "root", .home = "/", .cwd = "/"};
    int r = jb_queue_submit(&w->f.q, &s, w->f.server.now_us, &job, &diags, &err);
    if (r < 0)
        fail_msg("%s: %s %s", lines, err.text, diags ? diags : "");
    return job;
}

static inline struct jb_qjob *job_of(struct world *w, uint64_t num)
{
    return jb_map_get(&w->f.q.jobs, num);
}

/* The first line that the peer is sent; the caller's. */
static inline json_t *ask(struct world *w, struct jb_conn *c, const char *line)
{
    c->out.len = c->sent = 0;
    jb_request(&w->f.server, c, line, strlen(line));
    const char *newline = memchr(c->out.data, '\n', c->out.len);
    assert_non_null(newline);
    json_t *answer = json_loadb(c->out.data, (size_t)(newline - c->out.data), 0, NULL);
    assert_non_null(answer);
    return answer;
}

static inline void expect_refusal(struct world *w, struct jb_conn *c, const char *line, const char *part)
{
    json_t *answer = ask(w, c, line);
    const char *text = json_string_value(json_object_get(json_object_get(answer, "error"), "text"));
    assert_true(json_is_false(json_object_get(answer, "ok")));
    assert_non_null(text);
    if (!strstr(text, part))
        fail_msg("%s: \"%s\" has no \"%s\"", line, text, part);
    json_decref(answer);
}

#define WITH_QUEUE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
