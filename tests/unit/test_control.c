/*
 * test_control.c - requests to a box's control socket: their language, the exchange, and who may ask.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"
#include "job/control.h"

static int parse(const char *text, struct jb_ask *ret, struct jb_error *err)
{
    return jb_ask_parse(text, strlen(text), ret, err);
}

static void requests_that_are_right(void **state)
{
    (void)state;
    struct jb_error err = {0};
    struct jb_ask ask;
    for (enum jb_verb v = 0; v < JB_VERB_MAX; v++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "{\"verb\":\"%s\"%s}", jb_verb_name(v),
                       v == JB_VERB_SIGNAL ? ",\"signal\":64,\"main\":true" : "");
        assert_ok(parse(text, &ask, &err), &err);
        assert_int_equal(ask.verb, v);
        assert_int_equal(ask.signal, v == JB_VERB_SIGNAL ? 64 : 0);
        assert_int_equal(ask.main_only, v == JB_VERB_SIGNAL);
        assert_int_equal(ask.wish.memory, JB_UNSET);
    }
    assert_ok(parse("{\"verb\":\"update\",\"memory_bytes\":1048576,\"cpus\":3,\"pids\":2,\"wall_time_ns\":5,"
                    "\"cpu_time_ns\":6}",
                    &ask, &err),
              &err);
    assert_int_equal(ask.wish.memory, 1048576);
    assert_int_equal(ask.wish.cpus, 3);
    assert_int_equal(ask.wish.pids, 2);
    assert_int_equal(ask.wish.wall_ns, 5);
    assert_int_equal(ask.wish.cpu_ns, 6);
    assert_false(ask.once);
    assert_ok(parse("{\"verb\":\"cancel\",\"once\":true}", &ask, &err), &err);
    assert_true(ask.once);
}

static void requests_that_are_wrong(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "[]",
        "{}",
        "{\"verb\":1}",
        "{\"verb\":\"reboot\"}",
        "{\"verb\":\"pause\",\"verb\":\"cancel\"}",
        "{\"verb\":\"signal\"}",
        "{\"verb\":\"signal\",\"signal\":0}",
        "{\"verb\":\"signal\",\"signal\":65}",
        "{\"verb\":\"signal\",\"signal\":\"9\"}",
        "{\"verb\":\"signal\",\"signal\":9,\"main\":1}",
        "{\"verb\":\"pause\",\"signal\":9}",
        "{\"verb\":\"pause\",\"once\":true}",
        "{\"verb\":\"cancel\",\"once\":1}",
        "{\"verb\":\"pause\",\"cpus\":1}",
        "{\"verb\":\"update\",\"cpus\":0}",
        "{\"verb\":\"update\",\"cpus\":-1}",
        "{\"verb\":\"update\",\"cpus\":1.5}",
        "{\"verb\":\"update\",\"memory_bytes\":1}",
        "{\"verb\":\"update\",\"wall_time_ns\":99999999999999999999}",
        "{\"verb\":\"update\",\"nice\":1}",
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(wrong); i++) {
        struct jb_error err = {0};
        struct jb_ask ask;
        assert_int_equal(parse(wrong[i], &ask, &err), -EINVAL);
        assert_true(err.text[0] != '\0');
    }
}

#define ID "01M85C2J2YHAKTCDKWSA4Q8W93"

/* A supervisor that answers one request with its own verb, or not at all. */
static void serve_one(int box_fd, bool answer)
{
    struct jb_control control;
    struct jb_error err = {0};
    assert_ok(jb_control_open(box_fd, geteuid(), &control, &err), &err);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) {
        (void)close(control.listen_fd);
        return;
    }
    (void)alarm(20);
    struct pollfd p = {.fd = control.listen_fd, .events = POLLIN};
    (void)poll(&p, 1, -1);
    jb_control_accept(&control, getuid());
    p.fd = control.peers[0].fd;
    (void)poll(&p, 1, -1);
    char text[256];
    ssize_t n = recv(p.fd, text, sizeof(text), 0);
    struct jb_ask ask;
    if (n < 0 || control.peers[0].uid != getuid() || jb_ask_parse(text, (size_t)n, &ask, &err) < 0)
        _exit(1);
    json_t *reply = json_pack("{s:b, s:s}", "ok", 1, "verb", jb_verb_name(ask.verb));
    if (answer)
        jb_control_answer(&control.peers[0], reply);
    else
        (void)poll(&p, 1, -1); /* until the other side gives up */
    _exit(0);
}

static void an_answer_or_the_reason_why_not(void **state)
{
    (void)state;
    char *dir = test_tmpdir();
    struct jb_error err = {0};
    struct jb_id id = {ID};
    json_t *request = json_pack("{s:s}", "verb", "pause");
    json_t *answer = NULL;
    int status;
    jb_autoclose int boxes = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(jb_control_ask(boxes, &id, request, 1000, &answer, &err), -ENOENT);
    assert_int_equal(mkdirat(boxes, ID, 0700), 0);
    jb_autoclose int box = openat(boxes, ID, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(jb_control_ask(boxes, &id, request, 1000, &answer, &err), -ENOENT);
    serve_one(box, true);
    assert_ok(jb_control_ask(boxes, &id, request, 20000, &answer, &err), &err);
    assert_string_equal(json_string_value(json_object_get(answer, "verb")), "pause");
    json_decref(answer);
    assert_true(wait(&status) > 0 && status == 0);
    /* its supervisor is gone and the socket still there */
    assert_int_equal(jb_control_ask(boxes, &id, request, 1000, &answer, &err), -ENOENT);
    assert_int_equal(unlinkat(box, JB_CONTROL_NAME, 0), 0);
    serve_one(box, false);
    assert_int_equal(jb_control_ask(boxes, &id, request, 30, &answer, &err), -ETIMEDOUT);
    assert_true(wait(&status) > 0 && status == 0);
    json_decref(request);
    test_tmpdir_remove(dir);
}

static void the_oldest_of_too_many_peers_goes(void **state)
{
    (void)state;
    struct jb_control control = JB_CONTROL_INIT;
    struct jb_error err = {0};
    char *dir = test_tmpdir();
    int fds[JB_CONTROL_PEERS + 1];
    jb_autoclose int box = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_ok(jb_control_open(box, geteuid(), &control, &err), &err);
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);
    assert_int_equal(getsockname(control.listen_fd, (struct sockaddr *)&own, &len), 0);
    for (int i = 0; i <= JB_CONTROL_PEERS; i++) {
        fds[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&own, len), 0);
        jb_control_accept(&control, getuid());
    }
    assert_int_equal(control.n, JB_CONTROL_PEERS);
    char byte;
    assert_int_equal(recv(fds[0], &byte, 1, MSG_DONTWAIT), 0); /* let go */
    assert_int_equal(recv(fds[1], &byte, 1, MSG_DONTWAIT), -1);
    for (int i = 0; i <= JB_CONTROL_PEERS; i++)
        (void)close(fds[i]);
    jb_control_close(&control);
    test_tmpdir_remove(dir);
}

/* A supervisor that is busy for a moment, and then serves whoever came until one has asked. */
static pid_t serve_after(struct jb_control *control, unsigned ms)
{
    char text[256];
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    (void)alarm(20);
    (void)poll(NULL, 0, (int)ms);
    for (;;) {
        struct pollfd p = {.fd = control->listen_fd, .events = POLLIN};
        (void)poll(&p, 1, -1);
        jb_control_accept(control, getuid());
        p.fd = control->peers[0].fd;
        if (poll(&p, 1, 200) > 0 && recv(p.fd, text, sizeof(text), 0) > 0) {
            json_t *reply = json_pack("{s:b}", "ok", 1);
            jb_control_answer(&control->peers[0], reply);
            _exit(0);
        }
        jb_control_drop(control, 0);
    }
}

static void whoever_comes_when_the_line_is_full_waits(void **state)
{
    (void)state;
    struct jb_control control = JB_CONTROL_INIT;
    struct jb_error err = {0};
    struct jb_id id = {ID};
    char *dir = test_tmpdir();
    json_t *request = json_pack("{s:s}", "verb", "pause");
    json_t *answer = NULL;
    int fds[256];
    size_t n = 0;
    int status;
    jb_autoclose int boxes = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(boxes, ID, 0700), 0);
    jb_autoclose int box = openat(boxes, ID, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_ok(jb_control_open(box, geteuid(), &control, &err), &err);
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);
    assert_int_equal(getsockname(control.listen_fd, (struct sockaddr *)&own, &len), 0);
    do
        fds[n] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    while (connect(fds[n], (struct sockaddr *)&own, len) == 0 && ++n < JB_ARRAY_LEN(fds) - 1);
    for (size_t i = 0; i <= n; i++)
        (void)close(fds[i]);
    assert_int_equal(jb_control_ask(boxes, &id, request, 30, &answer, &err), -ETIMEDOUT);
    pid_t pid = serve_after(&control, 100);
    assert_ok(jb_control_ask(boxes, &id, request, 20000, &answer, &err), &err);
    assert_true(waitpid(pid, &status, 0) == pid && status == 0);
    json_decref(answer);
    json_decref(request);
    jb_control_close(&control);
    test_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_that_are_right),
        cmocka_unit_test(requests_that_are_wrong),
        cmocka_unit_test(an_answer_or_the_reason_why_not),
        cmocka_unit_test(the_oldest_of_too_many_peers_goes),
        cmocka_unit_test(whoever_comes_when_the_line_is_full_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
