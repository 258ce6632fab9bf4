/*
 * client.c - finding the daemon, starting one's own, and speaking to it.
 *
 * Owns: see client.h. Runs in: the client. Privilege: the user's.
 */
#include "queue/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "queue/server.h"

#define LINE_MAX_BYTES (64U << 20)
#define START_TRIES    500 /* of 10 ms */
#define AGAIN_TRIES    300 /* of 100 ms */

static int connect_to(const char *dir, int *ret)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if ((size_t)snprintf(at.sun_path, sizeof(at.sun_path), "%s/" JB_SOCKET_NAME, dir) >= sizeof(at.sun_path))
        return -ENAMETOOLONG;
    jb_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
        return -errno;
    *ret = jb_take_fd(&fd);
    return 0;
}

/* jobboxd lies beside jobbox. */
static int start_daemon(const struct jb_client_wish *wish, struct jb_error *err)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 16);
    if (n < 0)
        return jb_fail_errno(err, errno, "starting jobboxd");
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    (void)snprintf(slash ? slash + 1 : path, 16, "jobboxd");
    pid_t pid = fork();
    if (pid == 0) {
        if (wish->config)
            (void)execl(path, "jobboxd", "--own", "--daemon", "--config", wish->config, NULL);
        else
            (void)execl(path, "jobboxd", "--own", "--daemon", NULL);
        (void)fprintf(stderr, "jobbox: starting %s: %s\n", path, strerror(errno));
        _exit(1);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return jb_fail_errno(err, errno, "starting jobboxd");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return jb_fail(err, EIO, "%s could not be started; it says why above", path);
    return 0;
}

/* Where the system's daemon listens, as seen by an ordinary user. */
static const char *system_dir(const struct jb_client_wish *wish)
{
    bool system_config = wish->site->file && jb_starts_with(wish->site->file, "/etc/");
    return system_config && wish->site->paths.runtime ? wish->site->paths.runtime : "/run/jobbox";
}

int jb_client_open(const struct jb_client_wish *wish, struct jb_client *ret, struct jb_error *err)
{
    struct jb_client client = JB_CLIENT_INIT;
    const char *own = wish->state->runtime_dir;
    int r = -ENOENT;
    if (wish->who->uid != 0 && !wish->own && (!wish->site->file || jb_starts_with(wish->site->file, "/etc/")))
        r = connect_to(system_dir(wish), &client.fd);
    if (r < 0 && r != -ENOENT &&
        r != -EACCES) /* a job 5 of one's own is another one than the job 5 that was meant */
        return jb_fail(err, -r,
                       "the system's jobboxd does not answer at %s/" JB_SOCKET_NAME
                       ": %s; try again, or ask for your own queue with --own",
                       system_dir(wish), strerror(-r));
    client.own = r < 0;
    if (r < 0) {
        r = connect_to(own, &client.fd);
    }
    if ((r == -ENOENT || r == -ECONNREFUSED) && !wish->start)
        return jb_fail(err, ENOENT, "no jobboxd listens at %s/" JB_SOCKET_NAME "; jobbox submit starts one",
                       own);
    if (r == -ENOENT || r == -ECONNREFUSED) {
        const struct timespec pause = {.tv_nsec = 10000000};
        r = start_daemon(wish, err);
        if (r < 0)
            return r;
        for (int i = 0; i < START_TRIES && (r = connect_to(own, &client.fd)) < 0; i++)
            (void)nanosleep(&pause, NULL);
    }
    if (r < 0)
        return jb_fail_errno(err, r, "%s/" JB_SOCKET_NAME, own);
    client.dir = strdup(client.own ? own : system_dir(wish));
    if (!client.dir) {
        jb_client_close(&client);
        return jb_fail_errno(err, ENOMEM, "asking jobboxd");
    }
    *ret = client;
    return 0;
}

bool jb_client_cut_off(const struct jb_client *client, int r)
{
    return r == -ECONNRESET || r == -EPIPE || (r < 0 && client->again);
}

int jb_client_again(struct jb_client *client, struct jb_error *err)
{
    /* one that has just said that it cannot go on is given time */
    const struct timespec pause = {.tv_sec = client->again ? 1 : 0, .tv_nsec = client->again ? 0 : 100000000};
    int r = -ECONNREFUSED;
    jb_close(&client->fd);
    jb_buf_free(&client->in);
    client->in = (struct jb_buf){0};
    client->used = 0;
    client->again = false;
    for (int i = 0; i < AGAIN_TRIES && (r == -ENOENT || r == -ECONNREFUSED); i++) {
        (void)nanosleep(&pause, NULL);
        r = connect_to(client->dir, &client->fd);
    }
    return r < 0 ? jb_fail(err, -r,
                           "jobboxd has gone, and no other one listens at %s/" JB_SOCKET_NAME
                           "; what runs goes on",
                           client->dir)
                 : 0;
}

void jb_client_close(struct jb_client *client)
{
    jb_close(&client->fd);
    jb_buf_free(&client->in);
    free(client->dir);
    *client = JB_CLIENT_INIT;
}

int jb_client_send(struct jb_client *client, const char *op, json_t *request, struct jb_error *err)
{
    json_t *all = request ? request : json_object();
    int r = json_object_set_new(all, "v", json_integer(JB_PROTOCOL)) < 0 ||
                    json_object_set_new(all, "op", json_string(op)) < 0
                ? -ENOMEM
                : 0;
    jb_autofree char *text = r == 0 ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(all);
    if (!text)
        return jb_fail_errno(err, ENOMEM, "asking jobboxd");
    size_t len = strlen(text);
    text[len] = '\n';
    for (size_t at = 0; at <= len;) {
        ssize_t n = send(client->fd, text + at, len + 1 - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return jb_fail_errno(err, errno, "jobboxd");
        at += (size_t)n;
    }
    return 0;
}

static int fault(const json_t *reply, char **ret_diags, struct jb_error *err)
{
    const json_t *error = json_object_get(reply, "error");
    const char *text = json_string_value(json_object_get(error, "text"));
    const char *diags = json_string_value(json_object_get(error, "diagnostics"));
    int errnum = (int)json_integer_value(json_object_get(error, "errno"));
    if (ret_diags && diags)
        *ret_diags = strdup(diags);
    return jb_fail(err, errnum > 0 ? errnum : EIO, "%s",
                   text ? text : "jobboxd refused, and did not say why");
}

int jb_client_receive(struct jb_client *client, json_t **ret, char **ret_diags, struct jb_error *err)
{
    for (;;) {
        char *begin = client->in.data + client->used;
        size_t have = client->in.len - client->used;
        char *end = have ? memchr(begin, '\n', have) : NULL;
        if (end) {
            json_t *reply = json_loadb(begin, (size_t)(end - begin), 0, NULL);
            client->used += (size_t)(end - begin) + 1;
            if (!reply)
                return jb_fail(err, EPROTO, "jobboxd: its answer is no JSON");
            if (json_is_false(json_object_get(reply, "ok"))) {
                int r = fault(reply, ret_diags, err);
                client->again = json_is_true(json_object_get(json_object_get(reply, "error"), "again"));
                json_decref(reply);
                return r;
            }
            *ret = reply;
            return 0;
        }
        if (client->used > 0) {
            memmove(client->in.data, begin, have);
            client->in.len = have;
            client->used = 0;
        }
        char data[65536];
        ssize_t n = client->in.len > LINE_MAX_BYTES ? -1 : recv(client->fd, data, sizeof(data), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return jb_fail_errno(err, errno, "jobboxd");
        if (n == 0)
            return jb_fail(err, ECONNRESET, "jobboxd closed the connection; what runs goes on, try again");
        if (jb_buf_add(&client->in, data, (size_t)n) < 0)
            return jb_fail_errno(err, ENOMEM, "jobboxd");
    }
}

int jb_client_call(struct jb_client *client, const char *op, json_t *request, json_t **ret,
                   struct jb_error *err)
{
    int r = jb_client_send(client, op, request, err);
    return r < 0 ? r : jb_client_receive(client, ret, NULL, err);
}
