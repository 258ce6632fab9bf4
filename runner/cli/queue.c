/*
 * queue.c - what the verbs of the queue share: a connection, a table, waiting and following.
 *
 * Owns: nothing beyond its calls. Runs in: the client. Privilege: the user's.
 */
#include "cli/queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/when.h"

int jb_cli_connect(const char *config, bool own, bool start, struct jb_cli_job *job, struct jb_client *ret)
{
    struct jb_error err = {0};
    int code = jb_cli_load(config, NULL, job);
    if (code)
        return code;
    const struct jb_client_wish wish = {.site = job->site,
                                        .who = &job->submitter,
                                        .state = &job->state,
                                        .config = config ? config : getenv("JOBBOX_CONFIG"),
                                        .own = own,
                                        .start = start};
    return jb_client_open(&wish, ret, &err) < 0 ? jb_cli_fail(JB_EXIT_NO_BOX, &err) : 0;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "-";
}

/* How long it runs, or has run, or waits. */
static void show_time(const json_t *job, char *buf, size_t len)
{
    const char *from = json_string_value(json_object_get(job, "started"));
    const char *to = json_string_value(json_object_get(job, "ended"));
    uint64_t a;
    uint64_t b = jb_wall_us(NULL);
    (void)snprintf(buf, len, "-");
    if (!from)
        from = to ? NULL : json_string_value(json_object_get(job, "submitted"));
    if (!from || jb_parse_when(from, 0, &a) < 0 || (to && jb_parse_when(to, 0, &b) < 0) || b < a)
        return;
    uint64_t s = (b - a) / 1000000;
    (void)jb_format_duration(s * JB_NS_PER_S, buf, len);
}

/* The last column: how it ended, or why it waits. */
static void show_note(const json_t *job, char *buf, size_t len)
{
    const char *reason = json_string_value(json_object_get(job, "reason"));
    const char *why = json_string_value(json_object_get(job, "why"));
    const char *waits = json_string_value(json_object_get(job, "waits_for"));
    const json_t *code = json_object_get(job, "exit_code");
    if (reason && json_is_integer(code) && json_integer_value(code) > 0)
        (void)snprintf(buf, len, "%s (%lld)", reason, (long long)json_integer_value(code));
    else if (reason)
        (void)snprintf(buf, len, "%s", reason);
    else if (strcmp(text_of(job, "state"), "running") == 0)
        (void)snprintf(buf, len, "%s", json_is_true(json_object_get(job, "ending")) ? "is being ended" : "");
    else
        (void)snprintf(buf, len, "%.60s", waits ? waits : why ? why : "");
}

void jb_cli_print_jobs(const json_t *jobs)
{
    size_t i;
    const json_t *job;
    if (json_array_size(jobs) > 0)
        (void)printf("%-10s  %-8s  %-10s  %5s  %-10s  %-8s  %-20s  %s\n", "JOB", "STATE", "USER", "CPUS",
                     "MEMORY", "TIME", "NAME", "NOTE");
    json_array_foreach(jobs, i, job)
    {
        char name[48];
        char memory[48] = "-";
        char time[48];
        char note[96];
        const json_t *index = json_object_get(job, "index");
        const json_t *bytes = json_object_get(job, "memory_bytes");
        long long num = json_integer_value(json_object_get(job, "job"));
        if (json_is_integer(index))
            (void)snprintf(name, sizeof(name), "%lld_%lld", num, (long long)json_integer_value(index));
        else
            (void)snprintf(name, sizeof(name), "%lld", num);
        if (json_is_integer(bytes))
            (void)jb_format_size((uint64_t)json_integer_value(bytes), memory, sizeof(memory));
        show_time(job, time, sizeof(time));
        show_note(job, note, sizeof(note));
        (void)printf("%-10s  %-8s  %-10s  %5lld  %-10s  %-8s  %-20s  %s\n", name, text_of(job, "state"),
                     text_of(job, "user"), (long long)json_integer_value(json_object_get(job, "cpus")),
                     memory, time, text_of(job, "name"), note);
    }
}

/* To the next daemon, where this one has gone or cannot go on: that is told once. */
static int go_on(struct jb_client *client, bool *told, struct jb_error *err)
{
    if (client->again && !*told)
        (void)fprintf(stderr, "jobbox: %s\n", err->text);
    *told = *told || client->again;
    return jb_client_again(client, err);
}

int jb_cli_wait_for(struct jb_client *client, const json_t *ids, bool quiet)
{
    struct jb_error err = {0};
    int code = -1;
    bool told = false;
    int r = jb_client_send(client, "wait", json_pack("{s:O}", "ids", ids), &err);
    while (code < 0) {
        json_t *line = NULL;
        if (r == 0)
            r = jb_client_receive(client, &line, NULL, &err);
        if (jb_client_cut_off(client, r)) { /* the jobs go on, and the next one knows them */
            r = go_on(client, &told, &err);
            if (r == 0)
                r = jb_client_send(client, "wait", json_pack("{s:O}", "ids", ids), &err);
            if (r == 0 || jb_client_cut_off(client, r))
                continue;
        }
        if (r < 0)
            break;
        const json_t *end = json_object_get(line, "end");
        if (json_is_true(json_object_get(line, "done")))
            code = (int)json_integer_value(json_object_get(line, "exit_code"));
        else if (!quiet && end)
            (void)printf("Job %s: %s\n", text_of(line, "job"), text_of(end, "reason"));
        const char *why = json_string_value(json_object_get(end, "error"));
        if (why)
            (void)fprintf(stderr, "jobbox: job %s: %s\n", text_of(line, "job"), why);
        (void)fflush(stdout);
        json_decref(line);
    }
    return r < 0 ? jb_cli_fail(JB_EXIT_NO_BOX, &err) : code;
}

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int write_base64(int fd, const char *text)
{
    char out[3];
    for (; text[0] && text[1] && text[2] && text[3]; text += 4) {
        unsigned word = 0;
        size_t n = text[2] == '=' ? 1 : text[3] == '=' ? 2 : 3;
        for (size_t i = 0; i < 4; i++) {
            int six = i <= n ? sextet(text[i]) : 0; /* what fills up counts as nothing */
            if (six < 0)
                return -EPROTO;
            word = word << 6 | (unsigned)six;
        }
        out[0] = (char)(word >> 16);
        out[1] = (char)(word >> 8);
        out[2] = (char)word;
        (void)fwrite(out, 1, n, fd == STDERR_FILENO ? stderr : stdout);
    }
    return fflush(fd == STDERR_FILENO ? stderr : stdout) == EOF ? -errno : 0;
}

/* What has been shown of a job's logs: where to go on when a daemon is followed by another one. */
struct shown {
    const char *id;
    int64_t attempt;   /* -1: none was named, and nothing came */
    int64_t tail;      /* of what had not been asked for; -1: all */
    json_int_t end[2]; /* -1: nothing of that stream; by `tail` */
    bool follow, any;
};

static int ask_logs(struct jb_client *client, const struct shown *s, struct jb_error *err)
{
    json_t *request = json_pack("{s:s, s:b}", "id", s->id, "follow", s->follow);
    if (s->attempt >= 0)
        (void)json_object_set_new(request, "attempt", json_integer(s->attempt));
    if (s->tail >= 0)
        (void)json_object_set_new(request, "tail", json_integer(s->tail));
    if (s->any)
        (void)json_object_set_new(request, "from",
                                  json_pack("{s:I, s:I}", "stdout", s->end[0], "stderr", s->end[1]));
    return jb_client_send(client, "logs", request, err);
}

static int show_piece(struct shown *s, const json_t *line, struct jb_error *err)
{
    const char *data = json_string_value(json_object_get(line, "base64"));
    bool is_err = strcmp(text_of(line, "stream"), "stderr") == 0;
    int64_t attempt = json_integer_value(json_object_get(line, "attempt"));
    if (!data)
        return 0;
    if (s->any && attempt != s->attempt)
        s->end[0] = s->end[1] = 0;
    s->any = true;
    s->attempt = attempt;
    s->end[is_err] = json_integer_value(json_object_get(line, "end"));
    return write_base64(is_err ? STDERR_FILENO : STDOUT_FILENO, data) < 0
               ? jb_fail_errno(err, errno, "writing what the job wrote")
               : 0;
}

int jb_cli_follow(struct jb_client *client, const char *id, int64_t attempt, int64_t tail, bool follow)
{
    struct jb_error err = {0};
    struct shown shown = {.id = id, .attempt = attempt, .tail = tail, .end = {-1, -1}, .follow = follow};
    bool done = false;
    bool told = false;
    int r = ask_logs(client, &shown, &err);
    while (r == 0 && !done) {
        json_t *line = NULL;
        r = jb_client_receive(client, &line, NULL, &err);
        while (jb_client_cut_off(client, r)) { /* the job goes on, and the next daemon knows its logs */
            r = go_on(client, &told, &err);
            if (r == 0)
                r = ask_logs(client, &shown, &err);
        }
        if (r == 0 && line) {
            done = json_is_true(json_object_get(line, "done"));
            r = show_piece(&shown, line, &err);
        }
        json_decref(line);
    }
    return r < 0 ? jb_cli_fail(JB_EXIT_NO_BOX, &err) : 0;
}
