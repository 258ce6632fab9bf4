/*
 * test_chain.c - the chain of records: unbroken whatever died, broken wherever somebody changed something.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "record/chain.h"
#include "record/journal.h"
#include "record/record.h"
#include "report/verify.h"

#define RECORDS 9

struct world {
    char *dir;
    int fd;
    char *name; /* of the journal, below dir */
};

static void add(const struct world *w, unsigned n)
{
    struct jb_error err = {0};
    char id[27];
    (void)snprintf(id, sizeof(id), "01M887DSDZF5ETQ2DP%08u", n);
    json_t *record = json_pack("{s:i, s:s, s:s, s:s}", "record_version", 1, "id", id, "name", "job",
                               "boot_id", "00000000-0000-0000-0000-000000000000");
    assert_ok(jb_journal_append(w->fd, JB_SYNC_NEVER, record, &err), &err);
    json_decref(record);
}

static char *find(const struct world *w, const char *end)
{
    jb_autofree char *folder = jb_asprintf("%s/journal", w->dir);
    jb_autodir DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        size_t a = strlen(e->d_name);
        size_t b = strlen(end);
        if (a >= b && jb_streq(e->d_name + a - b, end))
            return jb_asprintf("journal/%s", e->d_name);
    }
    return NULL;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    w->dir = test_tmpdir();
    w->fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned n = 1; n <= RECORDS; n++)
        add(w, n);
    w->name = find(w, ".jsonl");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    (void)close(w->fd);
    test_tmpdir_remove(w->dir);
    free(w->name);
    free(w);
    return 0;
}

static char *content(const struct world *w)
{
    char *text = NULL;
    assert_int_equal(jb_read_at(w->fd, w->name, 1 << 20, &text, NULL), 0);
    return text;
}

/* The text is the caller's. */
static void check(const struct world *w, struct jb_verified *v)
{
    struct jb_error err = {0};
    jb_autostrv struct jb_strv paths = {0};
    assert_int_equal(jb_strv_printf(&paths, "%s/journal", w->dir), 0);
    assert_ok(jb_journal_verify(&paths, v, &err), &err);
}

static bool is_good(const struct jb_verified *v)
{
    for (int i = 0; i < JB_FOUND_MAX; i++)
        if (v->found[i] > 0)
            return false;
    return true;
}

static void expect_good(const struct world *w, uint64_t records, uint64_t writers)
{
    struct jb_verified v;
    check(w, &v);
    if (!is_good(&v))
        fail_msg("%s", v.lines.len ? v.lines.items[0] : "?");
    assert_int_equal(v.records, records);
    assert_int_equal(v.writers, writers);
    jb_verified_free(&v);
}

static void expect(const struct world *w, enum jb_finding finding, uint64_t n, const char *text)
{
    struct jb_verified v;
    check(w, &v);
    if (v.found[finding] != n)
        fail_msg("%s: %llu", jb_finding_name(finding), (unsigned long long)v.found[finding]);
    if (n > 0 && text)
        assert_contains(v.lines.items[0], text);
    jb_verified_free(&v);
}

static char *line_at(char *text, unsigned n)
{
    for (; n > 1; n--)
        text = strchr(text, '\n') + 1;
    return text;
}

static void what_was_written_verifies(void **state)
{
    expect_good(*state, RECORDS, 1);
}

static void any_changed_byte_is_found(void **state)
{
    const struct world *w = *state;
    jb_autofree char *text = content(w);
    size_t len = strlen(text);
    for (size_t at = 1; at < len; at += 61) {
        jb_autofree char *changed = strdup(text);
        if (changed[at] == '\n' || changed[at - 1] == '\n')
            continue;
        changed[at] = changed[at] == '1' ? '2' : '1';
        test_write(w->dir, w->name, changed);
        struct jb_verified v;
        check(w, &v);
        bool bad = false;
        for (int i = 0; i < JB_FOUND_MAX; i++)
            bad = bad || v.found[i] > 0;
        if (!bad)
            fail_msg("byte %zu", at);
        jb_verified_free(&v);
    }
}

/* Whoever changes a record and makes its digest right breaks the link of the next one. */
static void a_forged_record_breaks_the_next(void **state)
{
    const struct world *w = *state;
    jb_autofree char *text = content(w);
    char *third = line_at(text, 3);
    size_t len = (size_t)(strchr(third, '\n') - third);
    struct jb_chain_link link;
    assert_true(jb_chain_parse(third, len, &link));
    struct jb_chain chain = {.seq = 2};
    (void)snprintf(chain.writer, sizeof(chain.writer), "%s", link.writer);
    (void)snprintf(chain.sha256, sizeof(chain.sha256), "%s", link.prev);
    static const char lie[] =
        "{\"record_version\":1,\"id\":\"01M887DSDZF5ETQ2DP00000003\",\"name\":\"lie\"}\n";
    jb_autofree char *forged = NULL;
    size_t forged_len;
    assert_int_equal(jb_chain_add(&chain, lie, strlen(lie), &forged, &forged_len), 0);
    jb_autofree char *whole = jb_asprintf("%.*s%s%s", (int)(third - text), text, forged, third + len + 1);
    test_write(w->dir, w->name, whole);
    expect(w, JB_FOUND_ALTERED, 1, "does not follow the record 3");
}

static void removed_records_are_missing(void **state)
{
    const struct world *w = *state;
    jb_autofree char *text = content(w);
    char *fourth = line_at(text, 4);
    char *sixth = line_at(text, 6);
    jb_autofree char *cut = jb_asprintf("%.*s%s", (int)(fourth - text), text, sixth);
    test_write(w->dir, w->name, cut);
    expect(w, JB_FOUND_MISSING, 2, "from 4 to 5");
    /* at the end only the state knows */
    fourth[0] = '\0';
    test_write(w->dir, w->name, text);
    expect(w, JB_FOUND_MISSING, RECORDS - 3, "the last 6 records");
}

static void doubled_records(void **state)
{
    const struct world *w = *state;
    jb_autofree char *text = content(w);
    jb_autofree char *twice = jb_asprintf("%s%s", text, line_at(text, RECORDS));
    test_write(w->dir, w->name, twice);
    expect(w, JB_FOUND_DOUBLED, 1, "doubled: record 9");
    /* the same id under another number */
    test_write(w->dir, w->name, text);
    add(w, 5);
    expect(w, JB_FOUND_DOUBLED, 1, "doubled: the record with id 01M887DSDZF5ETQ2DP00000005");
}

/* kill -9 between the journal and the state, and in the middle of a line: the chain goes on as if nothing was. */
static void whoever_dies_breaks_nothing(void **state)
{
    const struct world *w = *state;
    jb_autofree char *name = find(w, ".chain");
    char *before = NULL;
    assert_int_equal(jb_read_at(w->fd, name, 4096, &before, NULL), 0);
    add(w, RECORDS + 1);
    test_write(w->dir, name, before); /* as it was before that record */
    free(before);
    add(w, RECORDS + 2);
    expect_good(w, RECORDS + 2, 1);
    jb_autofree char *text = content(w);
    jb_autofree char *torn = jb_asprintf("%s{\"record_version\":1,\"id\":\"01M", text);
    test_write(w->dir, w->name, torn);
    add(w, RECORDS + 3);
    expect(w, JB_FOUND_TORN, 1, "a line that ends too early");
    expect(w, JB_FOUND_MISSING, 0, NULL);
    expect(w, JB_FOUND_ALTERED, 0, NULL);
}

static void a_lost_state_is_found_again(void **state)
{
    const struct world *w = *state;
    jb_autofree char *name = find(w, ".chain");
    static const char *const rubbish[] = {NULL, "", "rubbish", "vm 1 2 3"};
    for (size_t i = 0; i < JB_ARRAY_LEN(rubbish); i++) {
        if (rubbish[i])
            test_write(w->dir, name, rubbish[i]);
        else
            assert_int_equal(unlinkat(w->fd, name, 0), 0);
        add(w, RECORDS + 1 + (unsigned)i);
        expect_good(w, RECORDS + 1 + i, 1);
    }
}

/* A new month, a file that logrotate took away, one that it compressed: one chain. */
static void over_several_files(void **state)
{
    const struct world *w = *state;
    assert_int_equal(renameat(w->fd, w->name, w->fd, "journal/2020-01.jsonl"), 0);
    add(w, RECORDS + 1);
    expect_good(w, RECORDS + 1, 1);
    jb_autofree char *rotated = jb_asprintf("%s.1", w->name);
    assert_int_equal(renameat(w->fd, w->name, w->fd, rotated), 0);
    add(w, RECORDS + 2);
    jb_autofree char *zip = jb_asprintf("gzip %s/%s %s/journal/2020-01.jsonl", w->dir, rotated, w->dir);
    assert_int_equal(system(zip), 0); /* NOLINT(cert-env33-c) */
    add(w, RECORDS + 3);
    expect_good(w, RECORDS + 3, 1);
}

static void several_writers_one_chain(void **state)
{
    const struct world *w = *state;
    pid_t pids[4];
    for (unsigned p = 0; p < 4; p++) {
        pids[p] = fork();
        assert_true(pids[p] >= 0);
        if (pids[p] > 0)
            continue;
        for (unsigned n = 0; n < 50; n++)
            add(w, 1000 * (p + 1) + n);
        _exit(0);
    }
    for (unsigned p = 0; p < 4; p++) {
        int status;
        assert_int_equal(waitpid(pids[p], &status, 0), pids[p]);
        assert_int_equal(status, 0);
    }
    expect_good(w, RECORDS + 200, 1);
}

/* Another host's records between ours, in the same file on a file system that is shared. */
static void several_hosts_in_one_file(void **state)
{
    const struct world *w = *state;
    struct jb_chain other = {.writer = "elsewhere-00000001"};
    for (unsigned n = 0; n < 5; n++) {
        static const char form[] = "{\"record_version\":1,\"id\":\"01M887DSDZF5ETQ2DQ%08u\"}\n";
        char line[128];
        jb_autofree char *linked = NULL;
        size_t len;
        (void)snprintf(line, sizeof(line), form, n);
        assert_int_equal(jb_chain_add(&other, line, strlen(line), &linked, &len), 0);
        jb_autoclose int fd = openat(w->fd, w->name, O_WRONLY | O_APPEND | O_CLOEXEC);
        assert_int_equal(jb_write_all(fd, linked, len), 0);
        add(w, RECORDS + 1 + n);
    }
    expect_good(w, RECORDS + 10, 2);
}

/* A label that looks like a link is none: it is not the last thing in the line. */
static void only_the_end_of_a_line_is_a_link(void **state)
{
    (void)state;
    struct jb_chain chain = {.writer = "h-00000000"};
    struct jb_chain_link link;
    jb_autofree char *line = NULL;
    size_t len;
    static const char record[] =
        "{\"record_version\":1,\"labels\":{\"a\":\"x\",\"chain\":{\"writer\":\"evil-00000000\",\"seq\":5,"
        "\"prev\":null,\"sha256\":\"0000000000000000000000000000000000000000000000000000000000000000\"}}}\n";
    assert_false(jb_chain_parse(record, strlen(record) - 1, &link));
    assert_int_equal(jb_chain_add(&chain, record, strlen(record), &line, &len), 0);
    assert_true(jb_chain_parse(line, len - 1, &link));
    assert_string_equal(link.writer, "h-00000000");
    assert_int_equal(link.seq, 1);
    assert_string_equal(link.prev, "");
    assert_true(jb_chain_is_whole(line, &link));
}

/* What sinks get and `run --json` prints is the line of the journal, byte by byte. */
static void the_record_gets_its_link(void **state)
{
    const struct world *w = *state;
    struct jb_error err = {0};
    json_t *record =
        json_pack("{s:i, s:s, s:f}", "record_version", 1, "id", "01M887DSDZF5ETQ2DS00000000", "x", 0.1);
    for (int i = 0; i < 2; i++) {
        jb_autofree char *line = NULL;
        size_t len;
        assert_ok(jb_journal_append(w->fd, JB_SYNC_NEVER, record, &err), &err);
        assert_ok(jb_record_line(record, &line, &len, &err), &err);
        jb_autofree char *text = content(w);
        assert_string_equal(line_at(text, RECORDS + 1 + (unsigned)i), line);
    }
    json_decref(record);
}

/* Of a batch one waits for the disk, the others do not. */
static void a_batch_waits_once(void **state)
{
    const struct world *w = *state;
    static const char line[] = "{\"record_version\":1,\"id\":\"01M887DSDZF5ETQ2DR00000000\"}\n";
    struct jb_error err = {0};
    unsigned waits = 0;
    for (unsigned i = 0; i < 20; i++) {
        int fd = -1;
        assert_ok(jb_journal_write(w->fd, JB_SYNC_BATCH, line, strlen(line), NULL, &fd, &err), &err);
        assert_ok(jb_journal_sync(fd, JB_SYNC_BATCH, &err), &err);
        waits += fd >= 0;
        jb_close(&fd);
    }
    assert_true(waits < 20);
    int fd = -1;
    assert_ok(jb_journal_write(w->fd, JB_SYNC_ALWAYS, line, strlen(line), NULL, &fd, &err), &err);
    assert_true(fd >= 0);
    jb_close(&fd);
}

struct growth {
    const struct world *w;
    atomic_bool over;
};

static void *grow(void *arg)
{
    struct growth *g = arg;
    for (unsigned n = RECORDS + 1; n <= RECORDS + 400; n++)
        add(g->w, n);
    atomic_store(&g->over, true);
    return NULL;
}

/* What is written while it is looked at is neither missing nor altered. */
static void a_journal_that_grows_is_whole(void **state)
{
    const struct world *w = *state;
    struct growth g = {.w = w};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, grow, &g), 0);
    do {
        struct jb_verified v;
        check(w, &v);
        for (int i = 0; i < JB_FOUND_MAX; i++)
            if (v.found[i] > 0 && jb_finding_is_bad((enum jb_finding)i))
                fail_msg("%s", v.lines.len ? v.lines.items[0] : "?");
        jb_verified_free(&v);
    } while (!atomic_load(&g.over));
    assert_int_equal(pthread_join(thread, NULL), 0);
    expect_good(w, RECORDS + 400, 1);
}

#define with_world(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_world(what_was_written_verifies),
        with_world(any_changed_byte_is_found),
        with_world(a_forged_record_breaks_the_next),
        with_world(removed_records_are_missing),
        with_world(doubled_records),
        with_world(whoever_dies_breaks_nothing),
        with_world(a_lost_state_is_found_again),
        with_world(over_several_files),
        with_world(several_writers_one_chain),
        with_world(several_hosts_in_one_file),
        cmocka_unit_test(only_the_end_of_a_line_is_a_link),
        with_world(the_record_gets_its_link),
        with_world(a_batch_waits_once),
        with_world(a_journal_that_grows_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
