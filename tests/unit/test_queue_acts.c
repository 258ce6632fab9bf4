/*
 * test_queue_acts.c - what is done to jobs of the queue: which ones a request means, and what the answer says.
 */
#include <pwd.h>

#include "queue_world.h"

/* An answer that is no error; its member `key`, as a line of JSON. */
static char *said(struct world *w, struct jb_conn *c, const char *line, const char *key)
{
    json_t *answer = ask(w, c, line);
    if (!json_is_true(json_object_get(answer, "ok"))) {
        jb_autofree char *all = json_dumps(answer, JSON_COMPACT);
        fail_msg("%s: %s", line, all);
    }
    const json_t *value = json_object_get(answer, key);
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : strdup("null");
    json_decref(answer);
    assert_non_null(text);
    return text;
}

#define SAID(w, c, line, key, expected)                                        \
    do {                                                                       \
        jb_autofree char *text_ = said((w), (c), "{\"v\":1," line "}", (key)); \
        assert_string_equal(text_, (expected));                                \
    } while (0)

/* As if its box were made: what a start leaves in memory and in the store. */
static struct jb_qtask *pretend_to_run(struct world *w, uint64_t num)
{
    struct jb_error err = {0};
    struct jb_qtask *t = job_of(w, num)->tasks[0];
    assert_int_equal(jb_id_new(w->f.server.now_us, &t->attempt), 0);
    jb_qlist_remove(&w->f.q.pending, t);
    t->state = JB_TASK_RUNNING;
    t->tries++;
    t->started_us = w->f.server.now_us;
    t->job->n_running++;
    assert_int_equal(jb_qlist_add(&w->f.q.running, t), 0);
    assert_ok(jb_queue_begin_change(&w->f.q, &err), &err);
    assert_ok(jb_qstore_attempt(w->f.q.store, t, t->started_us, &(struct jb_journal_mark){0}, &err), &err);
    assert_ok(jb_qstore_save_task(w->f.q.store, t, &err), &err);
    return t;
}

static void one_id_that_means_nothing_keeps_nobody_from_the_others(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 4; i++)
        (void)submit(w, "");
    SAID(w, &w->peer, "\"op\":\"cancel\",\"ids\":[\"1\"]", "jobs", "[\"1\"]");
    SAID(w, &w->peer, "\"op\":\"hold\",\"ids\":[\"99\",\"2\",\"1\",\"3\",\"3\"]", "jobs", "[\"2\",\"3\"]");
    SAID(w, &w->peer, "\"op\":\"priority\",\"priority\":-3,\"ids\":[\"1\",\"2\"]", "failed",
         "\"1: it has ended already\"");
    assert_int_equal(job_of(w, 2)->priority, -3);
    SAID(w, &w->peer, "\"op\":\"cancel\",\"ids\":[\"1\",\"4\",\"x\"]", "jobs", "[\"4\"]");
    expect_refusal(w, &w->peer, "{\"v\":1,\"op\":\"cancel\",\"ids\":[\"99\",\"98\"]}",
                   "99: there is no such job");
    SAID(w, &w->peer, "\"op\":\"cancel\",\"all\":true", "jobs", "[\"3\",\"2\"]");
}

static void what_does_not_fit_some_of_an_array_is_no_failure(void **state)
{
    struct world *w = *state;
    (void)submit(w, "array: 1-3\n");
    (void)submit(w, "");
    expect_refusal(w, &w->peer, "{\"v\":1,\"op\":\"release\",\"ids\":[\"1\"]}", "1_1: it is not held");
    SAID(w, &w->peer, "\"op\":\"hold\",\"ids\":[\"1_2\"]", "failed", "null");
    SAID(w, &w->peer, "\"op\":\"hold\",\"ids\":[\"1_2\"]", "failed", "null"); /* it is what was wanted */
    SAID(w, &w->peer, "\"op\":\"release\",\"ids\":[\"1\"]", "jobs", "[\"1_2\"]");
    SAID(w, &w->peer, "\"op\":\"hold\",\"ids\":[\"1_2\"]", "jobs", "[\"1_2\"]");
    SAID(w, &w->peer, "\"op\":\"release\",\"ids\":[\"1\",\"2\"]", "failed",
         "\"2: it is not held; jobbox explain --job says what it waits for\"");
    SAID(w, &w->peer, "\"op\":\"release\",\"all\":true", "failed", "null");
}

static void a_user_may_name_himself_and_names_that_nobody_has_are_told(void **state)
{
    struct world *w = *state;
    struct jb_conn bob = queue_fixture_peer(1002, "bob");
    struct jb_qjob *job = submit(w, "");
    expect_refusal(w, &bob, "{\"v\":1,\"op\":\"cancel\",\"users\":[\"root\"]}", "only operators");
    expect_refusal(w, &bob, "{\"v\":1,\"op\":\"cancel\",\"users\":[\"bob\",\"root\"]}", "only operators");
    SAID(w, &bob, "\"op\":\"cancel\",\"users\":[\"bob\"]", "jobs", "[]");
    job->uid = 1002;
    free(job->user);
    job->user = strdup("bob");
    expect_refusal(w, &bob, "{\"v\":1,\"op\":\"cancel\",\"names\":[\"two\"]}",
                   "no job in the queue is named \"two\"");
    SAID(w, &bob, "\"op\":\"cancel\",\"users\":[\"bob\"],\"names\":[\"one\"]", "jobs", "[\"1\"]");
    queue_fixture_peer_free(&bob);
}

static void requeue_puts_back_what_runs_and_submits_anew_what_has_ended(void **state)
{
    struct world *w = *state;
    (void)submit(w, "array: 3-5\npriority: 7\n");
    (void)submit(w, "");
    (void)submit(w, "");
    (void)pretend_to_run(w, 3);
    SAID(w, &w->peer, "\"op\":\"cancel\",\"ids\":[\"1\",\"2\"]", "failed", "null");
    SAID(w, &w->peer, "\"op\":\"requeue\",\"ids\":[\"2\",\"1_4\",\"3\",\"77\"]", "submitted",
         "[{\"was\":\"2\",\"job\":4,\"tasks\":1,\"name\":\"one\"},"
         "{\"was\":\"1_4\",\"job\":5,\"tasks\":1,\"name\":\"one\"}]");
    assert_true(job_of(w, 3)->tasks[0]->requeue);
    assert_int_equal(job_of(w, 5)->tasks[0]->index, 4);
    assert_int_equal(job_of(w, 5)->priority, 7);
    SAID(w, &w->peer, "\"op\":\"requeue\",\"ids\":[\"1\"]", "submitted",
         "[{\"was\":\"1\",\"job\":6,\"tasks\":3,\"name\":\"one\"}]");
    expect_refusal(w, &w->peer, "{\"v\":1,\"op\":\"requeue\",\"ids\":[\"6\"]}",
                   "6_3: it has not started yet");
    struct jb_conn bob = queue_fixture_peer(1002, "bob");
    expect_refusal(w, &bob, "{\"v\":1,\"op\":\"requeue\",\"ids\":[\"2\"]}", "2: only its owner");
    queue_fixture_peer_free(&bob);
}

/* Not the operator's, whatever he is. */
static void what_an_operator_submits_anew_stays_its_owners(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    struct jb_qstore_extra x = {0};
    struct jb_conn op = queue_fixture_peer(1003, "op");
    struct jb_conn gone = queue_fixture_peer(2000000001, "gone");
    const struct passwd *known = getpwuid(1);
    assert_non_null(known);
    jb_autofree char *user = strdup(known ? known->pw_name : "");
    jb_autofree char *home = strdup(known ? known->pw_dir : "");
    struct jb_conn owner = queue_fixture_peer(1, user);
    static const char submission[] = "{\"v\":1,\"op\":\"submit\",\"cwd\":\"/\",\"spec\":"
                                     "\"version: 1\\nimage: /\\ncommand: [/bin/true]\\n\"}";
    assert_int_equal(jb_strv_add(&w->f.site->queue.operators, "op"), 0);
    json_decref(ask(w, &owner, submission));
    json_decref(ask(w, &gone, submission));
    SAID(w, &w->peer, "\"op\":\"cancel\",\"ids\":[\"1\",\"2\"]", "jobs", "[\"1\",\"2\"]");
    SAID(w, &op, "\"op\":\"requeue\",\"ids\":[\"1\"]", "submitted",
         "[{\"was\":\"1\",\"job\":3,\"tasks\":1,\"name\":\"job\"}]");
    assert_int_equal(job_of(w, 3)->uid, 1);
    assert_int_equal(job_of(w, 3)->gid, known ? known->pw_gid : 0);
    assert_string_equal(job_of(w, 3)->user, user);
    assert_ok(jb_qstore_get_extra(w->f.q.store, 3, &x, &err), &err);
    assert_string_equal(x.home, home);
    assert_null(strstr(x.groups, "1003"));
    jb_qstore_extra_free(&x);
    jb_autofree char *events = said(w, &op, "{\"v\":1,\"op\":\"show\",\"id\":\"3\"}", "events");
    assert_contains(events, "\"requeue\",\"detail\":\"op\"");
    expect_refusal(w, &op, "{\"v\":1,\"op\":\"requeue\",\"ids\":[\"2\"]}",
                   "2: no account gone has uid 2000000001 here; only its owner");
    queue_fixture_peer_free(&op);
    queue_fixture_peer_free(&owner);
    queue_fixture_peer_free(&gone);
}

static void what_is_submitted_anew_keeps_its_priority_as_far_as_its_submitter_may_give_it(void **state)
{
    struct world *w = *state;
    struct jb_conn ann = queue_fixture_peer(1001, "ann");
    json_decref(ask(w, &ann,
                    "{\"v\":1,\"op\":\"submit\",\"cwd\":\"/\",\"priority\":-5,"
                    "\"spec\":\"version: 1\\nimage: /\\ncommand: [/bin/true]\\n\"}"));
    SAID(w, &ann, "\"op\":\"cancel\",\"ids\":[\"1\"]", "jobs", "[\"1\"]");
    json_decref(ask(w, &ann, "{\"v\":1,\"op\":\"requeue\",\"ids\":[\"1\"]}"));
    assert_int_equal(job_of(w, 2)->priority, -5);
    SAID(w, &w->peer, "\"op\":\"priority\",\"priority\":9,\"ids\":[\"2\"]", "jobs", "[\"2\"]");
    SAID(w, &ann, "\"op\":\"cancel\",\"ids\":[\"2\"]", "jobs", "[\"2\"]");
    json_decref(ask(w, &ann, "{\"v\":1,\"op\":\"requeue\",\"ids\":[\"2\"]}"));
    assert_int_equal(job_of(w, 3)->priority, 0); /* above that is for operators */
    (void)submit(w, "");
    SAID(w, &w->peer, "\"op\":\"priority\",\"priority\":9,\"ids\":[\"4\"]", "jobs", "[\"4\"]");
    SAID(w, &w->peer, "\"op\":\"cancel\",\"ids\":[\"4\"]", "jobs", "[\"4\"]");
    json_decref(ask(w, &w->peer, "{\"v\":1,\"op\":\"requeue\",\"ids\":[\"4\"]}"));
    assert_int_equal(job_of(w, 5)->priority, 9);
    queue_fixture_peer_free(&ann);
}

static void show_says_of_how_many_tasks_it_leaves_out_the_attempts(void **state)
{
    struct world *w = *state;
    (void)submit(w, "array: 1-103\n");
    (void)submit(w, "array: 1-100\n");
    SAID(w, &w->peer, "\"op\":\"show\",\"id\":\"1\"", "without_runs", "3");
    SAID(w, &w->peer, "\"op\":\"show\",\"id\":\"2\"", "without_runs", "0");
    SAID(w, &w->peer, "\"op\":\"show\",\"id\":\"1_103\"", "without_runs", "0");
}

/* An array that is too long for one answer is told of as far as it goes. */
static void show_says_how_many_tasks_it_does_not_list(void **state)
{
    struct world *w = *state;
    w->f.site->queue.array = 20000;
    (void)submit(w, "array: 1-10003\n");
    (void)submit(w, "array: 1-10000\n");
    SAID(w, &w->peer, "\"op\":\"show\",\"id\":\"1\"", "more", "3");
    SAID(w, &w->peer, "\"op\":\"show\",\"id\":\"1\"", "without_runs", "9900");
    SAID(w, &w->peer, "\"op\":\"show\",\"id\":\"2\"", "more", "0");
    SAID(w, &w->peer, "\"op\":\"show\",\"id\":\"1_10003\"", "more", "0");
}

/* A start that was refused, with this text. */
static void refuse_start(struct world *w, uint64_t num, const char *text)
{
    struct jb_error err = {0};
    const struct jb_qtask *t = pretend_to_run(w, num);
    json_t *busy = json_pack("{s:I, s:s, s:s, s:i, s:s}", "task", (json_int_t)t->id, "id", t->attempt.text,
                             "failure", "busy", "errnum", 16, "error", text);
    assert_ok(jb_queue_heard(&w->f.q, busy, w->f.server.now_us, &err), &err);
    json_decref(busy);
}

#define SHOW    "{\"v\":1,\"op\":\"show\",\"id\":\"1\"}"
#define LIST    "{\"v\":1,\"op\":\"list\",\"all\":true}"
#define EXPLAIN "{\"v\":1,\"op\":\"explain\",\"id\":\"1\"}"

static void expect_told(struct world *w, struct jb_conn *c, const char *line, const char *part)
{
    jb_autofree char *text = said(w, c, line, "jobs");
    assert_contains(text, part);
}

static void texts_name_no_holders_where_jobs_are_private_and_are_not_for_others(void **state)
{
    static const char *const cases[][2] = {
        {"cpus: 2 cores wanted, none free now; held by 01M8C421M71Q (cs, uid 0) 2 CPUs",
         "cpus: 2 cores wanted, none free now"},
        {"memory: 2 GiB wanted and 1 GiB free now where its cores could be; promised to 01M8C421M71Q (cs, "
         "uid 0)",
         "memory: 2 GiB wanted and 1 GiB free now where its cores could be"},
        {"memory: 2 GiB wanted and 1 GiB free now where its cores could be; CPUs elsewhere are held by "
         "01M8C421M71Q",
         "memory: 2 GiB wanted and 1 GiB free now where its cores could be"},
        {"j.yaml:4:1: resources.devices[0]: acme.com/gpu=0 is taken: held by 01M8C421M71Q (cs, uid 0)",
         "j.yaml:4:1: resources.devices[0]: acme.com/gpu=0 is taken"},
        {"an earlier attempt is not dead yet", "an earlier attempt is not dead yet"},
    };
    struct world *w = *state;
    struct jb_conn ann = queue_fixture_peer(1001, "ann");
    struct jb_conn bob = queue_fixture_peer(1002, "bob");
    json_decref(ask(w, &ann,
                    "{\"v\":1,\"op\":\"submit\",\"cwd\":\"/\","
                    "\"spec\":\"version: 1\\nimage: /\\ncommand: [/bin/true]\\n\"}"));
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        for (int private = 0; private < 2; private ++) {
            refuse_start(w, 1, cases[i][0]);
            w->f.site->queue.private_jobs = private != 0;
            jb_autofree char *wanted = jb_asprintf("\"%s\"", cases[i][private]);
            expect_told(w, &ann, SHOW, wanted);
            expect_told(w, &ann, LIST, wanted);
            expect_told(w, &ann, EXPLAIN, wanted);
            expect_told(w, &w->peer, SHOW, cases[i][0]);
        }
        w->f.site->queue.private_jobs = false;
        expect_told(w, &bob, SHOW, "\"why\":null");
        expect_told(w, &bob, LIST, "\"why\":null");
        expect_told(w, &bob, EXPLAIN, "\"text\":\"more of it is for its owner and the operators\"");
    }
    queue_fixture_peer_free(&ann);
    queue_fixture_peer_free(&bob);
}

static void why_a_job_failed_is_for_who_may_act_on_it(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    struct jb_conn ann = queue_fixture_peer(1001, "ann");
    struct jb_conn bob = queue_fixture_peer(1002, "bob");
    json_decref(ask(w, &ann,
                    "{\"v\":1,\"op\":\"submit\",\"cwd\":\"/\","
                    "\"spec\":\"version: 1\\nimage: /\\ncommand: [/bin/true]\\n\"}"));
    const struct jb_qtask *t = pretend_to_run(w, 1);
    json_t *failed = json_pack("{s:I, s:s, s:s, s:i, s:s}", "task", (json_int_t)t->id, "id", t->attempt.text,
                               "failure", "spec", "errnum", 5, "error", "a secret path");
    assert_ok(jb_queue_heard(&w->f.q, failed, w->f.server.now_us, &err), &err);
    json_decref(failed);
    jb_autofree char *own = said(w, &ann, "{\"v\":1,\"op\":\"show\",\"id\":\"1\"}", "jobs");
    jb_autofree char *others = said(w, &bob, "{\"v\":1,\"op\":\"show\",\"id\":\"1\"}", "jobs");
    assert_contains(own, "a secret path");
    assert_contains(others, "\"runs\":[{");
    assert_null(strstr(others, "secret"));
    queue_fixture_peer_free(&ann);
    queue_fixture_peer_free(&bob);
}

/* A request {"op", "ids"} with the same ids over and over; how long its answer takes, in seconds. */
static double ask_often(struct world *w, const char *op, bool of_array, int n)
{
    json_t *ids = json_array();
    for (int i = 0; i < n; i++)
        (void)json_array_append_new(ids, of_array ? json_sprintf("1_%d", i + 1) : json_string("1"));
    json_t *request = json_pack("{s:i, s:s, s:o}", "v", 1, "op", op, "ids", ids);
    jb_autofree char *line = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    uint64_t begin = jb_mono_ns(NULL);
    json_decref(ask(w, &w->peer, line));
    return (double)(jb_mono_ns(NULL) - begin) / (double)JB_NS_PER_S;
}

/* A look at all tasks of the array for each of them would stop the daemon for half a minute. */
static void a_small_request_with_many_ids_takes_no_seconds(void **state)
{
    struct world *w = *state;
    (void)submit(w, "array: 1-10000\n");
    SAID(w, &w->peer, "\"op\":\"cancel\",\"ids\":[\"1\"]", "failed", "null");
    assert_null(job_of(w, 1));
    double again = ask_often(w, "wait", false, 500);
    double each = ask_often(w, "wait", true, 500);
    double ended = ask_often(w, "cancel", false, 10000);
    if (again > 5 || each > 5 || ended > 5)
        fail_msg("%.1f s, %.1f s, %.1f s", again, each, ended);
}

static void who_is_being_ended_is_not_put_back(void **state)
{
    struct world *w = *state;
    (void)submit(w, "");
    const struct jb_qtask *t = pretend_to_run(w, 1);
    SAID(w, &w->peer, "\"op\":\"cancel\",\"ids\":[\"1\"]", "failed", "null");
    expect_refusal(w, &w->peer, "{\"v\":1,\"op\":\"requeue\",\"ids\":[\"1\"]}", "has been cancelled");
    assert_false(t->requeue);
}

/* A start that was refused is a return to the queue: the next attempt is not ended for it once more. */
static void a_requeue_is_done_once(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    (void)submit(w, "");
    struct jb_qtask *t = pretend_to_run(w, 1);
    SAID(w, &w->peer, "\"op\":\"requeue\",\"ids\":[\"1\"]", "jobs", "[\"1\"]");
    json_t *busy = json_pack("{s:I, s:s, s:s, s:i, s:s}", "task", (json_int_t)t->id, "id", t->attempt.text,
                             "failure", "busy", "errnum", 16, "error", "taken");
    assert_ok(jb_queue_heard(&w->f.q, busy, w->f.server.now_us, &err), &err);
    json_decref(busy);
    assert_int_equal(t->state, JB_TASK_PENDING);
    assert_false(t->requeue);
}

static void clock_that_is_set_back_holds_up_nothing(void **state)
{
    const uint64_t hour = UINT64_C(3600000000);
    struct world *w = *state;
    struct jb_error err = {0};
    uint64_t now = w->f.server.now_us;
    struct jb_qtask *retry = submit(w, "")->tasks[0];
    struct jb_qtask *refused = submit(w, "")->tasks[0];
    retry->not_before_us = now + 5000000;
    refused->not_before_us = now + 1000000;
    refused->refused = true;
    w->f.q.dirty = true;
    assert_ok(jb_queue_pass(&w->f.q, now, &err), &err);
    assert_ok(jb_queue_tick(&w->f.q, now, &err), &err);
    assert_true(w->f.q.full_until_us > now);
    uint64_t passes = w->f.q.counts.passes;
    jb_queue_clock_back(&w->f.q, hour);
    assert_ok(jb_queue_pass(&w->f.q, now - hour, &err), &err);
    assert_int_equal(w->f.q.counts.passes, passes + 1);
    assert_ok(jb_queue_tick(&w->f.q, now - hour, &err), &err);
    assert_true(w->f.q.next_tick_us < now);
    assert_int_equal(retry->not_before_us, now + 5000000 - hour);
    assert_int_equal(refused->not_before_us, 0);
}

/* What a peer was sent of logs, up to now. */
static char *sent(struct jb_conn *c)
{
    struct jb_buf all = {0};
    assert_int_equal(jb_buf_puts(&all, ""), 0);
    for (const char *p = c->out.data; p && p < c->out.data + c->out.len;) {
        const char *newline = memchr(p, '\n', c->out.len - (size_t)(p - c->out.data));
        json_t *line = json_loadb(p, (size_t)(newline - p), 0, NULL);
        const char *text = json_string_value(json_object_get(line, "base64"));
        assert_int_equal(jb_buf_printf(&all, "%s%s", text ? text : "", text ? " " : "."), 0);
        json_decref(line);
        p = newline + 1;
    }
    c->out.len = c->sent = 0;
    return all.data;
}

#define SENT(c, expected)                      \
    do {                                       \
        jb_autofree char *all_ = sent(c);      \
        assert_string_equal(all_, (expected)); \
    } while (0)

/* Whoever follows is sent all of an attempt before any of the next one, and the last one too when it has ended by then. */
static void who_follows_misses_no_attempt(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    (void)submit(w, "");
    struct jb_qtask *t = pretend_to_run(w, 1);
    test_write(w->dir, "state/logs/1/1.out", "one");
    expect_refusal(w, &w->peer, "{\"v\":1,\"op\":\"logs\",\"id\":\"1\",\"attempt\":2}", "no attempt 2");
    expect_refusal(w, &w->peer, "{\"v\":1,\"op\":\"logs\",\"id\":\"1\",\"attempt\":0}", "it has had 1");
    w->peer.out.len = 0;
    const struct jb_logs_wish wish = {
        .task = t->id, .attempt = 1, .from = {-1, -1}, .tail = -1, .follow = true};
    assert_ok(jb_logs_begin(&w->f.server, &w->peer, &wish, &err), &err);
    jb_logs_more(&w->f.server, &w->peer);
    SENT(&w->peer, "b25l ");
    test_write(w->dir, "state/logs/1/1.out", "one more");
    test_write(w->dir, "state/logs/1/2.out", "two");
    t->tries = 2;
    jb_logs_more(&w->f.server, &w->peer);
    SENT(&w->peer, "IG1vcmU= dHdv ");
    test_write(w->dir, "state/logs/1/4.err", "four");
    w->peer.logs.last = 4; /* as the end of the task tells */
    w->peer.logs.ended = true;
    t->tries = 4;
    jb_logs_more(&w->f.server, &w->peer);
    SENT(&w->peer, "Zm91cg== .");
    assert_false(w->peer.logs.on);
}

/* A connection that goes on where another one was cut off is sent what that one was not, of that attempt and later ones. */
static void logs_go_on_where_they_were_cut_off(void **state)
{
    struct world *w = *state;
    (void)submit(w, "");
    struct jb_qtask *t = pretend_to_run(w, 1);
    test_write(w->dir, "state/logs/1/1.out", "one");
    test_write(w->dir, "state/logs/1/1.err", "error");
    test_write(w->dir, "state/logs/1/2.out", "two");
    t->tries = 2;
    static const char request[] = "{\"v\":1,\"op\":\"logs\",\"id\":\"1\",\"attempt\":1,\"tail\":0,"
                                  "\"follow\":true,\"from\":{\"stdout\":2,\"stderr\":5}}";
    jb_request(&w->f.server, &w->peer, request, strlen(request));
    jb_logs_more(&w->f.server, &w->peer);
    SENT(&w->peer, "ZQ== dHdv ");
    jb_logs_end(&w->peer);
}

static void priorities_of_submissions_have_bounds(void **state)
{
    struct world *w = *state;
    expect_refusal(w, &w->peer,
                   "{\"v\":1,\"op\":\"submit\",\"spec\":\"version: 1\",\"cwd\":\"/\",\"priority\":1000001}",
                   "from -1000000");
    expect_refusal(w, &w->peer,
                   "{\"v\":1,\"op\":\"submit\",\"spec\":\"version: 1\",\"cwd\":\"/\",\"priority\":\"high\"}",
                   "whole number");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_QUEUE(one_id_that_means_nothing_keeps_nobody_from_the_others),
        WITH_QUEUE(what_does_not_fit_some_of_an_array_is_no_failure),
        WITH_QUEUE(a_user_may_name_himself_and_names_that_nobody_has_are_told),
        WITH_QUEUE(requeue_puts_back_what_runs_and_submits_anew_what_has_ended),
        WITH_QUEUE(who_is_being_ended_is_not_put_back),
        WITH_QUEUE(what_is_submitted_anew_keeps_its_priority_as_far_as_its_submitter_may_give_it),
        WITH_QUEUE(what_an_operator_submits_anew_stays_its_owners),
        WITH_QUEUE(show_says_of_how_many_tasks_it_leaves_out_the_attempts),
        WITH_QUEUE(show_says_how_many_tasks_it_does_not_list),
        WITH_QUEUE(texts_name_no_holders_where_jobs_are_private_and_are_not_for_others),
        WITH_QUEUE(why_a_job_failed_is_for_who_may_act_on_it),
        WITH_QUEUE(a_small_request_with_many_ids_takes_no_seconds),
        WITH_QUEUE(a_requeue_is_done_once),
        WITH_QUEUE(clock_that_is_set_back_holds_up_nothing),
        WITH_QUEUE(logs_go_on_where_they_were_cut_off),
        WITH_QUEUE(who_follows_misses_no_attempt),
        WITH_QUEUE(priorities_of_submissions_have_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
