/*
 * test_sinks.c - what gets a record besides the journal, and that none of it holds anybody up.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"
#include "record/journal.h"
#include "record/sink.h"

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

static json_t *record(const char *user, const char *reason, size_t fill)
{
    jb_autofree char *text = calloc(1, fill + 1);
    memset(text, 'x', fill);
    json_t *r =
        json_pack("{s:i, s:s, s:s, s:s, s:n, s:s, s:{s:f}, s:{s:i}, s:{s:f, s:f}, s:{s:s}, s:s}",
                  "record_version", 1, "id", "01M887DSDZF5ETQ2DPW6RR7Z65", "name", "two\nlines", "user", user,
                  "account", "host", "node", "times", "wall_s", 2.5, "granted", "cores", 4, "used",
                  "cpu_user_s", 1.0, "cpu_system_s", 0.5, "end", "reason", reason, "fill", text);
    assert_non_null(r);
    return r;
}

static int emit(const struct jb_site_sink *sink, json_t *r, struct jb_error *err)
{
    struct jb_site_sink copy = *sink;
    struct jb_site site = {.sinks = &copy, .n_sinks = 1};
    int result = jb_sinks_emit(&site, r, err);
    json_decref(r);
    return result;
}

static int listener(const char *path, int kind)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, kind | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_true(strlen(path) < sizeof(to.sun_path));
    memcpy(to.sun_path, path, strlen(path));
    assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* The value of a field of the native protocol; NULL: it is not there. */
static char *field(const char *text, size_t len, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = text; p < text + len;) {
        const char *end = memchr(p, '\n', (size_t)(text + len - p));
        assert_non_null(end);
        const char *equals = memchr(p, '=', (size_t)(end - p));
        const char *value = end + 1 + 8;
        uint64_t size = 0;
        if (!equals) {
            memcpy(&size, end + 1, 8);
            assert_true(value + size < text + len && value[size] == '\n');
        }
        if ((size_t)((equals ? equals : end) - p) == n && strncmp(p, name, n) == 0)
            return equals ? strndup(equals + 1, (size_t)(end - equals - 1)) : strndup(value, size);
        p = equals ? end + 1 : value + size + 1;
    }
    return NULL;
}

static void journald_gets_fields(void **state)
{
    const struct dir *d = *state;
    struct jb_error err = {0};
    jb_autofree char *path = jb_asprintf("%s/journal.socket", d->path);
    jb_autoclose int fd = listener(path, SOCK_DGRAM);
    const struct jb_site_sink sink = {.kind = JB_SINK_JOURNALD, .path = path};
    assert_ok(emit(&sink, record("ann", "oom", 3), &err), &err);
    char text[8192];
    ssize_t n = recv(fd, text, sizeof(text), MSG_DONTWAIT);
    assert_true(n > 0);
    jb_autofree char *message = field(text, (size_t)n, "MESSAGE");
    assert_string_equal(message, "job two\nlines: oom");
    jb_autofree char *user = field(text, (size_t)n, "JOBBOX_USER");
    assert_string_equal(user, "ann");
    assert_null(field(text, (size_t)n, "JOBBOX_ACCOUNT")); /* it has none */
    jb_autofree char *line = field(text, (size_t)n, "JOBBOX_RECORD");
    json_t *back = json_loads(line, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(back, "name")), "two\nlines");
    json_decref(back);
}

/* Beyond what a datagram may have: a sealed file comes instead. */
static void a_large_record_goes_as_a_file(void **state)
{
    const struct dir *d = *state;
    struct jb_error err = {0};
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    jb_autofree char *path = jb_asprintf("%s/journal.socket", d->path);
    jb_autoclose int fd = listener(path, SOCK_DGRAM);
    const struct jb_site_sink sink = {.kind = JB_SINK_JOURNALD, .path = path};
    assert_ok(emit(&sink, record("ann", "oom", 1 << 20), &err), &err);
    struct msghdr msg = {.msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
    assert_int_equal(recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC), 0);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    assert_non_null(c);
    if (!c)
        return; /* the analyzer does not know that the line above ends it */
    int got = -1;
    memcpy(&got, CMSG_DATA(c), sizeof(got));
    jb_autoclose int file = got;
    assert_int_equal(fcntl(file, F_GET_SEALS) & F_SEAL_WRITE, F_SEAL_WRITE);
    jb_autofree char *text = NULL;
    size_t len;
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    assert_int_equal(jb_read_fd(file, 4 << 20, &text, &len), 0);
    jb_autofree char *line = field(text, len, "JOBBOX_RECORD");
    assert_true(strlen(line) > 1 << 20);
}

static void syslog_gets_rfc_5424(void **state)
{
    const struct dir *d = *state;
    static const int kinds[] = {SOCK_DGRAM, SOCK_STREAM};
    for (size_t i = 0; i < JB_ARRAY_LEN(kinds); i++) {
        struct jb_error err = {0};
        char text[8192];
        char host[64];
        char app[64];
        char id[64];
        int pid = 0;
        int end = 0;
        jb_autofree char *path = jb_asprintf("%s/log%zu", d->path, i);
        jb_autoclose int fd = listener(path, kinds[i]);
        if (kinds[i] == SOCK_STREAM)
            assert_int_equal(listen(fd, 1), 0);
        const struct jb_site_sink sink = {.kind = JB_SINK_SYSLOG, .path = path};
        assert_ok(emit(&sink, record("ann", "failed", 3), &err), &err);
        jb_autoclose int from = kinds[i] == SOCK_STREAM ? accept4(fd, NULL, NULL, SOCK_CLOEXEC) : dup(fd);
        ssize_t n = recv(from, text, sizeof(text) - 1, MSG_DONTWAIT);
        assert_true(n > 0);
        text[n] = '\0';
        /* NOLINTNEXTLINE(cert-err34-c) */
        assert_int_equal(
            sscanf(text, "<30>1 %*4d-%*2d-%*2dT%*[0-9:.]Z %63s %63s %d %63s - %n", host, app, &pid, id, &end),
            4);
        assert_string_equal(host, "node");
        assert_string_equal(app, "jobbox");
        assert_int_equal(pid, getpid());
        assert_string_equal(id, "record");
        assert_null(strchr(text, '\n'));
        json_t *back = json_loads(text + end, 0, NULL);
        assert_string_equal(json_string_value(json_object_get(back, "user")), "ann");
        json_decref(back);
    }
}

static double sample(const struct dir *d, const char *name)
{
    jb_autofree char *text = NULL;
    assert_int_equal(jb_read_at(d->fd, "jobbox.prom", 1 << 20, &text, NULL), 0);
    const char *at = strstr(text, name);
    return at ? strtod(at + strlen(name), NULL) : -1;
}

static void counters_only_grow(void **state)
{
    const struct dir *d = *state;
    struct jb_error err = {0};
    jb_autofree char *path = jb_asprintf("%s/jobbox.prom", d->path);
    const struct jb_site_sink sink = {.kind = JB_SINK_TEXTFILE, .path = path};
    for (int i = 0; i < 3; i++)
        assert_ok(emit(&sink, record("ann", "completed", 3), &err), &err);
    assert_ok(emit(&sink, record("ann", "oom", 3), &err), &err);
    assert_ok(emit(&sink, record("e\"vil\n\\", "oom", 3), &err), &err);
    assert_true(sample(d, "jobbox_jobs_total{user=\"ann\",account=\"\",reason=\"completed\"} ") == 3);
    assert_true(sample(d, "jobbox_jobs_total{user=\"ann\",account=\"\",reason=\"oom\"} ") == 1);
    assert_true(sample(d, "jobbox_jobs_total{user=\"e\\\"vil?\\\\\",account=\"\",reason=\"oom\"} ") == 1);
    assert_true(sample(d, "jobbox_wall_seconds_total{user=\"ann\",account=\"\",reason=\"completed\"} ") ==
                7.5);
    assert_true(sample(d, "jobbox_core_seconds_total{user=\"ann\",account=\"\",reason=\"completed\"} ") ==
                30);
    assert_true(sample(d, "jobbox_cpu_seconds_total{user=\"ann\",account=\"\",reason=\"completed\"} ") ==
                4.5);
}

static void counters_of_several_writers(void **state)
{
    const struct dir *d = *state;
    jb_autofree char *path = jb_asprintf("%s/jobbox.prom", d->path);
    const struct jb_site_sink sink = {.kind = JB_SINK_TEXTFILE, .path = path};
    pid_t pids[3];
    for (int p = 0; p < 3; p++) {
        pids[p] = fork();
        assert_true(pids[p] >= 0);
        if (pids[p] > 0)
            continue;
        for (int i = 0; i < 20; i++)
            if (emit(&sink, record("ann", "completed", 3), NULL) < 0)
                _exit(1);
        _exit(0);
    }
    for (int p = 0; p < 3; p++) {
        int status;
        assert_int_equal(waitpid(pids[p], &status, 0), pids[p]);
        assert_int_equal(status, 0);
    }
    assert_true(sample(d, "jobbox_jobs_total{user=\"ann\",account=\"\",reason=\"completed\"} ") == 60);
}

/* None of these may take longer than the second that is theirs; ten would be the program's own. */
static void nobody_is_waited_for(void **state)
{
    const struct dir *d = *state;
    char *hangs[] = {(char *)"/bin/sleep", (char *)"600", NULL};
    jb_autofree char *fifo = jb_asprintf("%s/fifo", d->path);
    jb_autofree char *socket_path = jb_asprintf("%s/full", d->path);
    jb_autofree char *nowhere = jb_asprintf("%s/no/such", d->path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    jb_autoclose JB_UNUSED int fd = listener(socket_path, SOCK_DGRAM); /* nobody reads it */
    const struct {
        struct jb_site_sink sink;
        const char *text;
    } cases[] = {
        {{.kind = JB_SINK_PROGRAM, .argv = {hangs, 2}}, "sink /bin/sleep: it has not ended within 1000 ms"},
        {{.kind = JB_SINK_FILE, .path = fifo},
         "fifo (the journal has the record): No such device or address"},
        {{.kind = JB_SINK_FILE, .path = nowhere}, "No such file or directory"},
        {{.kind = JB_SINK_JOURNALD, .path = nowhere}, "No such file or directory"},
        {{.kind = JB_SINK_SYSLOG, .path = nowhere}, "No such file or directory"},
        {{.kind = JB_SINK_TEXTFILE, .path = nowhere}, "No such file or directory"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_error err = {0};
        assert_true(emit(&cases[i].sink, record("ann", "oom", 3), &err) < 0);
        assert_contains(err.text, cases[i].text);
    }
    struct jb_error err = {0};
    const struct jb_site_sink full = {.kind = JB_SINK_SYSLOG, .path = socket_path};
    int r = 0;
    for (int i = 0; r == 0 && i < 100000; i++)
        r = emit(&full, record("ann", "oom", 3), &err);
    assert_int_equal(r, -EAGAIN);
}

/* The process that watches over a program must hold nothing of ours: a lock would keep a box alive. */
static void a_program_holds_no_lock(void **state)
{
    const struct dir *d = *state;
    char *hangs[] = {(char *)"/bin/sleep", (char *)"3", NULL};
    struct jb_error err = {0};
    jb_autofree char *path = jb_asprintf("%s/lock", d->path);
    jb_autoclose int held = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    jb_autoclose int other = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(jb_lock_try(held), 0);
    const struct jb_site_sink sink = {.kind = JB_SINK_PROGRAM, .argv = {hangs, 2}};
    assert_int_equal(emit(&sink, record("ann", "oom", 3), &err), -EINPROGRESS);
    jb_close(&held);
    assert_int_equal(jb_lock_try(other), 0);
}

#define with_dir(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_dir(journald_gets_fields),        with_dir(a_large_record_goes_as_a_file),
        with_dir(syslog_gets_rfc_5424),        with_dir(counters_only_grow),
        with_dir(counters_of_several_writers), with_dir(nobody_is_waited_for),
        with_dir(a_program_holds_no_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
