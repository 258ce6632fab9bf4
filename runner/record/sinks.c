/*
 * sinks.c - where else a record goes.
 *
 * Owns: nothing. Runs in: the supervisor, after the journal has the record. Privilege: the supervisor's;
 * sinks are the administrator's programs and files, started with an environment of PATH alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "record/journal.h"
#include "record/record.h"
#include "record/sink.h"

/* A FIFO without a reader, or one that is full, gets nothing rather than all of our time. */
static int to_file(const char *path, const char *line, size_t len)
{
    jb_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    return fd < 0 ? -errno : jb_write_all(fd, line, len);
}

static const char *name_of(const struct jb_site_sink *sink)
{
    static const char *const kinds[] = {[JB_SINK_JOURNALD] = "journald", [JB_SINK_SYSLOG] = "syslog"};
    if (sink->kind == JB_SINK_PROGRAM)
        return sink->argv.len ? sink->argv.items[0] : "?";
    if (sink->path)
        return sink->path;
    return (size_t)sink->kind < JB_ARRAY_LEN(kinds) && kinds[sink->kind] ? kinds[sink->kind] : "?";
}

static int serve(const struct jb_site_sink *sink, const json_t *record, const char *line, size_t len)
{
    switch (sink->kind) {
    case JB_SINK_FILE:
        return to_file(sink->path, line, len);
    case JB_SINK_PROGRAM:
        return jb_sink_program(sink->argv.items, line, len);
    case JB_SINK_JOURNALD:
        return jb_sink_journald(sink->path ? sink->path : "/run/systemd/journal/socket", record, line, len);
    case JB_SINK_SYSLOG:
        return jb_sink_syslog(sink->path ? sink->path : "/dev/log", record, line, len);
    case JB_SINK_TEXTFILE:
        return jb_sink_textfile(sink->path, record);
    default:
        return 0;
    }
}

int jb_sinks_emit(const struct jb_site *site, const json_t *record, struct jb_error *err)
{
    jb_autofree char *line = NULL;
    size_t len;
    int result = 0;
    if (site->n_sinks == 0)
        return 0;
    int r = jb_record_line(record, &line, &len, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < site->n_sinks; i++) {
        const char *name = name_of(&site->sinks[i]);
        r = serve(&site->sinks[i], record, line, len);
        if (r >= 0 || result != 0)
            continue;
        if (r == -EPROTO)
            result =
                jb_fail(err, EPROTO, "sink %s: it ended with a failure; the journal has the record", name);
        else if (r == -EINPROGRESS)
            result = jb_fail(err, EINPROGRESS,
                             "sink %s: it has not ended within %d ms, and is killed after %d s; the journal "
                             "has the record",
                             name, JB_SINK_PATIENCE_MS, JB_SINK_PROGRAM_S);
        else
            result = jb_fail_errno(err, r, "sink %s (the journal has the record)", name);
    }
    return result;
}
