/*
 * control.c - both ends of the control socket.
 *
 * Owns: see control.h. Runs in: see control.h. Privilege: see control.h.
 */
#include "job/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"

#define SIGNAL_MAX 64
#define CONNECT_MS 10000                /* to get in line, for what waits for its answer without an end */
#define BEGIN_TIME (250 * JB_NS_PER_MS) /* that a box may take to get its socket, when somebody asks for it */

/* A path of the runtime directory may be longer than a socket's address: the folder is named by its descriptor. */
static struct sockaddr_un address(int dirfd)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/" JB_CONTROL_NAME, dirfd);
    return a;
}

/* The folders above let him pass, and list nothing; all files beside the socket are root's alone. */
static int admit(int box_fd, uid_t owner)
{
    return fchmodat(box_fd, "..", 0711, 0) < 0 || fchmod(box_fd, 0711) < 0 ||
                   fchownat(box_fd, JB_CONTROL_NAME, owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0
               ? -errno
               : 0;
}

int jb_control_open(int box_fd, uid_t owner, struct jb_control *ret, struct jb_error *err)
{
    struct sockaddr_un a = address(box_fd);
    jb_autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, JB_CONTROL_PEERS) < 0)
        return jb_fail_errno(err, errno, "making the control socket of the box");
    int r = geteuid() == 0 && owner != 0 ? admit(box_fd, owner) : 0;
    if (r < 0)
        return jb_fail_errno(err, r, "letting the job's owner reach the control socket of the box");
    *ret = JB_CONTROL_INIT;
    ret->listen_fd = jb_take_fd(&fd);
    return 0;
}

void jb_control_close(struct jb_control *control)
{
    while (control->n)
        jb_control_drop(control, 0);
    jb_close(&control->listen_fd);
}

void jb_control_drop(struct jb_control *control, size_t i)
{
    jb_close(&control->peers[i].fd);
    control->n--;
    memmove(&control->peers[i], &control->peers[i + 1], (control->n - i) * sizeof(control->peers[0]));
}

void jb_control_answer(const struct jb_peer *peer, const json_t *answer)
{
    jb_autofree char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    if (text)
        (void)send(peer->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void jb_control_accept(struct jb_control *control, uid_t owner)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    struct jb_peer peer = {.fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (peer.fd < 0)
        return;
    if (getsockopt(peer.fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0) {
        jb_close(&peer.fd);
        return;
    }
    peer.uid = who.uid;
    peer.pid = who.pid;
    if (who.uid != 0 && who.uid != owner && who.uid != geteuid()) {
        json_t *no = json_pack("{s:s}", "error", "only root and whoever started the job may ask for that");
        jb_control_answer(&peer, no);
        json_decref(no);
        jb_close(&peer.fd);
        return;
    }
    if (control->n == JB_CONTROL_PEERS)
        jb_control_drop(control, 0);
    control->peers[control->n++] = peer;
}

/* --- requests --- */

static const char *const verbs[JB_VERB_MAX] = {
    [JB_VERB_STATUS] = "status", [JB_VERB_PAUSE] = "pause",     [JB_VERB_RESUME] = "resume",
    [JB_VERB_CANCEL] = "cancel", [JB_VERB_SIGNAL] = "signal",   [JB_VERB_UPDATE] = "update",
    [JB_VERB_EXEC] = "exec",     [JB_VERB_DESTROY] = "destroy",
};

const char *jb_verb_name(enum jb_verb verb)
{
    return (unsigned)verb < JB_VERB_MAX ? verbs[verb] : NULL;
}

struct member {
    const char *name;
    enum jb_verb verb;
    uint64_t min, max;
    uint64_t *into;
};

static int read_member(const char *key, const json_t *value, const struct member *members, size_t n,
                       const struct jb_ask *ask, struct jb_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!jb_streq(key, members[i].name) || members[i].verb != ask->verb)
            continue;
        json_int_t number = json_integer_value(value);
        if (!json_is_integer(value) || number < 0 || (uint64_t)number < members[i].min ||
            (uint64_t)number > members[i].max)
            return jb_fail(err, EINVAL, "%s is out of range", members[i].name);
        *members[i].into = (uint64_t)number;
        return 0;
    }
    return jb_fail(err, EINVAL, "\"%.40s\" does not belong to %s", key, verbs[ask->verb]);
}

static int find_verb(const json_t *object, enum jb_verb *ret, struct jb_error *err)
{
    const char *name = json_string_value(json_object_get(object, "verb"));
    for (size_t i = 0; name && i < JB_VERB_MAX; i++)
        if (jb_streq(name, verbs[i])) {
            *ret = (enum jb_verb)i;
            return 0;
        }
    return jb_fail(err, EINVAL, "this box does not know \"%.40s\"; its supervisor may be older than you",
                   name ? name : "");
}

int jb_ask_parse(const char *text, size_t len, struct jb_ask *ret, struct jb_error *err)
{
    json_error_t bad;
    json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
    struct jb_ask ask = {.wish = {JB_UNSET, JB_UNSET, JB_UNSET, JB_UNSET, JB_UNSET}};
    uint64_t sig = 0;
    uint64_t code = 0;
    const uint64_t most = INT64_MAX;
    const struct member members[] = {
        {"signal", JB_VERB_SIGNAL, 1, SIGNAL_MAX, &sig},
        {"exit_code", JB_VERB_DESTROY, 0, 255, &code},
        {"memory_bytes", JB_VERB_UPDATE, 1U << 20, UINT64_C(1) << 62, &ask.wish.memory},
        {"cpus", JB_VERB_UPDATE, 1, JB_CPUS_MAX, &ask.wish.cpus},
        {"pids", JB_VERB_UPDATE, 2, 4194304, &ask.wish.pids},
        {"wall_time_ns", JB_VERB_UPDATE, 1, most, &ask.wish.wall_ns},
        {"cpu_time_ns", JB_VERB_UPDATE, 1, most, &ask.wish.cpu_ns},
    };
    int r = json_is_object(object) ? find_verb(object, &ask.verb, err)
                                   : jb_fail(err, EINVAL, "a request is an object of JSON");
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (r < 0 || jb_streq(key, "verb"))
            continue;
        if (jb_streq(key, "main") && ask.verb == JB_VERB_SIGNAL && json_is_boolean(value))
            ask.main_only = json_is_true(value);
        else if (jb_streq(key, "once") && ask.verb == JB_VERB_CANCEL && json_is_boolean(value))
            ask.once = json_is_true(value);
        else
            r = read_member(key, value, members, JB_ARRAY_LEN(members), &ask, err);
    }
    if (r == 0 && ask.verb == JB_VERB_SIGNAL && sig == 0)
        r = jb_fail(err, EINVAL, "which signal?");
    json_decref(object);
    if (r < 0)
        return r;
    ask.signal = (int)sig;
    ask.exit_code = (int)code;
    *ret = ask;
    return 0;
}

/* --- the client --- */

/* A box that has just begun gets its socket in a moment. False: it did not, or it cannot be waited for. */
static bool await_socket(int box_fd)
{
    char path[64];
    char events[4096];
    struct sockaddr_un a = address(box_fd);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", box_fd);
    jb_autoclose int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch < 0 || inotify_add_watch(watch, path, IN_CREATE | IN_DELETE_SELF | IN_ONLYDIR) < 0)
        return false;
    struct pollfd p = {.fd = watch, .events = POLLIN};
    uint64_t deadline = jb_mono_ns(NULL) + BEGIN_TIME;
    while (access(a.sun_path, F_OK) < 0) { /* looked at after the watch began: what came before is there */
        uint64_t now = jb_mono_ns(NULL);
        if (now >= deadline || poll(&p, 1, (int)((deadline - now) / JB_NS_PER_MS) + 1) == 0)
            return false;
        ssize_t n = read(watch, events, sizeof(events));
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (n > 0 &&
            (((const struct inotify_event *)(const void *)events)->mask & (IN_DELETE_SELF | IN_IGNORED)))
            return false;
    }
    return true;
}

/* Where many come at once the kernel keeps a few in line; the others wait here until there is room. */
static int join_line(int fd, int box_fd)
{
    struct sockaddr_un a = address(box_fd);
    int r;
    do
        r = connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
    while (r == -EINTR);
    return r;
}

/* It blocks until it is connected, and never again. */
static int open_socket(int boxes_fd, const struct jb_id *id, unsigned timeout_ms, int *ret)
{
    const struct timeval patience = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    jb_autoclose int box = openat(boxes_fd, id->text, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (box < 0)
        return -errno;
    jb_autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
        return -errno;
    int r = join_line(fd, box);
    if (r == -ENOENT && await_socket(box))
        r = join_line(fd, box);
    if (r < 0)
        return r == -EAGAIN ? -ETIMEDOUT : r == -ECONNREFUSED ? -ENOENT : r;
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    *ret = jb_take_fd(&fd);
    return 0;
}

static int exchange(int fd, const json_t *request, unsigned timeout_ms, json_t **ret)
{
    char answer[JB_CONTROL_PACKET];
    jb_autofree char *text = json_dumps(request, JSON_COMPACT);
    if (!text)
        return -ENOMEM;
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        return -errno;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int r;
    do
        r = poll(&p, 1, (int)timeout_ms);
    while (r < 0 && errno == EINTR);
    if (r <= 0)
        return r == 0 ? -ETIMEDOUT : -errno;
    ssize_t n = recv(fd, answer, sizeof(answer), 0);
    if (n <= 0)
        return n == 0 ? -ENOENT : -errno; /* it ended meanwhile */
    *ret = json_loadb(answer, (size_t)n, 0, NULL);
    return json_is_object(*ret) ? 0 : -EBADMSG;
}

static int nobody(const struct jb_id *id, struct jb_error *err)
{
    return jb_fail(err, ENOENT, "box %s: nobody answers for it: it is just starting, or has just ended",
                   id->text);
}

static int does_not_answer(const struct jb_id *id, struct jb_error *err)
{
    return jb_fail(
        err, ETIMEDOUT,
        "box %s: its supervisor does not answer; is it stopped? Look at its state with ps, and let it go "
        "on with kill -CONT",
        id->text);
}

int jb_control_connect(int boxes_fd, const struct jb_id *id, int *ret_fd, struct jb_error *err)
{
    int r = open_socket(boxes_fd, id, CONNECT_MS, ret_fd);
    return r == -ENOENT      ? nobody(id, err)
           : r == -ETIMEDOUT ? does_not_answer(id, err)
           : r < 0           ? jb_fail_errno(err, r, "box %s: asking its supervisor", id->text)
                             : 0;
}

int jb_control_ask(int boxes_fd, const struct jb_id *id, const json_t *request, unsigned timeout_ms,
                   json_t **ret_answer, struct jb_error *err)
{
    jb_autoclose int fd = -1;
    json_t *answer = NULL;
    int r = open_socket(boxes_fd, id, timeout_ms, &fd);
    if (r == 0)
        r = exchange(fd, request, timeout_ms, &answer);
    if (r == -ENOENT || r == -ECONNRESET || r == -EPIPE)
        return nobody(id, err);
    if (r == -ETIMEDOUT)
        return does_not_answer(id, err);
    if (r < 0) {
        json_decref(answer);
        return jb_fail_errno(err, r, "box %s: asking its supervisor", id->text);
    }
    const char *text = json_string_value(json_object_get(answer, "error"));
    if (text) {
        r = jb_fail(err, EREMOTEIO, "box %s: %s", id->text, text);
        json_decref(answer);
        return r;
    }
    *ret_answer = answer;
    return 0;
}
