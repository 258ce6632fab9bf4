/*
 * test_box_member.c - jobbox-init as the reaper of one command: it signals nobody but what that command started, so it
 * is run beside the test itself.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "box/box.h"

#define INIT    BINARY_DIR "/runner/jobbox-init"
#define PATIENT 20000 /* ms */

struct member {
    struct jb_box box;
    int out;
    struct jb_msg msg;
};

static struct member start(const char *options, const char *script)
{
    int pair[2];
    int out[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct member m = {.box = JB_BOX_INIT, .out = out[0]};
    m.box.pid = fork();
    assert_true(m.box.pid >= 0);
    if (m.box.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (dup2(out[1], 1) < 0 || dup2(out[1], 2) < 0 || dup2(pair[1], JB_CONTROL_FD) < 0)
            _exit(98);
        (void)close_range(4, ~0U, 0);
        (void)setenv("PATH", "/usr/bin:/bin", 1);
        (void)execl(INIT, "jobbox-init", options, "/bin/sh", "-c", script, NULL);
        _exit(97);
    }
    (void)close(pair[1]);
    (void)close(out[1]);
    m.box.control = pair[0];
    return m;
}

static void hear(struct member *m, uint32_t type)
{
    struct pollfd fd = {.fd = m->box.control, .events = POLLIN};
    if (poll(&fd, 1, PATIENT) != 1)
        fail_msg("no message of type %u came", type);
    assert_int_equal(jb_box_listen(&m->box, &m->msg), 1);
    assert_int_equal(m->msg.type, type);
}

static void tell(const struct member *m, uint32_t type, int value)
{
    struct jb_msg msg = {.type = type, .value = value};
    assert_int_equal(jb_box_tell(&m->box, &msg), 0);
}

static void begin(struct member *m)
{
    hear(m, JB_MSG_READY);
    tell(m, JB_MSG_GO, 0);
    hear(m, JB_MSG_STARTED);
}

/* All that it writes until nobody holds the other end any more. */
static const char *all_output(const struct member *m, char *buf, size_t len)
{
    size_t n = 0;
    struct pollfd fd = {.fd = m->out, .events = POLLIN};
    while (n < len - 1) {
        assert_int_equal(poll(&fd, 1, PATIENT), 1);
        ssize_t got = read(m->out, buf + n, len - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    buf[n] = '\0';
    return buf;
}

static void end(struct member *m)
{
    jb_box_close(&m->box);
    jb_close(&m->out);
}

static void what_a_command_leaves_is_killed_and_nothing_else(void **state)
{
    (void)state;
    char text[64];
    pid_t other = fork();
    if (other == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            (void)pause();
    }
    struct member m =
        start("---m-", "trap \"\" TERM HUP; (setsid sh -c \"sleep 1000 & sleep 1000\" &); echo x; exit 4");
    begin(&m);
    hear(&m, JB_MSG_ENDED);
    assert_int_equal(WEXITSTATUS(m.msg.value), 4);
    assert_int_equal(m.msg.value2, 0);                              /* nothing of it is left */
    assert_string_equal(all_output(&m, text, sizeof(text)), "x\n"); /* so nobody holds its output */
    assert_int_equal(waitpid(other, NULL, WNOHANG), 0);
    (void)kill(other, SIGKILL);
    (void)waitpid(other, NULL, 0);
    end(&m);
}

static void what_is_to_be_kept_is_kept(void **state)
{
    (void)state;
    char text[32];
    struct member m = start("---mk", "sleep 1000 >/dev/null 2>&1 & echo $!");
    begin(&m);
    hear(&m, JB_MSG_ENDED);
    pid_t left = (pid_t)strtol(all_output(&m, text, sizeof(text)), NULL, 10);
    end(&m);
    assert_true(left > 0);
    assert_int_equal(kill(left, 0), 0);
    (void)kill(left, SIGKILL);
}

static void a_signal_goes_to_the_commands_group(void **state)
{
    (void)state;
    char text[64];
    struct member m = start("---m-", "trap \"exit 9\" TERM; echo set; while :; do sleep 0.05; done");
    begin(&m);
    assert_int_equal(read(m.out, text, 4), 4);
    tell(&m, JB_MSG_SIGNAL, SIGTERM);
    hear(&m, JB_MSG_ENDED);
    assert_int_equal(WEXITSTATUS(m.msg.value), 9);
    end(&m);
}

static void it_leaves_with_its_supervisor(void **state)
{
    (void)state;
    char text[16] = "";
    struct member m = start("---m-", "echo $$; exec sleep 1000");
    begin(&m);
    assert_true(read(m.out, text, sizeof(text) - 1) > 1);
    pid_t command = (pid_t)strtol(text, NULL, 10);
    pid_t pid = m.box.pid;
    jb_close(&m.box.control);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    m.box.pid = -1;
    jb_close(&m.out);
    assert_true(command > 0);
    (void)kill(command, SIGKILL); /* PID 1's business, which in a box is gone too */
}

static void it_cannot_stand_as_well(void **state)
{
    (void)state;
    struct member m = start("--sm-", "echo x");
    int status = 0;
    assert_int_equal(waitpid(m.box.pid, &status, 0), m.box.pid);
    assert_int_equal(WEXITSTATUS(status), 125);
    m.box.pid = -1;
    end(&m);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_command_leaves_is_killed_and_nothing_else),
        cmocka_unit_test(what_is_to_be_kept_is_kept),
        cmocka_unit_test(a_signal_goes_to_the_commands_group),
        cmocka_unit_test(it_leaves_with_its_supervisor),
        cmocka_unit_test(it_cannot_stand_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
