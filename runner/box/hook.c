/*
 * hook.c - the program that a CDI file names for a device, run beside the box's finished root.
 *
 * Owns: the child while it runs. Runs in: the box's first process, in the box's namespaces, before the root is
 * entered and before the identity is dropped. Privilege: root's, on purpose: the site allowed it, and root wrote the
 * file. It is what the OCI runtime specification calls createContainer, and it gets what that promises: the state of
 * the container as JSON on standard input, with a bundle whose config.json names the root.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"
#include "box/rootfs.h"

#define OCI_VERSION "1.0.2"
#define SAID_MAX    400 /* bytes of what a failing hook said that go into the error */

/* The least a program needs that looks for the root by the bundle. It lies beside the root, outside of the box. */
static int write_bundle(struct jb_rootfs *fs, struct jb_error *err)
{
    jb_autofree char *root = jb_asprintf("%s/root", fs->stage);
    json_t *config =
        json_pack("{s:s, s:{s:s, s:b}, s:s}", "ociVersion", OCI_VERSION, "root", "path", root ? root : "",
                  "readonly", 0, "hostname", fs->plan->host_name ? fs->plan->host_name : "");
    jb_autofree char *text = config ? json_dumps(config, JSON_COMPACT) : NULL;
    json_decref(config);
    if (!root || !text)
        return jb_fail_errno(err, ENOMEM, "hook");
    jb_autoclose int stage = open(fs->stage, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r = stage < 0 ? -errno : jb_replace_at(stage, "config.json", text, strlen(text), 0600);
    return r < 0 ? jb_fail_errno(err, r, "writing the bundle for a device's hook") : 0;
}

static int write_state(const struct jb_rootfs *fs, struct jb_error *err)
{
    char pid[32];
    ssize_t n =
        readlink("/proc/self", pid, sizeof(pid) - 1); /* the host's /proc: our number as the host has it */
    pid[n < 0 ? 0 : n] = '\0';
    json_t *state =
        json_pack("{s:s, s:s, s:s, s:I, s:s}", "ociVersion", OCI_VERSION, "id", fs->plan->id.text, "status",
                  "creating", "pid", (json_int_t)strtol(pid, NULL, 10), "bundle", fs->stage);
    jb_autofree char *text = state ? json_dumps(state, JSON_COMPACT) : NULL;
    json_decref(state);
    if (!text)
        return jb_fail_errno(err, ENOMEM, "hook");
    int fd = -1;
    int r = jb_sealed_memfd("state", text, strlen(text), false, &fd);
    return r < 0 ? jb_fail_errno(err, r, "hook") : fd;
}

static _Noreturn void execute(const struct jb_device_hook *hook, int state, int said)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setpgid(0, 0);
    if (dup2(state, 0) < 0 || dup2(said, 1) < 0 || dup2(said, 2) < 0 || jb_close_between(3, ~0U) < 0 ||
        chdir("/") < 0)
        _exit(126);
    (void)execve(hook->path, (char *const *)hook->argv, (char *const *)hook->envp);
    (void)dprintf(2, "%s", strerrordesc_np(errno));
    _exit(127);
}

/* What a hook left behind would live as root beside the job. We are PID 1 here: all others are its. */
static void clear(void)
{
    if (getpid() != 1)
        return;
    (void)kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
}

/* Waits for the end; -ETIMEDOUT when it was killed for taking too long. */
static int await(pid_t pid, uint64_t timeout_ns, int *ret_status)
{
    jb_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    struct timespec ts = {.tv_sec = (time_t)(timeout_ns / JB_NS_PER_S),
                          .tv_nsec = (long)(timeout_ns % JB_NS_PER_S)};
    int n = pidfd < 0 ? -1 : ppoll(&p, 1, &ts, NULL);
    if (n <= 0)
        (void)kill(-pid, SIGKILL);
    if (waitpid(pid, ret_status, 0) < 0)
        return -errno;
    clear();
    return n == 0 ? -ETIMEDOUT : n < 0 ? -EIO : 0;
}

/* One line of what it said. */
static void hear(int said, char buf[SAID_MAX])
{
    ssize_t n = pread(said, buf, SAID_MAX - 1, 0);
    buf[n < 0 ? 0 : n] = '\0';
    for (char *c = buf; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    for (size_t len = strlen(buf); len > 0 && buf[len - 1] == ' '; len--)
        buf[len - 1] = '\0';
}

int jb_rootfs_hook(struct jb_rootfs *fs, const struct jb_op *op, struct jb_error *err)
{
    const struct jb_device_hook *hook = op->hook;
    char text[SAID_MAX];
    int status = 0;
    int r = write_bundle(fs, err);
    if (r < 0)
        return r;
    jb_autoclose int state = write_state(fs, err);
    if (state < 0)
        return state;
    jb_autoclose int said = memfd_create("said", MFD_CLOEXEC);
    if (said < 0)
        return jb_fail_errno(err, errno, "a device's hook");
    pid_t pid = fork();
    if (pid < 0)
        return jb_fail_errno(err, errno, "starting %s, a device's hook", hook->path);
    if (pid == 0)
        execute(hook, state, said);
    r = await(pid, hook->timeout_ns, &status);
    hear(said, text);
    if (r == -ETIMEDOUT)
        return jb_fail(err, ETIMEDOUT, "%s, a device's hook, took longer than %llu s and was killed",
                       hook->path, (unsigned long long)(hook->timeout_ns / JB_NS_PER_S));
    if (r < 0)
        return jb_fail_errno(err, r, "waiting for %s, a device's hook", hook->path);
    if (WIFSIGNALED(status))
        return jb_fail(err, EIO, "%s, a device's hook, died of signal %d%s%s", hook->path, WTERMSIG(status),
                       *text ? ": " : "", text);
    if (WEXITSTATUS(status) != 0)
        return jb_fail(err, EIO, "%s, a device's hook, failed with exit code %d%s%s", hook->path,
                       WEXITSTATUS(status), *text ? ": " : "", text);
    return 0;
}
