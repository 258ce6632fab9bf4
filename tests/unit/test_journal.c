/*
 * test_journal.c - the journal: one line a record whatever happens, and what counts as being in it.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/str.h"
#include "record/journal.h"
#include "record/record.h"

#define WRITERS 4
#define EACH    250

struct dir {
    char *path;
    int fd;
};

static int setup(void **state)
{
    struct dir *d = calloc(1, sizeof(*d));
    d->path = test_tmpdir();
    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct dir *d = *state;
    (void)close(d->fd);
    test_tmpdir_remove(d->path);
    free(d);
    return 0;
}

/* As a draft begins; `fill` makes it as long as real ones are. */
static json_t *record(const char *id, size_t fill)
{
    jb_autofree char *text = calloc(1, fill + 1);
    memset(text, 'x', fill);
    json_t *r = json_pack("{s:i, s:s, s:s}", "record_version", JB_RECORD_VERSION, "id", id, "fill", text);
    assert_non_null(r);
    return r;
}

static int append(const struct dir *d, const char *id, struct jb_error *err)
{
    json_t *r = record(id, 10);
    int result = jb_journal_append(d->fd, JB_SYNC_NEVER, r, err);
    json_decref(r);
    return result;
}

/* The one file there is; the month may change in the middle of a test run, so it is looked up. */
static char *journal_name(const struct dir *d)
{
    char *name = NULL;
    jb_autofree char *path = jb_asprintf("%s/journal", d->path);
    jb_autodir DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.') {
            assert_null(name);
            name = jb_asprintf("journal/%s", e->d_name);
        }
    assert_non_null(name);
    return name;
}

static char *content(const struct dir *d)
{
    jb_autofree char *name = journal_name(d);
    char *text = NULL;
    assert_int_equal(jb_read_at(d->fd, name, 16 << 20, &text, NULL), 0);
    return text;
}

static void one_line_a_record(void **state)
{
    const struct dir *d = *state;
    struct jb_error err = {0};
    struct stat st;
    assert_int_equal(jb_journal_has(d->fd, "A", &err), 0); /* no journal yet is no error */
    json_t *r = record("A", 3);
    assert_ok(jb_journal_append(d->fd, JB_SYNC_ALWAYS, r, &err), &err);
    json_decref(r);
    assert_ok(append(d, "B", &err), &err);
    jb_autofree char *text = content(d);
    static const char first[] =
        "{\"record_version\":1,\"id\":\"A\",\"fill\":\"xxx\",\"chain\":{\"writer\":\"";
    assert_memory_equal(text, first, strlen(first));
    const char *second = text + strcspn(text, "\n") + 1;
    assert_contains(second, "{\"record_version\":1,\"id\":\"B\",\"fill\":\"xxxxxxxxxx\",\"chain\":{");
    assert_string_equal(strchr(second, '\n'), "\n");
    jb_autofree char *name = journal_name(d);
    assert_int_equal(strlen(name), strlen("journal/2026-01.jsonl"));
    assert_int_equal(fstatat(d->fd, name, &st, 0), 0);
    assert_int_equal(st.st_mode & 07, 0); /* not for others */
    assert_int_equal(jb_journal_has(d->fd, "A", &err), 1);
    assert_int_equal(jb_journal_has(d->fd, "B", &err), 1);
    assert_int_equal(jb_journal_has(d->fd, "C", &err), 0);
}

static void torn_lines_are_closed_and_do_not_count(void **state)
{
    const struct dir *d = *state;
    struct jb_error err = {0};
    assert_ok(append(d, "A", &err), &err);
    jb_autofree char *name = journal_name(d);
    test_write(
        d->path, name,
        "{\"record_version\":1,\"id\":\"A\",\"fill\":\"\"}\n{\"record_version\":1,\"id\":\"TORN\",\"fi");
    assert_int_equal(jb_journal_has(d->fd, "TORN", &err), 0);
    assert_ok(append(d, "B", &err), &err);
    jb_autofree char *text = content(d);
    assert_contains(text, "\"TORN\",\"fi\n{\"record_version\":1,\"id\":\"B\"");
    assert_int_equal(jb_journal_has(d->fd, "B", &err), 1);
    assert_int_equal(jb_journal_has(d->fd, "A", &err), 1);
}

/* Labels are the submitter's words: one that is called "id" must not stand for a record. */
static void labels_do_not_count(void **state)
{
    const struct dir *d = *state;
    struct jb_error err = {0};
    json_t *r = json_pack("{s:i, s:s, s:{s:s, s:s}}", "record_version", 1, "id", "A", "labels", "id",
                          "VICTIM", "x", "{\"record_version\":1,\"id\":\"VICTIM\"");
    assert_ok(jb_journal_append(d->fd, JB_SYNC_NEVER, r, &err), &err);
    json_decref(r);
    assert_int_equal(jb_journal_has(d->fd, "A", &err), 1);
    assert_int_equal(jb_journal_has(d->fd, "VICTIM", &err), 0);
}

/* The wall clock may have been elsewhere when the record was written: later months count, and those since the id was made. */
static void found_although_the_clock_jumped(void **state)
{
    const struct dir *d = *state;
    struct jb_error err = {0};
    struct jb_id then;
    assert_int_equal(jb_id_new(UINT64_C(1000000) * 86400 * (50 * 365), &then), 0); /* in December of 2019 */
    jb_autofree char *line = jb_asprintf("{\"record_version\":1,\"id\":\"%s\"}\n", then.text);
    struct jb_id now;
    assert_int_equal(jb_id_new(jb_wall_us(NULL), &now), 0);
    jb_autofree char *ahead = jb_asprintf("{\"record_version\":1,\"id\":\"%s\"}\n", now.text);
    test_write(d->path, "journal/2020-01.jsonl", line);
    test_write(d->path, "journal/2999-12.jsonl", ahead);
    test_write(d->path, "journal/2999-13.jsonl.gz", "not looked at");
    assert_int_equal(jb_journal_has(d->fd, then.text, &err), 1);
    assert_int_equal(jb_journal_has(d->fd, now.text, &err), 1);
    /* what was written before the id was made is not searched */
    assert_int_equal(renameat(d->fd, "journal/2020-01.jsonl", d->fd, "journal/2019-01.jsonl"), 0);
    assert_int_equal(jb_journal_has(d->fd, then.text, &err), 0);
}

static void symlinks_are_not_followed(void **state)
{
    const struct dir *d = *state;
    struct jb_error err = {0};
    test_write(d->path, "elsewhere/x", "");
    assert_int_equal(symlinkat("elsewhere", d->fd, "journal"), 0);
    assert_int_equal(append(d, "A", &err), -ELOOP);
    assert_contains(err.text, "writing the record to journal/");
}

static void several_writers_lose_nothing(void **state)
{
    const struct dir *d = *state;
    static bool seen[WRITERS][EACH];
    pid_t pids[WRITERS];
    for (int w = 0; w < WRITERS; w++) {
        pids[w] = fork();
        assert_true(pids[w] >= 0);
        if (pids[w] > 0)
            continue;
        for (int i = 0; i < EACH; i++) {
            char id[32];
            (void)snprintf(id, sizeof(id), "%d-%d", w, i);
            json_t *r =
                record(id, (size_t)(i * 37 % 6000)); /* beyond what a pipe or a page would take at once */
            if (jb_journal_append(d->fd, JB_SYNC_NEVER, r, NULL) < 0)
                _exit(1);
            json_decref(r);
        }
        _exit(0);
    }
    for (int w = 0; w < WRITERS; w++) {
        int status;
        assert_int_equal(waitpid(pids[w], &status, 0), pids[w]);
        assert_int_equal(status, 0);
    }
    jb_autofree char *text = content(d);
    size_t lines = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), lines++) {
        int w = -1;
        int i = -1;
        json_error_t bad;
        json_t *r = json_loads(line, JSON_REJECT_DUPLICATES, &bad);
        assert_non_null(r);
        assert_int_equal(sscanf(json_string_value(json_object_get(r, "id")), "%d-%d", &w, &i), 2); // NOLINT
        assert_int_equal(json_string_length(json_object_get(r, "fill")), i * 37 % 6000);
        assert_in_range(w, 0, WRITERS - 1);
        assert_in_range(i, 0, EACH - 1);
        assert_false(seen[w][i]);
        seen[w][i] = true;
        json_decref(r);
    }
    assert_int_equal(lines, WRITERS * EACH);
}

/* A write that stops in the middle, as on a full disk: in a child, whose files may not grow beyond a limit. */
static void what_does_not_fit_is_cut_back(void **state)
{
    const struct dir *d = *state;
    struct jb_error err = {0};
    assert_ok(append(d, "A", &err), &err);
    jb_autofree char *before = content(d);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit limit = {strlen(before) + 20, strlen(before) + 20};
        (void)signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
            _exit(1);
        int r = append(d, "B", &err); /* part of it fits */
        if (r != -ENOSPC || !strstr(err.text, "writing the record to journal/"))
            _exit(2);
        r = append(d, "C", &err);
        _exit(r == -ENOSPC ? 0 : 3);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    jb_autofree char *after = content(d);
    assert_string_equal(after, before);
    assert_ok(append(d, "D", &err), &err); /* and it goes on when there is room again */
    assert_int_equal(jb_journal_has(d->fd, "B", &err), 0);
    assert_int_equal(jb_journal_has(d->fd, "D", &err), 1);
}

static void sinks_get_the_line(void **state)
{
    const struct dir *d = *state;
    struct jb_error err = {0};
    jb_autofree char *file = jb_asprintf("%s/sink", d->path);
    jb_autofree char *program = jb_asprintf("exec cat >> %s/piped", d->path);
    char *good[] = {(char *)"/bin/sh", (char *)"-c", program, NULL};
    char *bad[] = {(char *)"/bin/sh", (char *)"-c", (char *)"exit 3", NULL};
    char *absent[] = {(char *)"/nonexistent/sink", NULL};
    struct jb_site_sink sinks[] = {
        {.kind = JB_SINK_PROGRAM, .argv = {bad, 3}},
        {.kind = JB_SINK_PROGRAM, .argv = {absent, 1}},
        {.kind = JB_SINK_FILE, .path = file},
        {.kind = JB_SINK_PROGRAM, .argv = {good, 3}},
    };
    struct jb_site site = {.sinks = sinks, .n_sinks = 4};
    json_t *r = record("A", 3);
    assert_int_equal(jb_sinks_emit(&site, r, &err), -EPROTO); /* the first failure is told, all are tried */
    assert_contains(err.text, "sink /bin/sh: it ended with a failure; the journal has the record");
    site.sinks = sinks + 1;
    site.n_sinks = 1;
    assert_int_equal(jb_sinks_emit(&site, r, &err), -ENOENT);
    assert_contains(err.text, "sink /nonexistent/sink");
    site.sinks = sinks + 2;
    site.n_sinks = 2;
    assert_ok(jb_sinks_emit(&site, r, &err), &err);
    json_decref(r);
    static const char *const twice[] = {"sink", "piped"};
    for (size_t i = 0; i < JB_ARRAY_LEN(twice); i++) {
        jb_autofree char *text = NULL;
        const char *line = "{\"record_version\":1,\"id\":\"A\",\"fill\":\"xxx\"}\n";
        assert_int_equal(jb_read_at(d->fd, twice[i], 1000, &text, NULL), 0);
        assert_int_equal(strlen(text), 2 * strlen(line));
        assert_memory_equal(text, line, strlen(line));
    }
}

#define with_dir(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_dir(one_line_a_record),
        with_dir(labels_do_not_count),
        with_dir(found_although_the_clock_jumped),
        with_dir(torn_lines_are_closed_and_do_not_count),
        with_dir(symlinks_are_not_followed),
        with_dir(several_writers_lose_nothing),
        with_dir(sinks_get_the_line),
        with_dir(what_does_not_fit_is_cut_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
