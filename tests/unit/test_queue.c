/*
 * test_queue.c - the parts of the queue: indices of arrays, the table of numbers, the store over restarts, dependencies.
 */
#include "support.h"

#include <errno.h>
#include <grp.h>
#include <sqlite3.h>

#include "queue/array.h"
#include "queue_world.h"

/* --- arrays --- */

static void indices_are_walked_in_order(void **state)
{
    static const struct {
        const char *text;
        const char *all;
        uint64_t limit;
    } cases[] = {
        {"7", "7", JB_UNSET},
        {"0-3", "0 1 2 3", JB_UNSET},
        {"1-10:3", "1 4 7 10", JB_UNSET},
        {"1-9:3%2", "1 4 7", 2},
        {"0,3,5-9:2%10", "0 3 5 7 9", 10},
        {"5-5", "5", JB_UNSET},
        {"1-2:100", "1", JB_UNSET},
        {"4294967290-4294967292", "4294967290 4294967291 4294967292", JB_UNSET},
    };
    (void)state;
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_array_walk walk;
        uint64_t index;
        uint64_t limit;
        uint64_t n = 0;
        jb_autobuf struct jb_buf all = {0};
        jb_array_begin(cases[i].text, &walk);
        for (; jb_array_next(&walk, &index); n++)
            assert_int_equal(jb_buf_printf(&all, "%s%llu", n ? " " : "", (unsigned long long)index), 0);
        assert_string_equal(all.data, cases[i].all);
        assert_int_equal(jb_array_count(cases[i].text, &limit), n);
        assert_true(limit == cases[i].limit);
    }
}

/* --- the table --- */

static uint64_t seed = 88172645463325252U;
static uint64_t dice(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % n;
}

/* Beside a plain array, over a few thousand steps; keys that lie together are what open addressing is bad at. */
static void a_map_is_what_an_array_is(void **state)
{
    enum { KEYS = 300, STEPS = 30000 };
    struct jb_map map = {0};
    void *model[KEYS] = {0};
    size_t len = 0;
    (void)state;
    assert_null(jb_map_get(&map, 1));
    jb_map_remove(&map, 1);
    for (int i = 0; i < STEPS; i++) {
        uint64_t key = dice(KEYS);
        if (dice(3) == 0) {
            jb_map_remove(&map, key);
            len -= model[key] != NULL;
            model[key] = NULL;
        } else {
            len += model[key] == NULL;
            model[key] = &model[dice(KEYS)];
            assert_int_equal(jb_map_put(&map, key, model[key]), 0);
        }
        uint64_t other = dice(KEYS);
        assert_ptr_equal(jb_map_get(&map, other), model[other]);
        assert_int_equal(map.len, len);
    }
    size_t seen = 0;
    for (size_t at = 0; jb_map_next(&map, &at);)
        seen++;
    assert_int_equal(seen, len);
    for (uint64_t key = 0; key < KEYS; key++)
        assert_ptr_equal(jb_map_get(&map, key), model[key]);
    jb_map_free(&map);
}

/* --- the queue --- */

/* The daemon is stopped, and another one begins. */
static void restart(struct world *w)
{
    struct jb_error err = {0};
    assert_ok(jb_queue_commit(&w->f.q, &err), &err);
    queue_fixture_end(&w->f);
    if (!queue_fixture_begin(&w->f, w->dir, ""))
        fail_msg("%s", w->f.err.text);
}

/* A submission that has to be refused; its error. */
static void refuse(struct world *w, const char *lines, int errnum, const char *part)
{
    struct jb_error err = {0};
    jb_autofree char *diags = NULL;
    jb_autofree char *spec = jb_asprintf("version: 1\nimage: /\ncommand: [/bin/true]\n%s", lines);
    struct jb_qjob *job = NULL;
    const struct jb_submission s = {
        .spec = spec, .spec_len = strlen(spec), .file = "no.yaml", .user = "root", .home = "/", .cwd = "/"};
    size_t before = w->f.q.tasks.len;
    assert_int_equal(jb_queue_submit(&w->f.q, &s, w->f.server.now_us, &job, &diags, &err), -errnum);
    assert_null(job);
    if (!strstr(err.text, part) && !(diags && strstr(diags, part)))
        fail_msg("\"%s\" / \"%s\" have no \"%s\"", err.text, diags ? diags : "", part);
    assert_int_equal(w->f.q.tasks.len, before);
}

static void finish(struct world *w, uint64_t num, const char *reason)
{
    struct jb_error err = {0};
    struct jb_qjob *job = jb_map_get(&w->f.q.jobs, num);
    assert_non_null(job);
    struct jb_end end = {
        .exit_code = 0, .wall_s = -1, .cpu_s = -1, .memory_peak = JB_UNSET, .ended_us = w->f.server.now_us};
    (void)snprintf(end.reason, sizeof(end.reason), "%s", reason);
    assert_ok(jb_queue_finish(&w->f.q, job->tasks[0], &end, w->f.server.now_us, &err), &err);
}

/* How it is stored: "completed", "cancelled", or "" while it has not ended. */
static void stored_reason(struct world *w, uint64_t num, char reason[32])
{
    struct jb_error err = {0};
    json_t *list = NULL;
    const struct jb_qstore_query query = {
        .uid = JB_UNSET, .num = num, .task = JB_UNSET, .state = -1, .before = JB_UNSET, .limit = 10};
    assert_ok(jb_qstore_list(w->f.q.store, &query, &list, &err), &err);
    assert_int_equal(json_array_size(list), 1);
    const char *text = json_string_value(json_object_get(json_array_get(list, 0), "reason"));
    (void)snprintf(reason, 32, "%s", text ? text : "");
    json_decref(list);
}

#define REASON(w, num, expected)                  \
    do {                                          \
        char reason_[32];                         \
        stored_reason((w), (num), reason_);       \
        assert_string_equal(reason_, (expected)); \
    } while (0)

static void everything_is_there_after_a_restart(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    const struct jb_qjob *array = submit(
        w,
        "array: 1-9:4%2\naccount: astro\npriority: -3\nresources: { memory: 64MiB, scratch: 1MiB, pids: 9 }\n"
        "limits: { wall_time: 10m }\nretry: { max: 2, on: [oom, exit:75], backoff: 3s, memory_factor: 1.5 }\n"
        "begin: now+1h\ndeadline: now+2h\n");
    uint64_t begin_us = array->begin_us;
    uint64_t deadline_us = array->deadline_us;
    (void)submit(w, "depends_on: [{ job: 1, when: any }]\n");
    struct jb_qtask *held = job_of(w, 1)->tasks[1];
    uint64_t held_id = held->id;
    assert_ok(jb_queue_hold(&w->f.q, held, true, "root", w->f.server.now_us, &err), &err);
    restart(w);
    const struct jb_qjob *job = job_of(w, 1);
    assert_non_null(job);
    assert_string_equal(job->name, "one");
    assert_string_equal(job->account, "astro");
    assert_string_equal(job->user, "root");
    assert_int_equal(job->priority, -3);
    assert_int_equal(job->n_left, 3);
    assert_int_equal(job->array_limit, 2);
    assert_true(job->need.memory == 64U << 20 && job->need.scratch == 1U << 20 && job->need.pids == 9);
    assert_true(job->wall_us == UINT64_C(600000000));
    assert_true(job->begin_us == begin_us && job->deadline_us == deadline_us &&
                begin_us > w->f.server.now_us);
    assert_int_equal(job->retry_max, 2);
    assert_true(job->retry_backoff_us == 3000000 && job->retry_memory_micro == 1500000);
    assert_true(jb_strv_has(&job->retry_on, "oom") && jb_strv_has(&job->retry_on, "exit:75"));
    size_t n_held = 0;
    for (size_t i = 0; i < job->n_left; i++) {
        assert_int_equal((job->tasks[i]->index - 1) % 4, 0);
        assert_int_equal(job->tasks[i]->held, job->tasks[i]->id == held_id);
        n_held += job->tasks[i]->held;
    }
    assert_int_equal(n_held, 1);
    assert_int_equal(job_of(w, 2)->unmet, 1);
    assert_string_equal(w->f.q.drained, "a test");
    assert_int_equal(submit(w, "")->num, 3); /* numbers go on */
}

static void dependencies_come_true_or_doom(void **state)
{
    struct world *w = *state;
    (void)submit(w, "");                                          /* 1 */
    (void)submit(w, "depends_on: [{ job: 1 }]\n");                /* 2: comes true */
    (void)submit(w, "depends_on: [{ job: 1, when: failure }]\n"); /* 3: is doomed */
    (void)submit(w, "depends_on: [{ job: 3, when: any }]\n");     /* 4: comes true by 3's end */
    (void)submit(w, "depends_on: [{ job: 3 }]\n");                /* 5: is doomed by 3's end */
    (void)submit(w, "depends_on: [{ job: 1 }, { job: 2 }]\n");    /* 6: one of two */
    restart(w);
    finish(w, 1, "completed");
    assert_int_equal(job_of(w, 2)->unmet, 0);
    assert_null(job_of(w, 3));
    REASON(w, 3, "cancelled");
    assert_int_equal(job_of(w, 4)->unmet, 0);
    assert_null(job_of(w, 5));
    assert_int_equal(job_of(w, 6)->unmet, 1);
    restart(w);
    assert_int_equal(job_of(w, 6)->unmet, 1);
    finish(w, 2, "failed");
    assert_null(job_of(w, 6));
    REASON(w, 2, "failed");
    assert_int_equal(w->f.q.jobs.len, 1);
    refuse(w, "depends_on: [{ job: 2 }]\n", EINVAL, "not with success");
    refuse(w, "depends_on: [{ job: 99 }]\n", ENOENT, "no job 99");
    assert_int_equal(submit(w, "depends_on: [{ job: 2, when: failure }]\n")->unmet,
                     0); /* it is true already */
}

static void singletons_run_one_after_the_other(void **state)
{
    struct world *w = *state;
    (void)submit(w, "depends_on: [singleton]\n");
    (void)submit(w, "depends_on: [singleton]\n");
    (void)submit(w, "depends_on: [singleton]\n");
    assert_int_equal(job_of(w, 1)->unmet, 0);
    assert_int_equal(job_of(w, 2)->unmet, 1);
    assert_int_equal(job_of(w, 3)->unmet, 2);
    finish(w, 1, "failed"); /* however it ends */
    assert_int_equal(job_of(w, 2)->unmet, 0);
    assert_int_equal(job_of(w, 3)->unmet, 1);
    restart(w);
    finish(w, 2, "completed");
    assert_int_equal(job_of(w, 3)->unmet, 0);
}

/* As long as somebody may make it: the first is cancelled, and all behind it go. */
static void a_long_chain_is_doomed_as_a_whole(void **state)
{
    enum { LENGTH = 3000 };
    struct world *w = *state;
    char lines[64];
    (void)submit(w, "");
    for (int i = 1; i < LENGTH; i++) {
        (void)snprintf(lines, sizeof(lines), "depends_on: [{ job: %d }]\n", i);
        (void)submit(w, lines);
    }
    finish(w, 1, "cancelled");
    assert_int_equal(w->f.q.jobs.len, 0);
    assert_int_equal(w->f.q.n_over, 0);
    REASON(w, LENGTH, "cancelled");
}

static void singletons_of_one_name_are_bounded(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 1001; i++)
        (void)submit(w, "");
    refuse(w, "name: one\ndepends_on: [singleton]\n", E2BIG, "earlier jobs named one");
    finish(w, 7, "completed");
    const struct jb_qjob *last = submit(w, "depends_on: [singleton]\n");
    assert_int_equal(last->unmet, 1000);
    uint64_t num = last->num;
    for (uint64_t i = 1; i <= 1001; i++)
        if (i != 7)
            finish(w, i, "completed");
    assert_int_equal(job_of(w, num)->unmet, 0);
}

/* "depends_on: [ ... ]" with `n` mappings from job `from` on, each as often as `times` says. */
static char *depends_on(uint64_t from, unsigned n, unsigned times)
{
    struct jb_buf text = {0};
    assert_int_equal(jb_buf_puts(&text, "depends_on: ["), 0);
    for (unsigned i = 0; i < n * times; i++)
        assert_int_equal(jb_buf_printf(&text, "{ job: %llu },", (unsigned long long)(from + i % n)), 0);
    assert_int_equal(jb_buf_puts(&text, "]\n"), 0);
    return text.data;
}

static void dependencies_are_bounded_and_each_counts_once(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 1001; i++)
        (void)submit(w, "");
    jb_autofree char *many = depends_on(1, 1001, 1);
    jb_autofree char *most = depends_on(1, 1000, 3);
    refuse(w, many, E2BIG, "no.yaml:4:1: depends_on: more than 1000 jobs to wait for");
    const struct jb_qjob *job = submit(w, most);
    assert_int_equal(job->n_deps, 1000);
    assert_int_equal(job->unmet, 1000);
    const struct jb_qjob *both = submit(w, "depends_on: [{ job: 1 }, { job: 1, when: any }, { job: 1 }]\n");
    assert_int_equal(both->unmet, 2);
}

/* A submission by somebody else than root; 0 or the negative errno, with what is wrong. */
static int submit_by(struct world *w, uid_t uid, const char *user, gid_t gid, const char *lines,
                     struct jb_error *err)
{
    jb_autofree char *diags = NULL;
    jb_autofree char *spec = jb_asprintf("version: 1\nimage: /\ncommand: [/bin/true]\n%s", lines);
    struct jb_qjob *job = NULL;
    const gid_t groups[] = {gid};
    const struct jb_submission s = {.spec = spec,
                                    .spec_len = strlen(spec),
                                    .file = "no.yaml",
                                    .uid = uid,
                                    .gid = uid,
                                    .groups = groups,
                                    .n_groups = 1,
                                    .user = user,
                                    .home = "/",
                                    .cwd = "/"};
    jb_error_clear(err);
    return jb_queue_submit(&w->f.q, &s, w->f.server.now_us, &job, &diags, err);
}

static void restart_with(struct world *w, const char *site)
{
    struct jb_error err = {0};
    assert_ok(jb_queue_commit(&w->f.q, &err), &err);
    queue_fixture_end(&w->f);
    if (!queue_fixture_begin(&w->f, w->dir, site))
        fail_msg("%s", w->f.err.text);
}

static void accounts_are_their_members_where_the_site_lists_them(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    assert_ok(submit_by(w, 1002, "bob", 1002, "account: course\n", &err), &err); /* anybody's word */
    restart_with(w, "queue: { admins: [boss], accounts: { course: [ann, '@7000'], bio: [bob, ann] } }\n");
    assert_int_equal(submit_by(w, 1002, "bob", 1002, "account: course\n", &err), -EPERM);
    assert_string_equal(err.text, "no.yaml:4:1: account: you are not in account course; yours: bio");
    assert_int_equal(submit_by(w, 1002, "bob", 1002, "account: fresh\n", &err), -EPERM);
    assert_string_equal(err.text, "no.yaml:4:1: account: this site has no account fresh; yours: bio");
    assert_int_equal(submit_by(w, 1005, "eve", 1005, "account: bio\n", &err), -EPERM);
    assert_contains(err.text, "you are not in account bio; leave it out");
    assert_ok(submit_by(w, 1001, "ann", 1001, "account: course\n", &err), &err);
    assert_ok(submit_by(w, 1005, "eve", 7000, "account: course\n", &err), &err);
    assert_ok(submit_by(w, 1009, "boss", 1009, "account: course\n", &err), &err);
    assert_int_equal(submit_by(w, 1009, "boss", 1009, "account: fresh\n", &err), -EPERM);
    assert_contains(err.text, "yours: course, bio");
    assert_ok(submit_by(w, 1005, "eve", 1005, "", &err), &err);
}

/* By the name of a group: of the host's. */
static void a_group_in_a_list_of_members_is_known_by_its_name(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    const struct group *one = getgrgid(1);
    assert_non_null(one);
    jb_autofree char *site =
        jb_asprintf("queue: { accounts: { course: ['@%s'] } }\n", one ? one->gr_name : "");
    restart_with(w, site);
    assert_ok(submit_by(w, 1005, "eve", 1, "account: course\n", &err), &err);
    assert_int_equal(submit_by(w, 1005, "eve", 1005, "account: course\n", &err), -EPERM);
}

static void what_could_never_start_is_refused(void **state)
{
    struct world *w = *state;
    struct jb_site *site = w->f.site;
    refuse(w, "resources: { scratch: 4000TiB }\n", ERANGE, "no.yaml:4:14: resources.scratch: ");
    site->queue.scratch = 1U << 30;
    site->queue.pids = 100;
    (void)submit(w, "resources: { scratch: 1GiB, pids: 100 }\n");
    refuse(w, "resources: { scratch: 1025MiB }\n", ERANGE, "all jobs of this host together have 1.00 GiB");
    refuse(w, "resources: { pids: 101 }\n", ERANGE, "together have 100; ask for less");
    site->queue.user_limits.cpus = 1;
    (void)submit(w, "resources: { cpus: 1, cpu_unit: thread, exclusive: false }\n");
    if (w->f.q.machine.n_pus < 2)
        return;
    static const char two[] = "resources: { cpus: 2, cpu_unit: thread, exclusive: false }\n";
    refuse(w, two, EPERM,
           "no.yaml:4:14: resources.cpus: 2 hardware threads, and this site allows each user 1");
    site->queue.user_limits.cpus = JB_UNSET;
    site->queue.account_limits.cpus = 1;
    (void)submit(w, two); /* on no account */
    jb_autofree char *on_account = jb_asprintf("account: bio\n%s", two);
    refuse(w, on_account, EPERM, "each account 1");
}

static void a_store_of_the_future_is_refused(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    struct jb_qstore *store = NULL;
    sqlite3 *db = NULL;
    jb_autofree char *path = jb_asprintf("%s/state/queue.db", w->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(jb_qstore_open(path, &store, &err), -ENOTSUP);
    assert_contains(err.text, "newer jobbox");
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=1", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
    jb_autofree char *other = jb_asprintf("%s/noise", w->dir);
    test_write(w->dir, "noise",
               "this is no database, whatever its name may say of it, and it is long enough to be looked at");
    jb_error_clear(&err);
    assert_true(jb_qstore_open(other, &store, &err) < 0);
    assert_contains(err.text, "noise");
    assert_null(store);
}

static void what_is_left_open_is_not_there(void **state)
{
    struct world *w = *state;
    struct jb_error err = {0};
    (void)submit(w, "");
    assert_ok(jb_queue_commit(&w->f.q, &err), &err);
    (void)submit(w, ""); /* no commit: the daemon dies */
    assert_true(jb_qstore_dirty(w->f.q.store));
    queue_fixture_end(&w->f);
    if (!queue_fixture_begin(&w->f, w->dir, ""))
        fail_msg("%s", w->f.err.text);
    assert_non_null(job_of(w, 1));
    assert_null(job_of(w, 2));
}

/* --- requests --- */

static void requests_that_are_none_are_refused_with_a_reason(void **state)
{
    static const char *const cases[][2] = {
        {"", "JSON object"},
        {"[]", "JSON object"},
        {"{}", "JSON object"},
        {"{\"v\":1,\"op\":7}", "JSON object"},
        {"{\"v\":1,\"op\":\"hello\",\"op\":\"hello\"}", "JSON object"},
        {"{\"op\":\"hello\"}", "version 1"},
        {"{\"v\":\"1\",\"op\":\"hello\"}", "version 1"},
        {"{\"v\":2,\"op\":\"hello\"}", "version 1"},
        {"{\"v\":1,\"op\":\"\"}", "does not know"},
        {"{\"v\":1,\"op\":\"submit\",\"spec\":7,\"cwd\":\"/\"}", "\"spec\""},
        {"{\"v\":1,\"op\":\"submit\",\"spec\":\"version: 1\",\"cwd\":\"tmp\"}", "absolute"},
        {"{\"v\":1,\"op\":\"show\"}", "no such job"},
        {"{\"v\":1,\"op\":\"show\",\"id\":\"\"}", "no such job"},
        {"{\"v\":1,\"op\":\"show\",\"id\":\"1_\"}", "no such job"},
        {"{\"v\":1,\"op\":\"show\",\"id\":\"-1\"}", "no such job"},
        {"{\"v\":1,\"op\":\"show\",\"id\":\"18446744073709551617\"}", "no such job"},
        {"{\"v\":1,\"op\":\"control\",\"id\":\"7\"}", "no such job"},
        {"{\"v\":1,\"op\":\"priority\",\"ids\":[\"1\"]}", "whole number"},
        {"{\"v\":1,\"op\":\"priority\",\"ids\":[\"1\"],\"priority\":1000001}", "whole number"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        w->peer.closing = false;
        expect_refusal(w, &w->peer, cases[i][0], cases[i][1]);
    }
}

/* Whoever reads JSON is never sent HTTP in the midst of it. */
static void http_is_spoken_from_the_first_line_or_not_at_all(void **state)
{
    static const char get[] = "GET /metrics HTTP/1.1";
    struct world *w = *state;
    struct jb_conn scraper = queue_fixture_peer(1002, "bob");
    jb_request(&w->f.server, &scraper, get, strlen(get));
    assert_true(scraper.closing);
    assert_int_equal(memcmp(scraper.out.data, "HTTP/1.0 200 OK\r\n", 17), 0);
    queue_fixture_peer_free(&scraper);

    json_decref(ask(w, &w->peer, "{\"v\":1,\"op\":\"hello\"}"));
    expect_refusal(w, &w->peer, get, "JSON object");
    assert_true(w->peer.closing);
}

static void who_may_do_what(void **state)
{
    static const char *const acts[] = {
        "{\"v\":1,\"op\":\"cancel\",\"ids\":[\"1\"]}",
        "{\"v\":1,\"op\":\"hold\",\"ids\":[\"1\"]}",
        "{\"v\":1,\"op\":\"release\",\"ids\":[\"1\"]}",
        "{\"v\":1,\"op\":\"requeue\",\"ids\":[\"1\"]}",
        "{\"v\":1,\"op\":\"priority\",\"ids\":[\"1\"],\"priority\":-1}",
        "{\"v\":1,\"op\":\"logs\",\"id\":\"1\"}",
        "{\"v\":1,\"op\":\"control\",\"id\":\"1\",\"request\":{\"verb\":\"pause\"}}",
    };
    struct world *w = *state;
    struct jb_conn bob = queue_fixture_peer(1002, "bob");
    struct jb_conn op = queue_fixture_peer(1003, "op");
    struct jb_site *site = w->f.site;
    assert_int_equal(jb_strv_add(&site->queue.operators, "op"), 0);
    struct jb_qjob *job = submit(w, "");
    for (size_t i = 0; i < JB_ARRAY_LEN(acts); i++)
        expect_refusal(w, &bob, acts[i], strstr(acts[i], "logs") ? "for its owner" : "of root");
    json_t *seen = ask(w, &bob, "{\"v\":1,\"op\":\"show\",\"id\":\"1\"}");
    assert_true(json_is_true(json_object_get(seen, "ok")));
    assert_null(json_object_get(json_array_get(json_object_get(seen, "jobs"), 0), "spec"));
    json_decref(seen);
    site->queue.private_jobs = true;
    for (size_t i = 0; i < JB_ARRAY_LEN(acts); i++)
        expect_refusal(w, &bob, acts[i], "no such job");
    expect_refusal(w, &bob, "{\"v\":1,\"op\":\"show\",\"id\":\"1\"}", "no such job");
    expect_refusal(w, &bob, "{\"v\":1,\"op\":\"drain\",\"reason\":\"x\"}", "only administrators");
    expect_refusal(w, &op, "{\"v\":1,\"op\":\"drain\",\"reason\":\"x\"}", "only administrators");
    assert_false(job->tasks[0]->held);
    json_decref(ask(w, &op, acts[1]));
    assert_true(job->tasks[0]->held);
    json_decref(ask(w, &op, "{\"v\":1,\"op\":\"priority\",\"ids\":[\"1\"],\"priority\":9}"));
    assert_int_equal(job->priority, 9);
    json_decref(ask(w, &op, acts[0]));
    assert_null(job_of(w, 1));
    queue_fixture_peer_free(&bob);
    queue_fixture_peer_free(&op);
}

/* Between two sortings only the first of a long queue are looked at: not one of them may be somebody who may not start. */
static void a_user_at_his_limit_keeps_nobody_waiting(void **state)
{
    static const char lines[] = "resources: { cpus: 1, cpu_unit: thread, exclusive: false, memory: 1M }\n";
    struct world *w = *state;
    struct jb_queue *q = &w->f.q;
    struct jb_site *site = (struct jb_site *)q->site;
    struct jb_error err = {0};
    jb_autofree char *many = jb_asprintf("%sarray: 1-1000\n", lines);
    jb_autofree char *one = jb_asprintf("version: 1\nimage: /\ncommand: [/bin/true]\n%s", lines);
    jb_autofree char *diags = NULL;
    const struct jb_submission by_bob = {
        .spec = one, .spec_len = strlen(one), .file = "one.yaml", .user = "bob", .home = "/", .cwd = "/"};
    struct jb_qjob *behind = NULL;
    site->queue.user_limits.running = 1;
    assert_int_equal(jb_queue_drain(q, NULL, &err), 0);
    const struct jb_qjob *crowd = submit(w, many);
    assert_int_equal(jb_queue_submit(q, &by_bob, w->f.server.now_us, &behind, &diags, &err), 0);
    q->next_sort_us = JB_UNSET;
    q->dirty = true;
    for (int i = 0; i < 3 && q->dirty; i++)
        assert_int_equal(jb_queue_pass(q, w->f.server.now_us, &err), 0);
    assert_int_equal(crowd->n_running, 1);
    assert_int_equal(behind->n_running, 1);
    (void)json_array_clear(q->launches);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(indices_are_walked_in_order),
        cmocka_unit_test(a_map_is_what_an_array_is),
        WITH_QUEUE(everything_is_there_after_a_restart),
        WITH_QUEUE(dependencies_come_true_or_doom),
        WITH_QUEUE(singletons_run_one_after_the_other),
        WITH_QUEUE(a_long_chain_is_doomed_as_a_whole),
        WITH_QUEUE(singletons_of_one_name_are_bounded),
        WITH_QUEUE(dependencies_are_bounded_and_each_counts_once),
        WITH_QUEUE(accounts_are_their_members_where_the_site_lists_them),
        WITH_QUEUE(a_group_in_a_list_of_members_is_known_by_its_name),
        WITH_QUEUE(what_could_never_start_is_refused),
        WITH_QUEUE(a_store_of_the_future_is_refused),
        WITH_QUEUE(what_is_left_open_is_not_there),
        WITH_QUEUE(requests_that_are_none_are_refused_with_a_reason),
        WITH_QUEUE(http_is_spoken_from_the_first_line_or_not_at_all),
        WITH_QUEUE(who_may_do_what),
        WITH_QUEUE(a_user_at_his_limit_keeps_nobody_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
