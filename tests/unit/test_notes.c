/*
 * test_notes.c - the slots of `attempts`: one for each attempt, whole or not at all, free as soon as it is over.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "job/notes.h"

#define ID_A "01ARZ3NDEKTSV4RRFFQ69G5FAV"
#define ID_B "01ARZ3NDEKTSV4RRFFQ69G5FAW"

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

static char *lines_of(const char *id, const char *text)
{
    char *lines = jb_asprintf(
        "{\"plan\":{}}\n{\"record\":{\"record_version\":1,\"id\":\"%s\",\"text\":\"%s\"}}\n", id, text);
    assert_non_null(lines);
    return lines;
}

static struct jb_note begin(const struct dir *d, size_t wish, const char *id)
{
    struct jb_error err = {0};
    struct jb_note note = JB_NOTE_INIT;
    jb_autofree char *lines = lines_of(id, "first");
    assert_ok(jb_note_begin(d->fd, wish, lines, strlen(lines), &note, &err), &err);
    return note;
}

struct seen {
    int n, damaged;
    char id[JB_ID_LEN + 1];
    char *lines; /* of the last one */
    bool forget;
};

static void see(void *ctx, struct jb_note *note, const struct jb_id *id, const struct jb_buf *lines)
{
    struct seen *s = ctx;
    s->n++;
    s->damaged += id == NULL;
    free(s->lines);
    s->lines = strdup(lines->data ? lines->data : "");
    if (id)
        memcpy(s->id, id->text, sizeof(s->id));
    if (s->forget)
        jb_note_forget(note);
}

/* Returns how many are held. */
static int look(const struct dir *d, bool forget, struct seen *ret)
{
    *ret = (struct seen){.forget = forget};
    return jb_notes_each(d->fd, see, ret);
}

static void nobody_is_under_way(void **state)
{
    struct dir *d = *state;
    struct seen s;
    struct jb_note note = JB_NOTE_INIT;
    struct jb_buf lines = {0};
    const struct jb_id id = {ID_A};
    assert_int_equal(look(d, false, &s), 0);
    assert_int_equal(s.n, 0);
    assert_int_equal(jb_note_find(d->fd, &id, &note, &lines), 0);
    jb_note_forget(&note); /* of nothing is fine */
}

static void held_while_its_supervisor_lives(void **state)
{
    struct dir *d = *state;
    struct seen s;
    struct jb_note a = begin(d, 3, ID_A);
    assert_int_equal(a.slot, 3);
    assert_int_equal(look(d, true, &s), 1);
    assert_int_equal(s.n, 0);
    jb_note_close(&a); /* as his death does */
    assert_int_equal(look(d, false, &s), 0);
    assert_int_equal(s.n, 1);
    assert_string_equal(s.id, ID_A);
    jb_autofree char *expected = lines_of(ID_A, "first");
    assert_string_equal(s.lines, expected);
    free(s.lines);
    assert_int_equal(look(d, true, &s), 0); /* it was left: still there */
    assert_int_equal(s.n, 1);
    free(s.lines);
    assert_int_equal(look(d, true, &s), 0);
    assert_int_equal(s.n, 0);
}

static void forgotten_when_it_is_over(void **state)
{
    struct dir *d = *state;
    struct seen s;
    struct jb_note a = begin(d, 0, ID_A);
    jb_note_forget(&a);
    assert_int_equal(a.fd, -1);
    assert_int_equal(look(d, false, &s), 0);
    assert_int_equal(s.n, 0);
    struct jb_note b = begin(d, 0, ID_B); /* the slot is used again */
    assert_int_equal(b.slot, 0);
    jb_note_close(&b);
}

static void wishes_that_meet_get_slots_of_their_own(void **state)
{
    struct dir *d = *state;
    struct jb_note notes[20];
    for (size_t i = 0; i < JB_ARRAY_LEN(notes); i++) {
        notes[i] = begin(d, 7, ID_A);
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(notes[i].slot, notes[k].slot);
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(notes); i++)
        jb_note_close(&notes[i]);
    /* slots of the dead are not taken either: they are to be recovered first */
    struct jb_note next = begin(d, 7, ID_B);
    for (size_t i = 0; i < JB_ARRAY_LEN(notes); i++)
        assert_int_not_equal(next.slot, notes[i].slot);
    jb_note_close(&next);
}

static void found_by_id_whoever_holds_it(void **state)
{
    struct dir *d = *state;
    struct seen s;
    struct jb_note a = begin(d, 0, ID_A);
    struct jb_note b = begin(d, 1, ID_B);
    const struct jb_id id = {ID_B};
    struct jb_note found = JB_NOTE_INIT;
    jb_autobuf struct jb_buf lines = {0};
    assert_int_equal(jb_note_find(d->fd, &id, &found, &lines), 1);
    assert_int_equal(found.slot, 1);
    assert_contains(lines.data, ID_B);
    jb_note_forget(&found);
    jb_note_close(&a);
    jb_note_close(&b);
    assert_int_equal(look(d, true, &s), 0);
    assert_int_equal(s.n, 1);
    assert_string_equal(s.id, ID_A);
    free(s.lines);
}

static void a_line_is_added_if_there_is_room(void **state)
{
    struct dir *d = *state;
    struct seen s;
    struct jb_note a = begin(d, 0, ID_A);
    const char *more = "{\"record\":{\"more\":true}}\n";
    char huge[JB_NOTE_SLOT + 2];
    memset(huge, 'x', sizeof(huge) - 2);
    huge[sizeof(huge) - 2] = '\n';
    huge[sizeof(huge) - 1] = '\0';
    jb_note_add(&a, more, strlen(more));
    jb_note_add(&a, huge, strlen(huge));
    jb_note_close(&a);
    assert_int_equal(look(d, true, &s), 0);
    jb_autofree char *first = lines_of(ID_A, "first");
    jb_autofree char *expected = jb_asprintf("%s%s", first, more);
    assert_string_equal(s.lines, expected);
    free(s.lines);
    struct jb_error err = {0};
    struct jb_note none = JB_NOTE_INIT;
    assert_int_equal(jb_note_begin(d->fd, 0, huge, strlen(huge), &none, &err), -EMSGSIZE);
    assert_int_equal(none.fd, -1);
    assert_contains(err.text, "attempts");
}

/* Any byte that is not as it was written takes its line and what follows away, and nothing else is made of it. */
static void torn_or_mixed_is_not_believed(void **state)
{
    struct dir *d = *state;
    struct seen s;
    struct jb_note a = begin(d, 0, ID_A);
    size_t len = a.len;
    jb_note_close(&a);
    jb_autoclose int fd = openat(d->fd, "attempts", O_RDWR | O_CLOEXEC);
    jb_autofree char *first = lines_of(ID_A, "first");
    for (size_t i = 0; i < len; i++) {
        char was;
        assert_int_equal(pread(fd, &was, 1, (off_t)i), 1);
        char other = was == '#' ? '%' : '#';
        assert_int_equal(pwrite(fd, &other, 1, (off_t)i), 1);
        assert_int_equal(look(d, false, &s), 0);
        assert_int_equal(s.n, 1);
        assert_int_equal(s.damaged, 1);
        assert_int_equal(strncmp(first, s.lines, strlen(s.lines)), 0);
        free(s.lines);
        assert_int_equal(pwrite(fd, &was, 1, (off_t)i), 1);
    }
    assert_int_equal(look(d, true, &s), 0);
    assert_int_equal(s.damaged, 0);
    free(s.lines);
}

static void a_file_of_others_is_not_used(void **state)
{
    struct dir *d = *state;
    struct seen s;
    struct jb_error err = {0};
    struct jb_note note = begin(d, 0, ID_A);
    jb_note_close(&note);
    assert_int_equal(fchmodat(d->fd, "attempts", 0666, 0), 0);
    assert_int_equal(look(d, true, &s), -EPERM);
    assert_int_equal(jb_note_begin(d->fd, 0, "x\n", 2, &note, &err), -EPERM);
    assert_int_equal(unlinkat(d->fd, "attempts", 0), 0);
    test_write(d->path, "elsewhere", "");
    assert_int_equal(symlinkat("elsewhere", d->fd, "attempts"), 0);
    assert_int_equal(jb_note_begin(d->fd, 0, "x\n", 2, &note, &err), -ELOOP);
    assert_int_equal(look(d, true, &s), -ELOOP);
}

#define with_dir(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_dir(nobody_is_under_way),           with_dir(held_while_its_supervisor_lives),
        with_dir(forgotten_when_it_is_over),     with_dir(wishes_that_meet_get_slots_of_their_own),
        with_dir(found_by_id_whoever_holds_it),  with_dir(a_line_is_added_if_there_is_room),
        with_dir(torn_or_mixed_is_not_believed), with_dir(a_file_of_others_is_not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
