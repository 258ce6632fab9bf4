/*
 * again.c - the daemon begins anew.
 *
 * Owns: see again.h. Runs in: jobboxd. Privilege: the daemon's.
 */
#include "daemon/again.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "queue/server.h"

#define SELF     "/proc/self/exe"
#define DELETED  " (deleted)"
#define VARIABLE "JOBBOXD_AGAIN"
#define FAILED   "failed"
#define WAIT_NS  (5 * JB_NS_PER_S)

static char *absolute(const char *path)
{
    if (path[0] == '/')
        return strdup(path);
    jb_autofree char *cwd = getcwd(NULL, 0);
    return cwd ? jb_asprintf("%s/%s", cwd, path) : NULL;
}

/*
 * The name that the kernel was given: not where its links lead to, for an upgrade may turn those to the new program. A
 * name of a descriptor says nothing; then it is where the file lies.
 */
static char *program_name(void)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel's own form of it */
    const char *given = (const char *)getauxval(AT_EXECFN);
    if (given && *given && strncmp(given, "/proc/", 6) != 0 && strncmp(given, "/dev/", 5) != 0)
        return absolute(given);
    char path[4096];
    ssize_t n = readlink(SELF, path, sizeof(path) - 1);
    if (n <= 0)
        return strdup(SELF);
    path[n] = '\0';
    char *gone =
        strstr(path, DELETED); /* the kernel's word for a file without a name: one may be put there again */
    if (gone && gone[sizeof(DELETED) - 1] == '\0')
        *gone = '\0';
    return strdup(path);
}

static int add_file(struct jb_strv *argv, const char *option, const char *file)
{
    jb_autofree char *name = file ? absolute(file) : NULL;
    if (!file)
        return 0;
    int r = name ? jb_strv_add(argv, option) : -ENOMEM;
    return r < 0 ? r : jb_strv_add(argv, name);
}

int jb_again_note(struct jb_again *again, const char *config, const char *exporter, bool own, bool daemon,
                  struct jb_error *err)
{
    again->program = program_name();
    int r = again->program ? jb_strv_add(&again->argv, "jobboxd") : -ENOMEM;
    if (r == 0)
        r = add_file(&again->argv, "--config", config);
    if (r == 0 && config)
        again->config = again->argv.items[again->argv.len - 1];
    if (r == 0)
        r = add_file(&again->argv, "--exporter", exporter);
    if (r == 0 && exporter)
        again->exporter = again->argv.items[again->argv.len - 1];
    if (r == 0 && own)
        r = jb_strv_add(&again->argv, "--own");
    if (r == 0 && daemon)
        r = jb_strv_add(&again->argv, "--daemon");
    return r < 0 ? jb_fail_errno(err, r, "noting how jobboxd was started") : 0;
}

void jb_again_free(struct jb_again *again)
{
    free(jb_take_ptr(again->program));
    jb_strv_free(&again->argv);
}

int jb_again_begin(const struct jb_again *again, enum jb_again_why why, int listen_fd, struct jb_error *err)
{
    char pid[16];
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    if (dup2(listen_fd, JB_AGAIN_LISTEN_FD) < 0 || setenv("LISTEN_PID", pid, 1) < 0 ||
        setenv("LISTEN_FDS", "1", 1) < 0 ||
        setenv(VARIABLE, why == JB_AGAIN_FAILED ? FAILED : "asked", 1) < 0)
        return jb_fail_errno(err, errno, "beginning anew");
    (void)execv(again->program, again->argv.items);
    (void)fprintf(stderr, "jobboxd: %s: %s; the program that ran so far goes on\n", again->program,
                  strerror(errno));
    (void)execv(SELF, again->argv.items);
    return jb_fail_errno(err, errno, "beginning anew");
}

enum jb_again_why jb_again_is(void)
{
    const char *text = getenv(VARIABLE);
    enum jb_again_why why = !text ? JB_AGAIN_NOT : jb_streq(text, FAILED) ? JB_AGAIN_FAILED : JB_AGAIN_ASKED;
    (void)unsetenv(VARIABLE);
    return why;
}

/* What it asked is taken first, so that the answer is not lost with it; but who sends on and on is not waited for. */
static void refuse_one(int fd, const char *line, uint64_t end)
{
    char data[4096];
    const struct timeval patience = {.tv_usec = 200000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    for (size_t got = 0; got < JB_REQUEST_MAX && jb_mono_ns(NULL) < end; got += sizeof(data))
        if (recv(fd, data, sizeof(data), 0) != (ssize_t)sizeof(data))
            break;
    (void)send(fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
}

static char *refusal(const struct jb_error *why)
{
    jb_autofree char *text =
        jb_asprintf("jobboxd cannot go on: %s; what runs goes on, and it tries again every "
                    "few seconds",
                    why->text);
    json_t *reply = json_pack("{s:i, s:b, s:{s:i, s:o, s:b}}", "v", JB_PROTOCOL, "ok", 0, "error", "errno",
                              why->errnum ? why->errnum : EIO, "text", jb_json_text(text), "again", 1);
    jb_autofree char *json = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
    json_decref(reply);
    return json ? jb_asprintf("%s\n", json) : NULL;
}

bool jb_again_wait(int listen_fd, int signal_fd, const struct jb_error *why)
{
    const uint64_t end = jb_mono_ns(NULL) + WAIT_NS;
    struct pollfd all[] = {{.fd = listen_fd, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
    jb_autofree char *line = refusal(why);
    for (uint64_t now; (now = jb_mono_ns(NULL)) < end;) {
        struct signalfd_siginfo got;
        if (poll(all, JB_ARRAY_LEN(all), (int)((end - now) / JB_NS_PER_MS) + 1) <= 0)
            continue;
        if (all[1].revents && read(signal_fd, &got, sizeof(got)) == (ssize_t)sizeof(got))
            return got.ssi_signo != SIGHUP;
        jb_autoclose int fd = all[0].revents ? accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0 && line)
            refuse_one(fd, line, end);
    }
    return false;
}
