/*
 * changes_show.c - what a job changed, as JSON and as text.
 *
 * Owns: nothing. Runs in: the supervisor. Privilege: none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "job/kept/changes.h"

json_t *jb_changes_summary(const struct jb_changes *changes)
{
    json_t *all = json_object();
    bool ok = true;
    for (enum jb_change i = 0; i < JB_CHANGE_MAX; i++)
        ok = ok && jb_json_set(all, jb_change_name(i), json_integer((json_int_t)changes->counts[i]));
    ok = ok && jb_json_set(all, "unread", json_integer((json_int_t)changes->unread)) &&
         jb_json_set(all, "truncated", json_boolean(changes->truncated));
    if (ok)
        return all;
    json_decref(all);
    return NULL;
}

int jb_changes_json(const struct jb_changes *changes, const struct jb_id *id, struct jb_buf *ret)
{
    json_t *all = json_pack("{s:i, s:s, s:o, s:O}", "changes_version", 1, "id", id->text, "summary",
                            jb_changes_summary(changes), "changes", changes->list);
    jb_autofree char *text = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
    json_decref(all);
    int r = text ? jb_buf_puts(ret, text) : -ENOMEM;
    return r < 0 ? r : jb_buf_puts(ret, "\n");
}

/* Names are the job's choice: they may neither speak to a terminal nor make lines of their own. */
static int add_path(struct jb_buf *buf, const char *path)
{
    int r = 0;
    for (const unsigned char *c = (const unsigned char *)path; r == 0 && *c; c++)
        r = *c < ' ' || *c == 0x7f || *c == '\\' ? jb_buf_printf(buf, "\\%03o", (unsigned)*c)
                                                 : jb_buf_add(buf, (const char *)c, 1);
    return r;
}

static int add_line(struct jb_buf *buf, const json_t *entry)
{
    const char *change = json_string_value(json_object_get(entry, "change"));
    const char *path = json_string_value(json_object_get(entry, "path"));
    const char *type = json_string_value(json_object_get(entry, "type"));
    const char *error = json_string_value(json_object_get(entry, "error"));
    const char *from = json_string_value(json_object_get(entry, "from"));
    int r = jb_buf_printf(buf, "%c ", error || !change ? '?' : change[0] - 'a' + 'A');
    if (r == 0)
        r = add_path(buf, path ? path : "");
    if (r == 0 && type && strcmp(type, "directory") == 0 && path && strcmp(path, "/") != 0)
        r = jb_buf_puts(buf, "/");
    if (r == 0 && from)
        r = jb_buf_puts(buf, " from ");
    if (r == 0 && from)
        r = add_path(buf, from);
    if (r == 0 && error)
        r = jb_buf_printf(buf, " (%s)", error);
    return r < 0 ? r : jb_buf_puts(buf, "\n");
}

int jb_changes_text(const struct jb_changes *changes, struct jb_buf *ret)
{
    size_t i;
    json_t *entry;
    int r = jb_buf_puts(ret, "");
    json_array_foreach(changes->list, i, entry)
    {
        if (r == 0)
            r = add_line(ret, entry);
    }
    if (r == 0 && changes->truncated)
        r = jb_buf_puts(ret, "... and more\n");
    return r;
}
