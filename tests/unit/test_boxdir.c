/*
 * test_boxdir.c - what a box's directory remembers, whenever its supervisor died.
 */
#include "plan_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "job/boxdir.h"
#include "job/scratch.h"
#include "record/record.h"

struct box {
    struct fixture *f;
    struct jb_plan *plan;
    char *path;
    int fd, file;
    json_t *draft, *finished;
};

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof(*b));
    b->f = fixture_new(true);
    b->plan = fixture_plan(b->f);
    b->path = test_tmpdir();
    b->fd = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    b->file = -1;
    b->draft = json_pack("{s:s}", "state", "draft");
    b->finished = json_pack("{s:s}", "state", "finished");
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    json_decref(b->draft);
    json_decref(b->finished);
    jb_close(&b->file);
    (void)close(b->fd);
    test_tmpdir_remove(b->path);
    jb_plan_free(b->plan);
    fixture_free(b->f);
    free(b);
    return 0;
}

static const char *state_of(const struct jb_boxdir_found *found)
{
    return json_string_value(json_object_get(found->record, "state"));
}

static void nothing_there(void **state)
{
    struct box *b = *state;
    struct jb_error err = {0};
    struct jb_boxdir_found found;
    assert_ok(jb_boxdir_load(b->fd, &found, &err), &err);
    assert_null(found.record);
    assert_int_equal(found.fd, -1);
    jb_boxdir_found_free(&found);
}

/* The plan's line, as begin made it. */
static int begin_plan(struct box *b, int *ret_fd, struct jb_error *err)
{
    jb_autobuf struct jb_buf line = {0};
    return jb_boxdir_begin(b->fd, b->plan, ret_fd, &line, err);
}

static void begin(struct box *b)
{
    struct jb_error err = {0};
    jb_autofree char *line = NULL;
    size_t len;
    assert_ok(begin_plan(b, &b->file, &err), &err);
    assert_ok(jb_record_line(b->draft, &line, &len, &err), &err);
    assert_ok(jb_boxdir_save_record(b->file, line, len, &err), &err);
}

/* Things to remove, and no record to leave. */
static void a_plan_alone_is_found(void **state)
{
    struct box *b = *state;
    struct jb_error err = {0};
    struct jb_boxdir_found found;
    assert_ok(begin_plan(b, &b->file, &err), &err);
    assert_ok(jb_boxdir_load(b->fd, &found, &err), &err);
    assert_true(found.planned);
    assert_null(found.record);
    assert_string_equal(found.cgroup.name, b->plan->cgroup.name);
    jb_boxdir_found_free(&found);
}

static void what_was_begun_is_found(void **state)
{
    struct box *b = *state;
    struct jb_error err = {0};
    struct jb_boxdir_found found;
    begin(b);
    assert_ok(jb_boxdir_load(b->fd, &found, &err), &err);
    assert_string_equal(state_of(&found), "draft");
    assert_false(found.finished);
    assert_false(found.scratch_on_disk);
    assert_string_equal(found.cgroup.name, b->plan->cgroup.name);
    assert_null(found.cgroup.parent);
    for (enum jb_controller c = 0; c < JB_CTL_MAX; c++) {
        assert_int_equal(found.cgroup.use[c], b->plan->cgroup.use[c]);
        jb_autofree char *was = jb_cg_path(b->plan->cgroups, &b->plan->cgroup, c);
        jb_autofree char *is = jb_cg_path(&found.cgroups, &found.cgroup, c);
        assert_int_equal(was == NULL, is == NULL);
        if (was)
            assert_string_equal(was, is);
    }
    jb_boxdir_found_free(&found);
    /* a second attempt in the same directory is none of ours */
    int again = -1;
    assert_int_equal(begin_plan(b, &again, &err), -EEXIST);
    assert_int_equal(again, -1);
}

static void the_last_word_counts(void **state)
{
    struct box *b = *state;
    struct jb_error err = {0};
    struct jb_boxdir_found found;
    const char *later = "{\"state\":\"isolated\"}\n";
    const char *last = "{\"state\":\"finished\"}\n";
    begin(b);
    assert_ok(jb_boxdir_save_record(b->file, later, strlen(later), &err), &err);
    assert_ok(jb_boxdir_load(b->fd, &found, &err), &err);
    assert_string_equal(state_of(&found), "isolated");
    assert_false(found.finished);
    /* who recovers goes on with the same file */
    assert_ok(jb_boxdir_save_finished(found.fd, last, strlen(last), &err), &err);
    jb_boxdir_found_free(&found);
    assert_ok(jb_boxdir_load(b->fd, &found, &err), &err);
    assert_string_equal(state_of(&found), "finished");
    assert_true(found.finished);
    jb_boxdir_found_free(&found);
}

/* Cut at every byte, as a power cut may: the file loads, and never claims more than was written. */
static void torn_at_any_byte(void **state)
{
    struct box *b = *state;
    struct jb_error err = {0};
    jb_autofree char *text = NULL;
    size_t len = 0;
    const char *last = "{\"state\":\"finished\"}\n";
    begin(b);
    assert_ok(jb_boxdir_save_finished(b->file, last, strlen(last), &err), &err);
    assert_int_equal(jb_read_at(b->fd, "box.jsonl", 1 << 20, &text, &len), 0);
    const char *first_end = strchr(text, '\n');
    const char *second_end = strchr(first_end + 1, '\n');
    for (size_t cut = 0; cut <= len; cut++) {
        struct jb_boxdir_found found;
        jb_autoclose int fd = openat(b->fd, "box.jsonl", O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_int_equal(jb_write_all(fd, text, cut), 0);
        assert_ok(jb_boxdir_load(b->fd, &found, &err), &err);
        assert_int_equal(found.record != NULL, cut > (size_t)(second_end - text));
        assert_int_equal(found.finished, cut == len);
        assert_int_equal(found.cgroup.name != NULL, cut > (size_t)(first_end - text));
        /* who recovers and fails must not keep the next one from it: his line is no part of the torn one */
        if (found.record) {
            assert_ok(jb_boxdir_save_finished(found.fd, last, strlen(last), &err), &err);
            jb_boxdir_found_free(&found);
            assert_ok(jb_boxdir_load(b->fd, &found, &err), &err);
            assert_true(found.finished);
        }
        jb_boxdir_found_free(&found);
    }
}

/* Plan and draft as box.jsonl has them; the file is gone afterwards. */
static char *copy_of(struct box *b)
{
    char *lines = NULL;
    if (unlinkat(b->fd, "box.jsonl", 0) == 0)
        jb_close(&b->file);
    begin(b);
    assert_int_equal(jb_read_at(b->fd, "box.jsonl", 1 << 20, &lines, NULL), 0);
    assert_int_equal(unlinkat(b->fd, "box.jsonl", 0), 0);
    jb_close(&b->file);
    return lines;
}

#define CGROUP(controller, mount)                                                \
    ("{\"plan\":{\"name\":\"jobbox-x\",\"cgroups\":[{\"controller\":" controller \
     ",\"version\":1,\"mount\":" mount ",\"own\":\"/\"}]}}\n")

/* A line that makes no sense counts for nothing, is named, and takes nothing away from the others. */
static void nonsense_is_named_and_skipped(void **state)
{
    static const char *const bad[] = {
        "not json\n",
        "{}\n",
        "[]\n",
        "{\"record\":7}\n",
        "{\"finished\":[]}\n",
        "{\"plan\":{}}\n",
        CGROUP("99", "\"/\""),
        CGROUP("-1", "\"/\""),
        CGROUP("0", "7"),
    };
    struct box *b = *state;
    for (size_t i = 0; i < JB_ARRAY_LEN(bad); i++) {
        struct jb_error err = {0};
        struct jb_boxdir_found found;
        test_write(b->path, "box.jsonl", bad[i]);
        assert_ok(jb_boxdir_load(b->fd, &found, &err), &err);
        assert_contains(found.damage, "line 1 of box.jsonl");
        assert_null(found.record);
        assert_false(found.planned || found.finished);
        /* what is missing comes from a copy, and the groups from one of the two */
        jb_autofree char *lines = copy_of(b);
        jb_boxdir_learn(lines, &found);
        assert_string_equal(state_of(&found), "draft");
        assert_true(found.planned);
        assert_string_equal(found.cgroup.name, b->plan->cgroup.name);
        jb_boxdir_found_free(&found);

        jb_autofree char *mixed = jb_asprintf("%s%s{\"record\":{\"state\":\"later\"}}\n", lines, bad[i]);
        test_write(b->path, "box.jsonl", mixed);
        assert_ok(jb_boxdir_load(b->fd, &found, &err), &err);
        assert_contains(found.damage, "line 3 of box.jsonl");
        assert_string_equal(state_of(&found), "later");
        assert_false(found.finished);
        jb_boxdir_learn(lines, &found); /* knows nothing better */
        assert_string_equal(state_of(&found), "later");
        jb_boxdir_found_free(&found);
    }
}

static void what_others_made_is_not_believed(void **state)
{
    struct box *b = *state;
    struct jb_error err = {0};
    struct jb_boxdir_found found;
    begin(b);
    assert_int_equal(fchmod(b->file, 0622), 0);
    assert_int_equal(jb_boxdir_load(b->fd, &found, &err), -EPERM);
    assert_int_equal(fchmod(b->file, 0600), 0);
    assert_int_equal(linkat(b->fd, "box.jsonl", b->fd, "second", 0), 0);
    assert_int_equal(jb_boxdir_load(b->fd, &found, &err), -EPERM);
    assert_contains(err.text, "was not made by jobbox");
    assert_int_equal(unlinkat(b->fd, "second", 0), 0);
    assert_int_equal(fchmod(b->fd, 0777), 0);
    assert_int_equal(jb_boxdir_load(b->fd, &found, &err), -EPERM);
    assert_int_equal(fchmod(b->fd, 0700), 0);
    assert_ok(jb_boxdir_load(b->fd, &found, &err), &err);
    jb_boxdir_found_free(&found);
    assert_int_equal(unlinkat(b->fd, "box.jsonl", 0), 0);
    test_write(b->path, "elsewhere", "{\"plan\":{}}\n");
    assert_int_equal(symlinkat("elsewhere", b->fd, "box.jsonl"), 0);
    assert_int_equal(jb_boxdir_load(b->fd, &found, &err), -ELOOP);
}

static void scratch_is_removed_by_id(void **state)
{
    struct box *b = *state;
    struct jb_error err = {0};
    struct jb_id other = {"01ARZ3NDEKTSV4RRFFQ69G5FAZ"};
    assert_ok(jb_scratch_remove(b->fd, &b->plan->id, &err), &err); /* none at all */
    test_write(b->path, "scratch/" FIXTURE_ID "/upper0/x", "x");
    test_write(b->path, "scratch/01ARZ3NDEKTSV4RRFFQ69G5FAZ/upper0/x", "x");
    assert_ok(jb_scratch_remove(b->fd, &b->plan->id, &err), &err);
    assert_int_equal(faccessat(b->fd, "scratch/" FIXTURE_ID, F_OK, 0), -1);
    assert_int_equal(faccessat(b->fd, "scratch/01ARZ3NDEKTSV4RRFFQ69G5FAZ/upper0/x", F_OK, 0), 0);
    assert_ok(jb_scratch_remove(b->fd, &b->plan->id, &err), &err); /* again is fine */
    assert_ok(jb_scratch_remove(b->fd, &other, &err), &err);
    test_write(b->path, "away/" FIXTURE_ID "/x", "x");
    assert_int_equal(unlinkat(b->fd, "scratch", AT_REMOVEDIR), 0);
    assert_int_equal(symlinkat("away", b->fd, "scratch"), 0);
    assert_true(jb_scratch_remove(b->fd, &b->plan->id, &err) < 0);
    assert_int_equal(faccessat(b->fd, "away/" FIXTURE_ID "/x", F_OK, 0), 0);
}

#define with_box(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_box(nothing_there),
        with_box(a_plan_alone_is_found),
        with_box(what_was_begun_is_found),
        with_box(the_last_word_counts),
        with_box(torn_at_any_byte),
        with_box(nonsense_is_named_and_skipped),
        with_box(what_others_made_is_not_believed),
        with_box(scratch_is_removed_by_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
