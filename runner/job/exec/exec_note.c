/*
 * exec_note.c - what is kept of a command: its entry in the record, its events, its lines in box.jsonl.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/crashpoint.h"
#include "base/json.h"
#include "job/boxdir.h"
#include "job/exec/execs.h"

#define ARGS_KEPT 32  /* of a command line, in the record */
#define TEXT_KEPT 256 /* bytes of each */

static json_t *make_argv(const struct jb_exec *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < e->ask.argv.len; i++) {
        jb_autofree char *text = i < ARGS_KEPT ? strndup(e->ask.argv.items[i], TEXT_KEPT) : strdup("...");
        if (json_array_append_new(list, jb_json_text(text)) < 0 || i == ARGS_KEPT)
            break;
    }
    return list;
}

/* Its group's figures where it has one; else those of what was waited for. */
static json_t *make_used(const struct jb_exec *e)
{
    const struct jb_msg *ru = e->has_rusage ? &e->rusage : NULL;
    const struct jb_cg_usage *u = &e->used;
    uint64_t user = u->cpu_user_us != JB_UNSET ? u->cpu_user_us : ru ? ru->user_us : JB_UNSET;
    uint64_t system = u->cpu_system_us != JB_UNSET ? u->cpu_system_us : ru ? ru->system_us : JB_UNSET;
    json_t *used = json_object();
    bool ok =
        jb_json_set(used, "cpu_user_s", jb_json_seconds_us(user)) &&
        jb_json_set(used, "cpu_system_s", jb_json_seconds_us(system)) &&
        jb_json_set(used, "max_rss_bytes", jb_json_u64(e->max_rss)) &&
        jb_json_set(used, "minor_faults", jb_json_u64(ru ? ru->minor_faults : JB_UNSET)) &&
        jb_json_set(used, "major_faults", jb_json_u64(ru ? ru->major_faults : JB_UNSET)) &&
        jb_json_set(used, "voluntary_switches", jb_json_u64(ru ? ru->voluntary_switches : JB_UNSET)) &&
        jb_json_set(used, "involuntary_switches", jb_json_u64(ru ? ru->involuntary_switches : JB_UNSET));
    if (ok)
        return used;
    json_decref(used);
    return NULL;
}

json_t *jb_exec_entry(const struct jb_exec *e)
{
    bool over = e->phase == JB_EXEC_OVER;
    json_t *entry = json_object();
    bool ok = jb_json_set(entry, "exec", json_integer(e->seq)) && jb_json_set(entry, "argv", make_argv(e)) &&
              jb_json_set(entry, "by_uid", json_integer(e->by.uid)) &&
              jb_json_set(entry, "uid", json_integer(e->plan.uid)) &&
              jb_json_set(entry, "gid", json_integer(e->plan.gid)) &&
              jb_json_set(entry, "tty", json_boolean(e->plan.tty)) &&
              jb_json_set(entry, "keep_children", json_boolean(e->ask.keep_children)) &&
              jb_json_set(entry, "started", jb_json_time(e->started_us)) &&
              jb_json_set(entry, "ended", jb_json_time(over ? e->ended_us : JB_UNSET)) &&
              jb_json_set(entry, "wall_s", jb_json_seconds_ns(over ? e->wall_ns : JB_UNSET)) &&
              jb_json_set(entry, "reason", jb_json_text(over ? jb_end_reason_name(e->reason) : NULL)) &&
              jb_json_set(entry, "exit_code", e->exit_code < 0 ? json_null() : json_integer(e->exit_code)) &&
              jb_json_set(entry, "signal", e->signal ? json_integer(e->signal) : json_null()) &&
              jb_json_set(entry, "error", jb_json_text(e->error[0] ? e->error : NULL)) &&
              jb_json_set(entry, "left_processes", json_boolean(e->left)) &&
              jb_json_set(entry, "stdout_bytes", jb_json_u64(over ? e->out_bytes : JB_UNSET)) &&
              jb_json_set(entry, "stderr_bytes", jb_json_u64(over ? e->err_bytes : JB_UNSET)) &&
              jb_json_set(entry, "output_truncated", over ? json_boolean(e->truncated) : json_null()) &&
              jb_json_set(entry, "used", over ? make_used(e) : json_null());
    if (ok)
        return entry;
    json_decref(entry);
    return NULL;
}

/* Losing it costs a recovery this one entry; it must not end the command. Those beyond the record's are not kept. */
static void save(struct jb_loop *l, const struct jb_exec *e, const json_t *entry)
{
    if (e->seq > JB_EXECS_RECORDED)
        return;
    char *text = entry ? json_dumps(entry, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    if (text && l->s->file_fd >= 0)
        (void)jb_boxdir_save_exec(l->s->file_fd, text, strlen(text), NULL);
    free(text);
}

void jb_exec_note_start(struct jb_loop *l, const struct jb_exec *e)
{
    char text[160];
    char who[JB_ASKER_TEXT];
    (void)jb_events_add(l->s->events, JB_UNSET, "exec", ",\"exec\":%u,\"command\":%s%s", e->seq,
                        jb_events_quote(e->ask.argv.items[0], text, sizeof(text)),
                        jb_asker_text(&e->by, who));
    l->flush = true;
    json_t *entry = jb_exec_entry(e);
    save(l, e, entry);
    json_decref(entry);
    JB_CRASH_POINT(member_noted);
}

/* In the order in which they began. */
static size_t place_of(const json_t *list, unsigned seq)
{
    size_t i = json_array_size(list);
    while (i > 0 && json_integer_value(json_object_get(json_array_get(list, i - 1), "exec")) > seq)
        i--;
    return i;
}

void jb_exec_note_end(struct jb_loop *l, struct jb_exec *e)
{
    struct jb_execs *x = l->execs;
    (void)jb_events_add(l->s->events, JB_UNSET, "exec_ended", ",\"exec\":%u,\"reason\":\"%s\"", e->seq,
                        jb_end_reason_name(e->reason));
    l->flush = true;
    json_t *entry = jb_exec_entry(e);
    save(l, e, entry);
    if (e->peer >= 0 && entry) {
        const struct jb_peer peer = {.fd = e->peer};
        jb_control_answer(&peer, entry);
    }
    if (!x->ended)
        x->ended = json_array();
    if (json_array_size(x->ended) < JB_EXECS_RECORDED) {
        (void)json_array_insert_new(x->ended, place_of(x->ended, e->seq), entry);
    } else {
        json_decref(entry);
        x->unlisted++;
    }
}
