/*
 * test_queue_client.c - which daemon a client speaks to.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "job/state.h"
#include "queue/client.h"
#include "site/site.h"

/* A system's queue and one's own, each a folder that a socket may be in. */
struct places {
    char *dir, *system, *own;
    struct jb_site site;
    struct jb_submitter who;
    struct jb_state state;
};

static int setup(void **state)
{
    struct places *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    p->dir = test_tmpdir();
    p->system = jb_asprintf("%s/system", p->dir);
    p->own = jb_asprintf("%s/own", p->dir);
    assert_true(mkdir(p->system, 0755) == 0 && mkdir(p->own, 0755) == 0);
    p->site.file = (char *)"/etc/jobbox/jobbox.conf.yaml";
    p->site.paths.runtime = p->system;
    p->who.uid = 1000;
    p->state.runtime_dir = p->own;
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct places *p = *state;
    test_tmpdir_remove(p->dir);
    free(p->system);
    free(p->own);
    free(p);
    return 0;
}

/* The listening socket; closed again, the file stays as that of a daemon that was killed. */
static int listen_in(const char *dir)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s/" JB_SOCKET_NAME, dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 5) == 0);
    return fd;
}

static int try_open(const struct places *p, bool own, bool start, bool *ret_own, struct jb_error *err)
{
    const struct jb_client_wish wish = {
        .site = &p->site, .who = &p->who, .state = &p->state, .own = own, .start = start};
    jb_autoclient struct jb_client client = JB_CLIENT_INIT;
    int r = jb_client_open(&wish, &client, err);
    *ret_own = client.own;
    return r;
}

static void the_systems_daemon_is_asked_when_it_answers(void **state)
{
    const struct places *p = *state;
    struct jb_error err = {0};
    bool own = true;
    jb_autoclose int a = listen_in(p->system);
    jb_autoclose int b = listen_in(p->own);
    assert_ok(try_open(p, false, false, &own, &err), &err);
    assert_false(own);
    assert_ok(try_open(p, true, false, &own, &err), &err);
    assert_true(own);
    assert_true(a >= 0 && b >= 0);
}

static void where_the_system_has_no_socket_ones_own_queue_is_asked(void **state)
{
    const struct places *p = *state;
    struct jb_error err = {0};
    bool own = false;
    assert_int_equal(try_open(p, false, false, &own, &err), -ENOENT);
    jb_autoclose int b = listen_in(p->own);
    assert_ok(try_open(p, false, false, &own, &err), &err);
    assert_true(own && b >= 0);
}

static void while_the_systems_daemon_is_down_nobody_is_led_to_another_queue(void **state)
{
    const struct places *p = *state;
    struct jb_error err = {0};
    bool own = false;
    (void)close(listen_in(p->system));
    jb_autoclose int b = listen_in(p->own);
    for (int start = 0; start < 2; start++) {
        jb_error_clear(&err);
        assert_int_equal(try_open(p, false, start != 0, &own, &err), -ECONNREFUSED);
        assert_contains(err.text, "the system's jobboxd does not answer at ");
        assert_contains(err.text, "/system/jobboxd.sock");
        assert_contains(err.text, "--own");
    }
    assert_ok(try_open(p, true, false, &own, &err), &err);
    assert_true(own && b >= 0);
}

#define IN_PLACES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACES(the_systems_daemon_is_asked_when_it_answers),
        IN_PLACES(where_the_system_has_no_socket_ones_own_queue_is_asked),
        IN_PLACES(while_the_systems_daemon_is_down_nobody_is_led_to_another_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
