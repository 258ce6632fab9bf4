/*
 * test_report_index.c - the index is what the journals are: filled bit by bit or at once, whatever happens to the files.
 */
#include "support.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "report/index.h"
#include "report/query.h"

struct world {
    char *dir, *file;
    struct jb_strv journals;
    struct jb_index_spec spec;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    w->dir = test_tmpdir();
    w->file = jb_asprintf("%s/index.db", w->dir);
    assert_int_equal(jb_strv_printf(&w->journals, "%s/journal", w->dir), 0);
    w->spec = (struct jb_index_spec){w->file, &w->journals};
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    test_tmpdir_remove(w->dir);
    free(w->file);
    jb_strv_free(&w->journals);
    free(w);
    return 0;
}

/* The 26 characters of an id that ends in this number. */
static void id_of(unsigned n, char id[27])
{
    (void)snprintf(id, 27, "01M887DSDZF5ETQ2DP%08u", n);
}

static void append(const struct world *w, const char *name, const char *text)
{
    jb_autofree char *path = jb_asprintf("%s/journal/%s", w->dir, name);
    jb_autofree char *folder = jb_asprintf("%s/journal", w->dir);
    (void)mkdir(folder, 0755);
    FILE *f = fopen(path, "ae");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void add_record(const struct world *w, const char *name, unsigned n, const char *user, unsigned wall)
{
    char id[27];
    id_of(n, id);
    jb_autofree char *line = jb_asprintf("{\"record_version\":1,\"id\":\"%s\",\"name\":\"n%u\",\"user\":\"%"
                                         "s\",\"labels\":{\"k\":\"%s\"},\"times\":{"
                                         "\"ended\":\"2026-10-%02uT12:00:00Z\",\"wall_s\":%u.5},\"granted\":{"
                                         "\"cores\":2,\"cpu_count\":4},\"end\":{"
                                         "\"reason\":\"completed\"}}\n",
                                         id, n, user, n % 2 ? "odd" : "even", n % 28 + 1, wall);
    append(w, name, line);
}

static struct jb_index *open_index(const struct world *w, uint64_t expect_new)
{
    struct jb_error err = {0};
    struct jb_index *index = NULL;
    uint64_t added = 0;
    assert_ok(jb_index_update(&w->spec, false, &added, &err), &err);
    assert_int_equal(added, expect_new);
    assert_ok(jb_index_open(w->file, &index, &err), &err);
    return index;
}

static double total(struct jb_index *index, const char *column)
{
    struct jb_error err = {0};
    struct jb_measure measure;
    assert_ok(jb_measure_parse(column, &measure, &err), &err);
    struct jb_query q = {.filter = JB_FILTER_INIT, .measures = &measure, .n_measures = 1, .sort = -1};
    jb_autoresult struct jb_result result = {0};
    assert_ok(jb_query_run(index, &q, &result, &err), &err);
    return result.total.values[0];
}

static void filled_bit_by_bit(void **state)
{
    const struct world *w = *state;
    jb_index_free(open_index(w, 0)); /* no journal yet */
    for (unsigned n = 0; n < 50; n++) {
        add_record(w, "2026-10.jsonl", n, "ann", n);
        jb_autoindex struct jb_index *index = open_index(w, 1);
        assert_int_equal(jb_index_rows(index), n + 1);
    }
    jb_autoindex struct jb_index *index = open_index(w, 0);
    assert_true(total(index, "jobs") == 50);
    assert_true(fabs(total(index, "wall") - (49 * 25 + 25)) < 1e-6);
}

static void beyond_one_segment(void **state)
{
    const struct world *w = *state;
    jb_autobuf struct jb_buf text = {0};
    for (unsigned n = 0; n < 2 * JB_SEGMENT + 10; n++) {
        char id[27];
        id_of(n, id);
        assert_int_equal(
            jb_buf_printf(&text, "{\"record_version\":1,\"id\":\"%s\",\"times\":{\"wall_s\":1}}\n", id), 0);
    }
    size_t half = (size_t)(strchr(text.data + text.len / 2, '\n') + 1 - text.data);
    jb_autofree char *first = strndup(text.data, half);
    append(w, "2026-10.jsonl", first);
    struct jb_error err = {0};
    uint64_t first_new = 0;
    uint64_t second_new = 0;
    assert_ok(jb_index_update(&w->spec, false, &first_new, &err), &err);
    append(w, "2026-10.jsonl", text.data + half);
    assert_ok(jb_index_update(&w->spec, false, &second_new, &err), &err);
    assert_int_equal(first_new + second_new, 2 * JB_SEGMENT + 10);
    jb_autoindex struct jb_index *index = open_index(w, 0);
    assert_true(total(index, "wall") == 2 * JB_SEGMENT + 10);
    for (unsigned n = 1; n < 2 * JB_SEGMENT; n += 1777) {
        char id[27];
        uint64_t row;
        id_of(n, id);
        assert_ok(jb_index_find(index, id, &row, &err), &err);
        assert_int_equal(row, n);
    }
}

static void renamed_and_compressed_files_are_the_same(void **state)
{
    const struct world *w = *state;
    for (unsigned n = 0; n < 5; n++)
        add_record(w, "2026-10.jsonl", n, "ann", 1);
    jb_index_free(open_index(w, 5));
    jb_autofree char *command = jb_asprintf(
        "cd %s/journal && mv 2026-10.jsonl 2026-10.jsonl.1 && cp 2026-10.jsonl.1 copy.jsonl", w->dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    jb_index_free(open_index(w, 0));
    add_record(w, "2026-10.jsonl.1", 5, "ann", 1); /* a writer that still had it open */
    jb_autofree char *zip = jb_asprintf("cd %s/journal && gzip 2026-10.jsonl.1 && rm copy.jsonl", w->dir);
    assert_int_equal(system(zip), 0); /* NOLINT(cert-env33-c) */
    jb_index_free(open_index(w, 1));
    add_record(w, "2026-10.jsonl", 6, "ann", 1); /* and a new file of the same name */
    jb_autoindex struct jb_index *index = open_index(w, 1);
    assert_true(total(index, "jobs") == 7);
    struct jb_error err = {0};
    uint64_t added = 0;
    assert_ok(jb_index_update(&w->spec, true, &added, &err), &err);
    assert_int_equal(added, 7); /* the same from nothing */
}

static void damaged_lines_are_counted_and_named(void **state)
{
    const struct world *w = *state;
    struct jb_error err = {0};
    add_record(w, "2026-10.jsonl", 1, "ann", 1);
    append(w, "2026-10.jsonl", "{\"record_version\":1,\"id\":\"01M8\n");
    append(w, "2026-10.jsonl", "{\"some\":\"thing\"}\n");
    append(w, "2026-10.jsonl", "{\"record_version\":7,\"id\":\"x\"}\n");
    add_record(w, "2026-10.jsonl", 1, "bob", 1);
    add_record(w, "2026-09.jsonl", 2, "a\xFF", 1);
    append(w, "2026-09.jsonl", "{\"record_version\":1,\"id\":\"01M9");
    jb_autoindex struct jb_index *index = open_index(w, 2);
    struct jb_index_health health;
    assert_ok(jb_index_health(index, &health, &err), &err);
    assert_int_equal(health.lines[JB_LINE_RECORD], 2);
    assert_int_equal(health.lines[JB_LINE_TORN], 2);
    assert_int_equal(health.lines[JB_LINE_FOREIGN], 1);
    assert_int_equal(health.lines[JB_LINE_FUTURE], 1);
    assert_int_equal(health.lines[JB_LINE_DOUBLED], 1);
    assert_int_equal(health.not_utf8, 1);
    jb_autofree char *text = NULL;
    assert_ok(jb_index_health_text(&health, &text, &err), &err);
    assert_contains(text, "5 lines of the journals are not counted: 2 torn");
    assert_contains(text, "1 record has text that is not UTF-8");
    assert_contains(text, "2026-10.jsonl, byte ");
    /* the torn tail is completed: it is a record then, and nothing is torn twice */
    append(w, "2026-09.jsonl", "9DSDZF5ETQ2DP000000009\"}\n");
    jb_autoindex struct jb_index *again = open_index(w, 1);
    assert_ok(jb_index_health(again, &health, &err), &err);
    assert_int_equal(health.lines[JB_LINE_TORN], 1);
}

static void a_file_that_shrank_is_told(void **state)
{
    const struct world *w = *state;
    struct jb_error err = {0};
    add_record(w, "2026-10.jsonl", 1, "ann", 1);
    add_record(w, "2026-10.jsonl", 2, "ann", 1);
    jb_index_free(open_index(w, 2));
    jb_autofree char *path = jb_asprintf("%s/journal/2026-10.jsonl", w->dir);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size / 2), 0);
    jb_autoindex struct jb_index *index = open_index(w, 0);
    struct jb_index_health health;
    assert_ok(jb_index_health(index, &health, &err), &err);
    assert_int_equal(health.unread, 1);
    assert_contains(health.unread_first, "is shorter than it was");
}

static void no_database_is_made_again(void **state)
{
    const struct world *w = *state;
    struct jb_error err = {0};
    uint64_t added = 0;
    add_record(w, "2026-10.jsonl", 1, "ann", 1);
    test_write(w->dir, "index.db",
               "this is no database, but it is long enough to look at, and then some more of it ...");
    struct jb_index *none = NULL;
    assert_int_equal(jb_index_open(w->file, &none, &err), -EBADMSG);
    assert_contains(err.text, "--rebuild");
    assert_ok(jb_index_update(&w->spec, false, &added, &err), &err);
    assert_int_equal(added, 1);
}

/* Readers while somebody fills and somebody makes it anew: each sees a whole index. */
static void readers_beside_writers(void **state)
{
    const struct world *w = *state;
    struct jb_error err = {0};
    add_record(w, "2026-10.jsonl", 0, "ann", 1);
    jb_index_free(open_index(w, 1));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (unsigned n = 1; n < 60; n++) {
            add_record(w, "2026-10.jsonl", n, "ann", 1);
            if (jb_index_update(&w->spec, n % 10 == 0, NULL, NULL) < 0)
                _exit(1);
        }
        _exit(0);
    }
    uint64_t last = 0;
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        jb_autoindex struct jb_index *index = NULL;
        assert_ok(jb_index_open(w->file, &index, &err), &err);
        uint64_t rows = jb_index_rows(index);
        assert_true(total(index, "jobs") == (double)rows);
        assert_true(rows >= last);
        last = rows;
    }
    assert_int_equal(status, 0);
}

static void found_by_prefix(void **state)
{
    const struct world *w = *state;
    struct jb_error err = {0};
    uint64_t row;
    add_record(w, "2026-10.jsonl", 10, "ann", 1);
    add_record(w, "2026-10.jsonl", 11, "ann", 1);
    jb_autoindex struct jb_index *index = open_index(w, 2);
    assert_int_equal(jb_index_find(index, "01M8", &row, &err), -ENOTUNIQ);
    assert_int_equal(jb_index_find(index, "02", &row, &err), -ENOENT);
    assert_int_equal(jb_index_find(index, "", &row, &err), -ENOENT);
    assert_int_equal(jb_index_find(index, "no id!", &row, &err), -ENOENT);
    assert_ok(jb_index_find(index, "01m887dsdzf5etq2dp00000011", &row, &err), &err);
    assert_int_equal(row, 1);
    struct jb_row got;
    assert_ok(jb_index_row(index, row, UINT64_C(1) << JB_COL_NAME | UINT64_C(1) << JB_COL_WALL, &got, &err),
              &err);
    assert_string_equal(jb_index_text(index, got.v[JB_COL_NAME]), "n11");
    assert_int_equal(got.v[JB_COL_WALL], 1500000);
    assert_int_equal(got.v[JB_COL_USER], JB_NONE); /* not asked for */
}

#define with_world(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_world(filled_bit_by_bit),
        with_world(beyond_one_segment),
        with_world(renamed_and_compressed_files_are_the_same),
        with_world(damaged_lines_are_counted_and_named),
        with_world(a_file_that_shrank_is_told),
        with_world(no_database_is_made_again),
        with_world(readers_beside_writers),
        with_world(found_by_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
