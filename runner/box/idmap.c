/*
 * idmap.c - newuidmap and newgidmap, and work under the ids that they map.
 *
 * Owns: the child of jb_idmap_inside. Runs in: the supervisor, that child. Privilege: none.
 */
#include "box/idmap.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/program.h"
#include "base/units.h"

#define MAP_TIME    (20 * JB_NS_PER_S)
#define DESCRIPTORS 4096

static int map_range(const char *program, pid_t pid, unsigned outside, const struct jb_id_range *range,
                     struct jb_error *err)
{
    char numbers[4][16];
    (void)snprintf(numbers[0], sizeof(numbers[0]), "%d", (int)pid);
    (void)snprintf(numbers[1], sizeof(numbers[1]), "%u", outside);
    (void)snprintf(numbers[2], sizeof(numbers[2]), "%u", (unsigned)range->start);
    (void)snprintf(numbers[3], sizeof(numbers[3]), "%u", (unsigned)range->count);
    const char *argv[] = {program, numbers[0], "0", numbers[1], "1", "1", numbers[2], numbers[3], NULL};
    return jb_program_run((char *const *)argv, MAP_TIME, err);
}

int jb_idmap_write(const struct jb_idmap *map, pid_t pid, struct jb_error *err)
{
    if (map->uids.count == 0)
        return 0;
    int r = map_range(map->uid_program, pid, map->uid, &map->uids, err);
    if (r == 0)
        r = map_range(map->gid_program, pid, map->gid, &map->gids, err);
    return r < 0 ? jb_wrap(err, "mapping ids into the user namespace") : 0;
}

struct jb_idmap jb_idmap_of(const struct jb_plan *plan)
{
    return (struct jb_idmap){.uid = plan->submitter_uid,
                             .gid = plan->submitter_gid,
                             .uids = plan->ids.uids,
                             .gids = plan->ids.gids,
                             .uid_program = plan->ids.uid_program,
                             .gid_program = plan->ids.gid_program};
}

/* How it ended, told by itself. */
struct answer {
    int result;
    struct jb_error err;
};

static int write_single(const char *path, unsigned outside, struct jb_error *err)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "0 %u 1", outside);
    int r = jb_write_at(AT_FDCWD, path, text);
    return r < 0 ? jb_fail_errno(err, r, "%s", path) : 0;
}

/* The other side writes the ranges, for a child can be mapped by its parent only. */
static int become_root(const struct jb_idmap *map, int pipe_fd, struct jb_error *err)
{
    char byte = 0;
    if (unshare(CLONE_NEWUSER) < 0)
        return jb_fail_errno(err, errno, "making a user namespace");
    if (map->uids.count > 0) {
        if (write(pipe_fd, &byte, 1) != 1 || read(pipe_fd, &byte, 1) != 1)
            return jb_fail(err, EIO, "the ids of the user namespace were not mapped");
    } else {
        int r = jb_write_at(AT_FDCWD, "/proc/self/setgroups", "deny");
        r = r < 0 ? jb_fail_errno(err, r, "/proc/self/setgroups")
                  : write_single("/proc/self/uid_map", map->uid, err);
        if (r == 0)
            r = write_single("/proc/self/gid_map", map->gid, err);
        if (r < 0)
            return r;
    }
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return jb_fail_errno(err, errno, "becoming root of a user namespace");
    return 0;
}

static _Noreturn void be_inside(const struct jb_idmap *map, int pipe_fd, pid_t parent, struct answer *answer,
                                int (*fn)(void *ctx, struct jb_error *err), void *ctx)
{
    struct rlimit limit;
    int r = map ? become_root(map, pipe_fd, &answer->err) : 0;
    /* another id forgets it */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
        _exit(1);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < DESCRIPTORS) {
        limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    (void)umask(0);
    answer->result = r < 0 ? r : fn(ctx, &answer->err);
    _exit(0);
}

/* Nothing where there are no ranges: the child does it itself. */
static int serve_map(const struct jb_idmap *map, int pipe_fd, pid_t pid, struct jb_error *err)
{
    char byte;
    if (!map || map->uids.count == 0 || read(pipe_fd, &byte, 1) != 1)
        return 0; /* it says itself what stopped it */
    int r = jb_idmap_write(map, pid, err);
    if (r == 0 && write(pipe_fd, &byte, 1) != 1)
        r = 0;
    return r;
}

int jb_idmap_inside(const struct jb_idmap *map, int (*fn)(void *ctx, struct jb_error *err), void *ctx,
                    struct jb_error *err)
{
    int pair[2];
    int status = 0;
    struct answer *answer =
        mmap(NULL, sizeof(*answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (answer == MAP_FAILED)
        return jb_fail_errno(err, ENOMEM, "starting a helper");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        int saved = errno;
        (void)munmap(answer, sizeof(*answer));
        return jb_fail_errno(err, saved, "starting a helper");
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(pair[0]);
        be_inside(map, pair[1], parent, answer, fn, ctx);
    }
    int saved = errno;
    (void)close(pair[1]);
    int r = pid < 0 ? jb_fail_errno(err, saved, "starting a helper") : serve_map(map, pair[0], pid, err);
    (void)close(pair[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (r == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        r = jb_fail(err, EIO, "the helper died (signal %d)", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    else if (r == 0 && (r = answer->result) < 0 && err)
        *err = answer->err;
    (void)munmap(answer, sizeof(*answer));
    return r;
}

/* The maps are written from outside: by a child that stayed there. */
static _Noreturn void map_parent(const struct jb_idmap *map, int fd, pid_t parent)
{
    struct answer answer = {0};
    char byte;
    if (read(fd, &byte, 1) != 1) /* there is no namespace */
        _exit(0);
    answer.result = jb_idmap_write(map, parent, &answer.err);
    _exit(write(fd, &answer, sizeof(answer)) != (ssize_t)sizeof(answer));
}

int jb_idmap_enter(const struct jb_idmap *map, struct jb_error *err)
{
    int pair[2];
    char byte = 0;
    struct answer answer = {.result = -EIO};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return jb_fail_errno(err, errno, "starting a helper");
    jb_autoclose int ours = pair[0];
    jb_autoclose int theirs = pair[1];
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return jb_fail_errno(err, errno, "starting a helper");
    if (pid == 0) {
        (void)close(ours);
        map_parent(map, theirs, parent);
    }
    jb_close(&theirs);
    int r = unshare(CLONE_NEWUSER) < 0 ? jb_fail_errno(err, errno, "making a user namespace") : 0;
    bool told = r == 0 && write(ours, &byte, 1) == 1 &&
                read(ours, &answer, sizeof(answer)) == (ssize_t)sizeof(answer);
    jb_close(&ours);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (r < 0)
        return r;
    if (!told)
        return jb_fail(err, EIO, "the ids of the user namespace were not mapped");
    if (answer.result < 0) {
        if (err)
            *err = answer.err;
        return answer.result;
    }
    /* the groups stay: what they let the submitter read he may read here too */
    return setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0
               ? jb_fail_errno(err, errno, "becoming root of a user namespace")
               : 0;
}
