/*
 * notify.c - telling people: a mail, or a program of theirs.
 *
 * Owns: nothing. Runs in: jobboxd; the programs are children of the nursery. Privilege: a mail program has jobboxd's, a
 * submitter's program the submitter's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "queue/queue.h"

static json_t *group_list(const char *text)
{
    json_t *list = json_array();
    for (const char *p = text; p && *p;) {
        char *end;
        unsigned long gid = strtoul(p, &end, 10);
        (void)json_array_append_new(list, json_integer((json_int_t)gid));
        p = *end == ',' ? end + 1 : end;
        if (p == end)
            break;
    }
    return list;
}

static char *mail_text(const struct jb_qtask *t, const char *to, const char *what, const struct jb_end *end)
{
    char name[JB_TASK_NAME];
    char outcome[64] = "";
    (void)jb_task_name(t, name, sizeof(name));
    if (end && end->exit_code >= 0)
        (void)snprintf(outcome, sizeof(outcome), " (exit code %d)", end->exit_code);
    return jb_asprintf("To: %s\nSubject: job %s (%s) %s%s%s\nAuto-Submitted: auto-generated\n\n"
                       "Job %s, %s, of %s: %s%s%s\n%s%s\n",
                       to, name, t->job->name, what, end ? ": " : "", end ? end->reason : "", name,
                       t->job->name, t->job->user, end ? end->reason : what, outcome, "",
                       end && end->error ? end->error : "", end && end->error ? "\n" : "");
}

void jb_queue_notify(struct jb_queue *q, const struct jb_qtask *t, enum jb_notify_on what,
                     const struct jb_end *end)
{
    static const char *const words[] = {"has begun", "has ended", "has failed"};
    struct jb_qstore_extra x = {0};
    char name[JB_TASK_NAME];
    bool both =
        (t->job->notify >> JB_NOTIFY_END & 1) && what == JB_NOTIFY_FAIL; /* said already, by its end */
    if (!(t->job->notify >> what & 1) || both || jb_qstore_get_notify(q->store, t->job->num, &x, NULL) < 0)
        return;
    if (x.mail && q->site->queue.mail.len > 0) {
        jb_autofree char *text = mail_text(t, x.mail, words[what], end);
        json_t *argv = json_array();
        for (size_t i = 0; i < q->site->queue.mail.len; i++)
            (void)json_array_append_new(argv, jb_json_text(q->site->queue.mail.items[i]));
        (void)json_array_append_new(q->launches, json_pack("{s:s, s:I, s:o, s:o}", "do", "notify", "whose",
                                                           (json_int_t)t->job->uid, "argv", argv, "input",
                                                           jb_json_text(text)));
    }
    json_t *program = x.program ? json_loads(x.program, 0, NULL) : NULL;
    if (program && q->site->queue.notify_programs) {
        json_t *news =
            json_pack("{s:s, s:s, s:o, s:o, s:o}", "event", what == JB_NOTIFY_BEGIN ? "begin" : "end", "job",
                      jb_task_name(t, name, sizeof(name)), "name", jb_json_text(t->job->name), "user",
                      jb_json_text(t->job->user), "end", end ? jb_end_to_json(end) : json_null());
        jb_autofree char *line = json_dumps(news, JSON_COMPACT);
        json_decref(news);
        (void)json_array_append_new(
            q->launches, json_pack("{s:s, s:I, s:O, s:o, s:I, s:I, s:o, s:o}", "do", "notify", "whose",
                                   (json_int_t)t->job->uid, "argv", program, "input", jb_json_text(line),
                                   "uid", (json_int_t)t->job->uid, "gid", (json_int_t)t->job->gid, "groups",
                                   group_list(x.groups), "home", jb_json_text(x.home)));
    }
    json_decref(program);
    jb_qstore_extra_free(&x);
}
