/*
 * sink_socket.c - records for the logs of the host: systemd's journal and syslog.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: the supervisor's. Their protocols are a datagram each; no library is needed.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "record/record.h"
#include "record/sink.h"

#define MESSAGE_ID "9d1aaa27d60140bd96365438aad20286" /* "a job has ended", made up once for jobbox */

static int address_of(const char *path, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret->sun_path))
        return -ENAMETOOLONG;
    memcpy(ret->sun_path, path, strlen(path));
    return 0;
}

/* What is too large for a datagram goes as a sealed file: systemd's journal takes both. */
static int send_as_file(int fd, const struct sockaddr_un *to, const char *text, size_t len)
{
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    jb_autoclose int file = -1;
    int r = jb_sealed_memfd("record", text, len, false, &file);
    if (r < 0)
        return r;
    struct msghdr msg = {.msg_name = (void *)to,
                         .msg_namelen = sizeof(*to),
                         .msg_control = control.buf,
                         .msg_controllen = sizeof(control.buf)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &file, sizeof(int));
    return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* A field whose value may have newlines: its length goes in front, as 64 bits little endian. */
static int put_field(struct jb_buf *buf, const char *name, const char *value, size_t len)
{
    uint64_t size = htole64(len);
    int r = jb_buf_puts(buf, name);
    if (r == 0)
        r = jb_buf_puts(buf, "\n");
    if (r == 0)
        r = jb_buf_add(buf, &size, sizeof(size));
    if (r == 0)
        r = jb_buf_add(buf, value, len);
    return r == 0 ? jb_buf_puts(buf, "\n") : r;
}

static int put_text(struct jb_buf *buf, const char *name, const json_t *value)
{
    return json_is_string(value) ? put_field(buf, name, json_string_value(value), json_string_length(value))
                                 : 0;
}

int jb_sink_journald(const char *socket_path, const json_t *record, const char *line, size_t len)
{
    static const char *const names[][2] = {{"id", "JOBBOX_ID"},
                                           {"job", "JOBBOX_JOB"},
                                           {"name", "JOBBOX_NAME"},
                                           {"user", "JOBBOX_USER"},
                                           {"account", "JOBBOX_ACCOUNT"}};
    jb_autobuf struct jb_buf buf = {0};
    jb_autobuf struct jb_buf message = {0};
    struct sockaddr_un to;
    const char *name = json_string_value(json_object_get(record, "name"));
    const char *reason = json_string_value(jb_record_get(record, "end", "reason"));
    int r = address_of(socket_path, &to);
    if (r == 0)
        r = jb_buf_printf(&message, "job %s: %s", name ? name : "?", reason ? reason : "?");
    if (r == 0)
        r = jb_buf_puts(&buf, "PRIORITY=6\nSYSLOG_IDENTIFIER=jobbox\nMESSAGE_ID=" MESSAGE_ID "\n");
    if (r == 0)
        r = put_field(&buf, "MESSAGE", message.data, message.len);
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(names); i++)
        r = put_text(&buf, names[i][1], json_object_get(record, names[i][0]));
    if (r == 0)
        r = put_text(&buf, "JOBBOX_REASON", jb_record_get(record, "end", "reason"));
    if (r == 0)
        r = put_field(&buf, "JOBBOX_RECORD", line, len - 1); /* without its newline */
    if (r < 0)
        return r;
    jb_autoclose int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (sendto(fd, buf.data, buf.len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) >= 0)
        return 0;
    return errno == EMSGSIZE || errno == ENOBUFS ? send_as_file(fd, &to, buf.data, buf.len) : -errno;
}

int jb_sink_syslog(const char *socket_path, const json_t *record, const char *line, size_t len)
{
    static const int kinds[] = {SOCK_DGRAM, SOCK_STREAM};
    jb_autobuf struct jb_buf buf = {0};
    struct sockaddr_un to;
    char now[JB_TIME_TEXT];
    const char *host = json_string_value(json_object_get(record, "host"));
    int r = address_of(socket_path, &to);
    if (r == 0)
        r = jb_buf_printf(&buf, "<30>1 %s %.255s jobbox %d record - ",
                          jb_format_time(jb_wall_us(NULL), now, sizeof(now)),
                          host && *host && !strchr(host, ' ') ? host : "-", (int)getpid());
    if (r == 0)
        r = jb_buf_add(&buf, line, len - 1);
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(kinds); i++) {
        jb_autoclose int fd = socket(AF_UNIX, kinds[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            return -errno;
        if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
            if (errno != EPROTOTYPE)
                return -errno;
            continue;
        }
        size_t size = buf.len + (kinds[i] == SOCK_STREAM); /* there a NUL ends it */
        ssize_t n = send(fd, buf.data, size, MSG_NOSIGNAL);
        return n < 0 ? -errno : (size_t)n < size ? -EAGAIN : 0;
    }
    return r < 0 ? r : -EPROTOTYPE;
}
