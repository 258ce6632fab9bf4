/*
 * test_events.c - the event log: what is written when, kept, recovered and found.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"
#include "job/events.h"

#define ID_A "01M85C2J2YHAKTCDKWSA4Q8W93"
#define ID_B "01M85C2J2YHAKTCDKWSA4Q8W94"

struct fixture {
    char *dir;
    int state_fd, boxes_fd, box_fd;
    struct jb_events e;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->dir = test_tmpdir();
    f->state_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(f->state_fd, "boxes", 0700), 0);
    f->boxes_fd = openat(f->state_fd, "boxes", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(f->boxes_fd, ID_A, 0700), 0);
    f->box_fd = openat(f->boxes_fd, ID_A, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->e = JB_EVENTS_INIT;
    f->e.box_fd = f->box_fd;
    memcpy(f->e.id.text, ID_A, sizeof(ID_A));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    jb_events_free(&f->e);
    jb_close(&f->box_fd);
    jb_close(&f->boxes_fd);
    jb_close(&f->state_fd);
    test_tmpdir_remove(f->dir);
    free(f);
    return 0;
}

static unsigned lines_of(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void lines_are_json_in_order(void **state)
{
    struct fixture *f = *state;
    char quoted[32];
    uint64_t before = jb_mono_ns(NULL);
    (void)jb_events_add(&f->e, JB_UNSET, "go", "%s", "");
    struct jb_stamp early =
        jb_events_add(&f->e, before, "odd", ",\"text\":%s",
                      jb_events_quote("say \"\\\n\xff and much more than fits", quoted, sizeof(quoted)));
    assert_int_equal(early.mono_ns, before);
    assert_int_equal(lines_of(f->e.text.data), 2);
    char *second = strchr(f->e.text.data, '\n') + 1;
    json_t *line = json_loads(second, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "id")), ID_A);
    assert_int_equal(json_integer_value(json_object_get(line, "seq")), 1);
    assert_string_equal(json_string_value(json_object_get(line, "event")), "odd");
    assert_memory_equal(json_string_value(json_object_get(line, "text")), "say \"\\??", 8);
    json_decref(line);
}

static void without_a_log_there_is_still_a_time(void **state)
{
    (void)state;
    struct jb_stamp stamp = jb_events_add(NULL, JB_UNSET, "go", "%s", "");
    assert_true(stamp.mono_ns > 0 && stamp.wall_us > 0);
}

static void flushed_once_and_found_while_it_lives(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_id id;
    jb_autobuf struct jb_buf text = {0};
    (void)jb_events_add(&f->e, JB_UNSET, "go", "%s", "");
    assert_ok(jb_events_flush(&f->e, &err), &err);
    assert_ok(jb_events_flush(&f->e, &err), &err);
    (void)jb_events_add(&f->e, JB_UNSET, "end", "%s", "");
    assert_ok(jb_events_flush(&f->e, &err), &err);
    assert_ok(jb_events_find(f->state_fd, f->boxes_fd, "01M85C2J2Y", &id, &text, &err), &err);
    assert_string_equal(id.text, ID_A);
    assert_string_equal(text.data, f->e.text.data);
}

static void kept_and_found_afterwards(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_id id;
    jb_autobuf struct jb_buf text = {0};
    (void)jb_events_add(&f->e, JB_UNSET, "go", "%s", "");
    assert_ok(jb_events_keep(&f->e, f->state_fd, &err), &err);
    struct jb_events other = JB_EVENTS_INIT;
    memcpy(other.id.text, ID_B, sizeof(ID_B));
    (void)jb_events_add(&other, JB_UNSET, "go", "%s", "");
    assert_ok(jb_events_keep(&other, f->state_fd, &err), &err);
    jb_events_free(&other);
    assert_ok(jb_events_find(f->state_fd, -1, ID_A, &id, &text, &err), &err);
    assert_string_equal(text.data, f->e.text.data);
    assert_int_equal(jb_events_find(f->state_fd, -1, "01M85C2J2Y", &id, &text, &err), -ENOTUNIQ);
    assert_int_equal(jb_events_find(f->state_fd, -1, "01ZZ", &id, &text, &err), -ENOENT);
    assert_int_equal(jb_events_find(f->state_fd, -1, "", &id, &text, &err), -ENOENT);
}

/* Half a line was never written, and what recovery writes twice is shown once. */
static void recovered_even_twice(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_id id;
    jb_autobuf struct jb_buf text = {0};
    (void)jb_events_add(&f->e, JB_UNSET, "go", "%s", "");
    (void)jb_events_add(&f->e, JB_UNSET, "state", ",\"to\":\"running\"");
    assert_ok(jb_events_flush(&f->e, &err), &err);
    assert_int_equal(write(f->e.fd, "{\"id\":\"half", 11), 11);
    for (int i = 0; i < 2; i++)
        assert_ok(jb_events_recover(&f->e.id, f->box_fd, f->state_fd, "supervisor_lost", &err), &err);
    assert_ok(jb_events_find(f->state_fd, f->boxes_fd, ID_A, &id, &text, &err), &err);
    assert_int_equal(lines_of(text.data), 3);
    assert_non_null(strstr(text.data, "\"seq\":2,"));
    assert_non_null(strstr(text.data, "\"event\":\"recovered\",\"reason\":\"supervisor_lost\""));
}

static void a_flood_is_counted_not_kept(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < JB_EVENTS_MAX + 5; i++)
        (void)jb_events_add(&f->e, JB_UNSET, "signal", "%s", "");
    assert_int_equal(f->e.seq, JB_EVENTS_MAX);
    assert_int_equal(f->e.lost, 5);
}

#define with_fixture(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_fixture(lines_are_json_in_order),
        with_fixture(without_a_log_there_is_still_a_time),
        with_fixture(flushed_once_and_found_while_it_lives),
        with_fixture(kept_and_found_afterwards),
        with_fixture(recovered_even_twice),
        with_fixture(a_flood_is_counted_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
