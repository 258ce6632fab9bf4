/*
 * metrics.c - figures of the queue in the text form of Prometheus.
 *
 * Owns: nothing. Runs in: jobboxd. Privilege: that of the file it writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "queue/server.h"

char *jb_metrics_text(struct jb_server *s)
{
    const struct jb_queue *q = s->q;
    struct jb_buf b = {0};
    json_t *ends = NULL;
    const char *reason;
    json_t *n;
    size_t running = 0;
    size_t pending = 0;
    size_t held = 0;
    uint64_t granted = 0;
    uint64_t memory = 0;
    for (size_t i = 0; i < q->running.len; i++)
        if (q->running.items[i]) {
            running++;
            granted += q->running.items[i]->job->need.pus;
            memory += q->running.items[i]->job->need.memory;
        }
    for (size_t i = 0; i < q->pending.len; i++)
        if (q->pending.items[i]) {
            held += q->pending.items[i]->held;
            pending += !q->pending.items[i]->held;
        }
    const struct {
        const char *name, *type, *help;
        double value;
    } figures[] = {
        {"jobbox_queue_pending", "gauge", "Tasks that wait.", (double)pending},
        {"jobbox_queue_held", "gauge", "Tasks that are held.", (double)held},
        {"jobbox_queue_running", "gauge", "Tasks that run.", (double)running},
        {"jobbox_queue_cpus", "gauge", "Hardware threads of the machine.", q->pus},
        {"jobbox_queue_cpus_granted", "gauge", "Hardware threads granted to tasks.", (double)granted},
        {"jobbox_queue_memory_granted_bytes", "gauge", "Memory promised to tasks.", (double)memory},
        {"jobbox_queue_drained", "gauge", "1 while the host is drained.", q->drained != NULL},
        {"jobbox_queue_submitted_total", "counter", "Tasks submitted since the daemon began.",
         (double)q->counts.submitted},
        {"jobbox_queue_started_total", "counter", "Attempts started since the daemon began.",
         (double)q->counts.started},
        {"jobbox_queue_wait_seconds_sum", "counter", "Time from submission to start, of those started.",
         q->counts.wait_s},
        {"jobbox_queue_wait_seconds_count", "counter", "How many those are.", (double)q->counts.started},
        {"jobbox_queue_pass_seconds_total", "counter", "Time that scheduling took.", q->counts.pass_s},
        {"jobbox_queue_connections", "gauge", "Clients connected.", (double)s->n},
        {"jobbox_queue_refused_total", "counter", "Clients that were refused.", (double)s->refused},
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < JB_ARRAY_LEN(figures); i++)
        r = jb_buf_printf(&b, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", figures[i].name, figures[i].help,
                          figures[i].name, figures[i].type, figures[i].name, figures[i].value);
    if (r == 0)
        r = jb_buf_puts(&b, "# HELP jobbox_queue_ended_total Tasks that have ended, by reason.\n"
                            "# TYPE jobbox_queue_ended_total counter\n");
    if (r == 0)
        r = jb_qstore_ends(q->store, &ends, NULL);
    json_object_foreach(ends, reason, n)
    {
        if (r == 0)
            r = jb_buf_printf(&b, "jobbox_queue_ended_total{reason=\"%s\"} %lld\n", reason,
                              (long long)json_integer_value(n));
    }
    json_decref(ends);
    if (r < 0) {
        jb_buf_free(&b);
        return NULL;
    }
    return b.data;
}

int jb_metrics_write(struct jb_server *s, struct jb_error *err)
{
    const char *path = s->q->site->queue.metrics;
    const char *slash = strrchr(path, '/');
    jb_autofree char *all = jb_metrics_text(s);
    jb_autofree char *dir = slash && slash != path ? strndup(path, (size_t)(slash - path)) : strdup("/");
    if (!all || !dir || !slash)
        return jb_fail_errno(err, ENOMEM, "metrics");
    jb_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 ? -errno : jb_replace_at(fd, slash + 1, all, strlen(all), 0644);
    return r < 0 ? jb_fail_errno(err, r, "metrics file %s", path) : 0;
}
