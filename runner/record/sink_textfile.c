/*
 * sink_textfile.c - counters of jobs that ended, for node_exporter's textfile collector.
 *
 * Owns: the file, while it holds FILE.lock. Runs in: the supervisor. Privilege: the supervisor's.
 *
 * The file is its own state: its samples are read, this record is added, and it is replaced. A file that is lost begins again at 0,
 * as a counter of Prometheus may.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"
#include "record/record.h"
#include "record/sink.h"

#define FILE_MAX (16u << 20)
#define TRIES    100 /* of 10 ms */

static const struct {
    const char *name, *help;
} counters[] = {
    {"jobbox_jobs_total", "Jobs that ended."},
    {"jobbox_wall_seconds_total", "Wall time of jobs that ended."},
    {"jobbox_cpu_seconds_total", "CPU time of jobs that ended."},
    {"jobbox_core_seconds_total", "Cores granted, times wall time, of jobs that ended."},
};
#define N_COUNTERS JB_ARRAY_LEN(counters)

static double number(const json_t *record, const char *section, const char *key)
{
    const json_t *value = jb_record_get(record, section, key);
    return value ? json_number_value(value) : 0;
}

static int put_label(struct jb_buf *buf, const char *name, const char *value)
{
    int r = jb_buf_printf(buf, "%s=\"", name);
    for (const char *p = value ? value : ""; r == 0 && *p; p++) {
        if (*p == '"' || *p == '\\')
            r = jb_buf_printf(buf, "\\%c", *p);
        else
            r = jb_buf_add(buf, (unsigned char)*p < ' ' || *p == 0x7f ? "?" : p, 1);
    }
    return r == 0 ? jb_buf_puts(buf, "\"") : r;
}

static int make_labels(const json_t *record, struct jb_buf *buf)
{
    int r = jb_buf_puts(buf, "{");
    if (r == 0)
        r = put_label(buf, "user", json_string_value(json_object_get(record, "user")));
    if (r == 0)
        r = jb_buf_puts(buf, ",");
    if (r == 0)
        r = put_label(buf, "account", json_string_value(json_object_get(record, "account")));
    if (r == 0)
        r = jb_buf_puts(buf, ",");
    if (r == 0)
        r = put_label(buf, "reason", json_string_value(jb_record_get(record, "end", "reason")));
    return r == 0 ? jb_buf_puts(buf, "}") : r;
}

/* The samples of one counter, with one of them raised, or added at the end. */
static int put_counter(struct jb_buf *out, const char *old, size_t counter, const char *labels, double by)
{
    const char *name = counters[counter].name;
    size_t name_len = strlen(name);
    size_t labels_len = strlen(labels);
    bool found = false;
    int r = jb_buf_printf(out, "# HELP %s %s\n# TYPE %s counter\n", name, counters[counter].help, name);
    for (const char *line = old; r == 0 && *line;) {
        size_t len = strcspn(line, "\n");
        if (strncmp(line, name, name_len) == 0 && line[name_len] == '{') {
            if (strncmp(line + name_len, labels, labels_len) == 0 && line[name_len + labels_len] == ' ') {
                double value = strtod(line + name_len + labels_len, NULL);
                r = jb_buf_printf(out, "%s%s %.6f\n", name, labels, (value > 0 ? value : 0) + by);
                found = true;
            } else {
                r = jb_buf_add(out, line, len);
                if (r == 0)
                    r = jb_buf_puts(out, "\n");
            }
        }
        line += len + (line[len] == '\n');
    }
    return r == 0 && !found ? jb_buf_printf(out, "%s%s %.6f\n", name, labels, by) : r;
}

/* Others hold it for as long as one small file takes; who holds it longer is not waited for. */
static int lock(int dir, const char *file)
{
    jb_autofree char *name = jb_asprintf(".%s.lock", file);
    jb_autoclose int fd = name ? openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    int r = name ? -errno : -ENOMEM;
    for (unsigned i = 0; fd >= 0 && i < TRIES; i++) {
        const struct timespec pause = {.tv_nsec = (long)(10 * JB_NS_PER_MS)};
        r = jb_lock_try(fd);
        if (r != -EAGAIN)
            break;
        (void)nanosleep(&pause, NULL);
    }
    return fd < 0 || r < 0 ? r : jb_take_fd(&fd);
}

int jb_sink_textfile(const char *file, const json_t *record)
{
    const char *slash = strrchr(file, '/');
    jb_autofree char *folder = slash ? strndup(file, (size_t)(slash - file) + 1) : NULL;
    jb_autobuf struct jb_buf labels = {0};
    jb_autobuf struct jb_buf out = {0};
    jb_autofree char *old = NULL;
    double wall = number(record, "times", "wall_s");
    const double by[N_COUNTERS] = {
        1, wall, number(record, "used", "cpu_user_s") + number(record, "used", "cpu_system_s"),
        wall * number(record, "granted", "cores")};
    if (!folder)
        return slash ? -ENOMEM : -EINVAL;
    jb_autoclose int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    jb_autoclose int held = lock(dir, slash + 1);
    if (held < 0)
        return held;
    int r = jb_read_at(dir, slash + 1, FILE_MAX, &old, NULL);
    if (r < 0 && r != -ENOENT)
        return r;
    r = make_labels(record, &labels);
    for (size_t i = 0; r == 0 && i < N_COUNTERS; i++)
        r = put_counter(&out, old ? old : "", i, labels.data, by[i]);
    return r < 0 ? r : jb_replace_at(dir, slash + 1, out.data, out.len, 0644);
}
