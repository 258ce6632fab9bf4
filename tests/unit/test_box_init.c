/*
 * test_box_init.c - jobbox-init as a program, as PID 1 of a PID namespace of its own.
 *
 * It signals every process it can see, so it is only ever started where getpid() is 1: in a user and a PID namespace.
 * Where this user cannot have those, every test here is skipped and says so.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "box/box.h"

#define INIT    BINARY_DIR "/runner/jobbox-init"
#define PATIENT 20000 /* ms */

struct run {
    struct jb_box box; /* its pid is that of the process that waits for PID 1 and ends as it does */
    int out;           /* what the job writes */
    struct jb_msg msg;
};

/* In the child: becomes the father of a PID 1, and ends as that does. */
static void become_father(int control, int out, const char *const *argv)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
        _exit(99);
    pid_t pid = fork();
    if (pid < 0)
        _exit(99);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getpid() != 1 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || dup2(control, JB_CONTROL_FD) < 0)
            _exit(98);
        (void)close_range(4, ~0U, 0);
        (void)setenv("PATH", "/usr/bin:/bin", 1); /* a folder that may not be searched would be EACCES */
        if (getpid() == 1)
            (void)execv(INIT, (char *const *)argv);
        _exit(97);
    }
    (void)close(control);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

static int can_have_namespaces(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0 ? errno : 0);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return EIO;
    return WEXITSTATUS(status);
}

static struct run start(const char *const *argv)
{
    int pair[2];
    int out[2];
    int why = can_have_namespaces();
    if (why) {
        print_message("skipped: no user namespace for this user here (%s)\n", strerror(why));
        skip();
    }
    assert_int_equal(access(INIT, X_OK), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct run r = {.box = JB_BOX_INIT, .out = out[0]};
    r.box.pid = fork();
    assert_true(r.box.pid >= 0);
    if (r.box.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(pair[0]);
        (void)close(out[0]);
        become_father(pair[1], out[1], argv);
    }
    (void)close(pair[1]);
    (void)close(out[1]);
    r.box.control = pair[0];
    return r;
}

static void hear(struct run *r, uint32_t type)
{
    struct pollfd fd = {.fd = r->box.control, .events = POLLIN};
    if (poll(&fd, 1, PATIENT) != 1)
        fail_msg("no message of type %u came", type);
    assert_int_equal(jb_box_listen(&r->box, &r->msg), 1);
    assert_int_equal(r->msg.type, type);
}

static void tell(struct run *r, uint32_t type, int value)
{
    struct jb_msg msg = {.type = type, .value = value};
    assert_int_equal(jb_box_tell(&r->box, &msg), 0);
}

/* How PID 1 ended, once it has. */
static int wait_end(struct run *r)
{
    int status;
    uint64_t deadline = jb_mono_ns(NULL) + PATIENT * JB_NS_PER_MS;
    pid_t pid;
    while ((pid = waitpid(r->box.pid, &status, WNOHANG)) == 0 && jb_mono_ns(NULL) < deadline)
        (void)usleep(2000);
    assert_int_equal(pid, r->box.pid);
    r->box.pid = -1;
    jb_box_close(&r->box);
    jb_close(&r->out);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int goes_well(struct run *r)
{
    hear(r, JB_MSG_READY);
    tell(r, JB_MSG_GO, 0);
    hear(r, JB_MSG_STARTED);
    hear(r, JB_MSG_ENDED);
    int status = r->msg.value;
    tell(r, JB_MSG_QUIT, 0);
    assert_int_equal(wait_end(r), 0);
    return status;
}

static int run_script(const char *script)
{
    const char *const argv[] = {"jobbox-init", "-w", "/bin/sh", "-c", script, NULL};
    struct run r = start(argv);
    return goes_well(&r);
}

static void the_jobs_end_is_told(void **state)
{
    (void)state;
    int status = run_script("exit 3");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
    status = run_script("kill -SEGV $$");
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    assert_int_equal(run_script("test $$ = 2"), 0); /* right below PID 1 */
    assert_int_equal(run_script("trap '' TERM; trap - TERM; kill -TERM $$; :"),
                     SIGTERM); /* no signal stays blocked */
}

static void leaves_at_once_unless_told_to_wait(void **state)
{
    (void)state;
    const char *const argv[] = {"jobbox-init", "--", "/bin/sh", "-c", "exit 4", NULL};
    struct run r = start(argv);
    hear(&r, JB_MSG_READY);
    tell(&r, JB_MSG_GO, 0);
    hear(&r, JB_MSG_STARTED);
    hear(&r, JB_MSG_ENDED);
    assert_int_equal(WEXITSTATUS(r.msg.value), 4);
    assert_int_equal(wait_end(&r), 0);
}

static void usage_is_told(void **state)
{
    (void)state;
    const char *const argv[] = {
        "jobbox-init", "-w", "/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done", NULL};
    struct run r = start(argv);
    hear(&r, JB_MSG_READY);
    tell(&r, JB_MSG_GO, 0);
    hear(&r, JB_MSG_STARTED);
    uint64_t started = r.msg.mono_ns;
    hear(&r, JB_MSG_ENDED);
    assert_true(r.msg.mono_ns > started);
    assert_true(r.msg.user_us + r.msg.system_us > 0);
    assert_true(r.msg.minor_faults > 0);
    tell(&r, JB_MSG_QUIT, 0);
    assert_int_equal(wait_end(&r), 0);
}

static void what_cannot_be_executed(void **state)
{
    (void)state;
    static const struct {
        const char *program;
        int errnum, code;
    } cases[] = {{"/nonexistent/program", ENOENT, 127},
                 {"no-such-program-in-path", ENOENT, 127},
                 {"/etc", EACCES, 126}};
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        const char *const argv[] = {"jobbox-init", "-w", cases[i].program, NULL};
        struct run r = start(argv);
        hear(&r, JB_MSG_READY);
        tell(&r, JB_MSG_GO, 0);
        hear(&r, JB_MSG_EXEC_FAILED);
        assert_int_equal(r.msg.errnum, cases[i].errnum);
        hear(&r, JB_MSG_ENDED);
        assert_int_equal(WEXITSTATUS(r.msg.value), cases[i].code);
        tell(&r, JB_MSG_QUIT, 0);
        assert_int_equal(wait_end(&r), 0);
    }
}

/* ENDED comes when all are dead, those that left the session and ignore signals too. */
static void the_rest_is_killed_first(void **state)
{
    (void)state;
    const char *const argv[] = {
        "jobbox-init", "-w", "/bin/sh", "-c", "trap '' TERM HUP; (setsid sleep 1000 &) & sleep 1000 & exit 4",
        NULL};
    struct run r = start(argv);
    char byte;
    hear(&r, JB_MSG_READY);
    tell(&r, JB_MSG_GO, 0);
    hear(&r, JB_MSG_STARTED);
    hear(&r, JB_MSG_ENDED);
    assert_int_equal(WEXITSTATUS(r.msg.value), 4);
    struct pollfd fd = {.fd = r.out, .events = POLLIN};
    /* nobody holds the job's output any more, but for the father, who is not in the box */
    tell(&r, JB_MSG_QUIT, 0);
    assert_int_equal(poll(&fd, 1, PATIENT), 1);
    assert_int_equal(read(r.out, &byte, 1), 0);
    assert_int_equal(wait_end(&r), 0);
}

static void signals_reach_the_job(void **state)
{
    (void)state;
    const char *const argv[] = {
        "jobbox-init", "-w", "/bin/sh", "-c", "trap 'exit 9' TERM; echo set; while :; do sleep 0.05; done",
        NULL};
    struct run r = start(argv);
    char text[8];
    hear(&r, JB_MSG_READY);
    tell(&r, JB_MSG_GO, 0);
    hear(&r, JB_MSG_STARTED);
    assert_int_equal(read(r.out, text, sizeof(text)), 4); /* "set" and a newline */
    tell(&r, JB_MSG_SIGNAL, SIGTERM);
    hear(&r, JB_MSG_ENDED);
    assert_true(WIFEXITED(r.msg.value));
    assert_int_equal(WEXITSTATUS(r.msg.value), 9);
    tell(&r, JB_MSG_QUIT, 0);
    assert_int_equal(wait_end(&r), 0);
}

static void kill_reaches_everything(void **state)
{
    (void)state;
    const char *const argv[] = {"jobbox-init", "-w", "/bin/sh", "-c", "sleep 1000 & echo up; wait", NULL};
    struct run r = start(argv);
    char text[8];
    hear(&r, JB_MSG_READY);
    tell(&r, JB_MSG_GO, 0);
    hear(&r, JB_MSG_STARTED);
    assert_int_equal(read(r.out, text, sizeof(text)), 3);
    tell(&r, JB_MSG_SIGNAL, SIGKILL);
    hear(&r, JB_MSG_ENDED); /* PID 1 itself is spared */
    assert_true(WIFSIGNALED(r.msg.value));
    assert_int_equal(WTERMSIG(r.msg.value), SIGKILL);
    tell(&r, JB_MSG_QUIT, 0);
    assert_int_equal(wait_end(&r), 0);
}

static void it_leaves_with_its_supervisor(void **state)
{
    (void)state;
    const char *const argv[] = {"jobbox-init", "-w", "/bin/sh", "-c", "echo up; sleep 1000", NULL};
    struct run r = start(argv);
    char text[8];
    hear(&r, JB_MSG_READY);
    tell(&r, JB_MSG_GO, 0);
    hear(&r, JB_MSG_STARTED);
    assert_int_equal(read(r.out, text, sizeof(text)), 3);
    jb_close(&r.box.control);
    assert_int_equal(wait_end(&r), 1);
    struct run before = start(argv); /* gone before GO: nothing is started */
    hear(&before, JB_MSG_READY);
    jb_close(&before.box.control);
    struct pollfd fd = {.fd = before.out, .events = POLLIN};
    assert_int_equal(poll(&fd, 1, PATIENT), 1);
    assert_int_equal(read(before.out, text, sizeof(text)), 0);
    assert_int_equal(wait_end(&before), 1);
}

static void the_job_does_not_hold_the_control_socket(void **state)
{
    (void)state;
    assert_int_equal(run_script("if (true >&3) 2>/dev/null; then exit 1; fi; exit 0"), 0);
}

static void without_a_command_it_is_a_usage_error(void **state)
{
    (void)state;
    const char *const argv[] = {"jobbox-init", "-w", NULL};
    struct run r = start(argv);
    assert_int_equal(wait_end(&r), 125);
}

/* A box without a command stands until END, and then only until nothing else is in it. */
static void a_box_that_stands_ends_when_it_is_told_to_and_empty(void **state)
{
    (void)state;
    const char *const argv[] = {"jobbox-init", "-ws--", NULL};
    struct run r = start(argv);
    hear(&r, JB_MSG_READY);
    tell(&r, JB_MSG_GO, 0);
    hear(&r, JB_MSG_STARTED);
    struct pollfd fd = {.fd = r.box.control, .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 50), 0);
    tell(&r, JB_MSG_SIGNAL, SIGTERM); /* for those in it, not for itself */
    assert_int_equal(poll(&fd, 1, 50), 0);
    tell(&r, JB_MSG_END, 0);
    hear(&r, JB_MSG_ENDED);
    assert_int_equal(r.msg.value, 0);
    tell(&r, JB_MSG_QUIT, 0);
    assert_int_equal(wait_end(&r), 0);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_jobs_end_is_told),
        cmocka_unit_test(leaves_at_once_unless_told_to_wait),
        cmocka_unit_test(usage_is_told),
        cmocka_unit_test(what_cannot_be_executed),
        cmocka_unit_test(the_rest_is_killed_first),
        cmocka_unit_test(signals_reach_the_job),
        cmocka_unit_test(kill_reaches_everything),
        cmocka_unit_test(it_leaves_with_its_supervisor),
        cmocka_unit_test(the_job_does_not_hold_the_control_socket),
        cmocka_unit_test(without_a_command_it_is_a_usage_error),
        cmocka_unit_test(a_box_that_stands_ends_when_it_is_told_to_and_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
