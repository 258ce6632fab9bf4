/*
 * exec_ask.c - writing and reading the request for a command.
 *
 * Owns: see exec_ask.h. Runs in: see exec_ask.h. Privilege: none.
 */
#include "job/exec/exec_ask.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"

#define ARGS_MAX 65536

void jb_exec_ask_free(struct jb_exec_ask *ask)
{
    jb_strv_free(&ask->argv);
    jb_strv_free(&ask->env);
    free(ask->workdir);
    *ask = JB_EXEC_ASK_INIT;
}

int jb_exec_ask_user(const char *text, struct jb_exec_ask *ask)
{
    const char *colon = strchr(text, ':');
    jb_autofree char *first = colon ? strndup(text, (size_t)(colon - text)) : strdup(text);
    uint64_t uid = 0;
    uint64_t gid = 0;
    if (!first)
        return -ENOMEM;
    if (jb_parse_u64(first, UINT32_MAX - 1, &uid) < 0 ||
        (colon && jb_parse_u64(colon + 1, UINT32_MAX - 1, &gid) < 0))
        return -EINVAL;
    ask->user_said = true;
    ask->uid = (uid_t)uid;
    ask->gid = (gid_t)(colon ? gid : uid);
    return 0;
}

static int add_text(struct jb_buf *buf, const char *text)
{
    return jb_buf_add(buf, text, strlen(text) + 1);
}

static int add_list(struct jb_buf *buf, const struct jb_strv *list)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < list->len; i++)
        r = add_text(buf, list->items[i]);
    return r;
}

int jb_exec_ask_write(const struct jb_exec_ask *ask, int *ret_fd, struct jb_error *err)
{
    jb_autobuf struct jb_buf buf = {0};
    json_t *head = json_pack("{s:I, s:I, s:b, s:i, s:i, s:b}", "args", (json_int_t)ask->argv.len, "vars",
                             (json_int_t)ask->env.len, "tty", ask->tty, "rows", (int)ask->rows, "cols",
                             (int)ask->cols, "keep_children", ask->keep_children);
    if (head && ask->user_said)
        (void)json_object_set_new(head, "user", json_integer(ask->uid));
    if (head && ask->user_said)
        (void)json_object_set_new(head, "group", json_integer(ask->gid));
    if (head && ask->timeout_ns != JB_UNSET)
        (void)json_object_set_new(head, "timeout_ns", json_integer((json_int_t)ask->timeout_ns));
    jb_autofree char *text = head ? json_dumps(head, JSON_COMPACT) : NULL;
    json_decref(head);
    int r = text ? add_text(&buf, text) : -ENOMEM;
    if (r == 0)
        r = add_text(&buf, ask->workdir ? ask->workdir : "");
    if (r == 0)
        r = add_list(&buf, &ask->argv);
    if (r == 0)
        r = add_list(&buf, &ask->env);
    if (r == 0 && buf.len > JB_EXEC_ASK_MAX)
        return jb_fail(err, E2BIG, "the command and its environment are larger than 2 MiB");
    if (r == 0)
        r = jb_sealed_memfd("jobbox-exec", buf.data, buf.len, false, ret_fd);
    return r < 0 ? jb_fail_errno(err, r, "asking for a command") : 0;
}

static int take(const char **at, const char *end, const char **ret)
{
    const char *nul = *at < end ? memchr(*at, '\0', (size_t)(end - *at)) : NULL;
    if (!nul)
        return -EBADMSG;
    *ret = *at;
    *at = nul + 1;
    return 0;
}

static int take_list(const char **at, const char *end, size_t n, struct jb_strv *ret)
{
    const char *text;
    int r = n > ARGS_MAX ? -E2BIG : 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = take(at, end, &text);
        if (r == 0)
            r = jb_strv_add(ret, text);
    }
    return r;
}

/* A number of the head; -1: not there. */
static json_int_t number(const json_t *head, const char *key)
{
    const json_t *value = json_object_get(head, key);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

static int read_head(const json_t *head, struct jb_exec_ask *ask, size_t *ret_args, size_t *ret_vars)
{
    json_int_t args = number(head, "args");
    json_int_t vars = number(head, "vars");
    json_int_t user = number(head, "user");
    json_int_t group = number(head, "group");
    json_int_t rows = number(head, "rows");
    json_int_t cols = number(head, "cols");
    json_int_t timeout = number(head, "timeout_ns");
    if (args < 1 || vars < 0 || user >= UINT32_MAX || group >= UINT32_MAX || (user < 0) != (group < 0))
        return -EBADMSG;
    ask->user_said = user >= 0;
    ask->uid = (uid_t)(user < 0 ? 0 : user);
    ask->gid = (gid_t)(group < 0 ? 0 : group);
    ask->tty = json_is_true(json_object_get(head, "tty"));
    ask->keep_children = json_is_true(json_object_get(head, "keep_children"));
    ask->rows = rows > 0 && rows < 10000 ? (unsigned)rows : 0;
    ask->cols = cols > 0 && cols < 10000 ? (unsigned)cols : 0;
    ask->timeout_ns = timeout > 0 ? (uint64_t)timeout : JB_UNSET;
    *ret_args = (size_t)args;
    *ret_vars = (size_t)vars;
    return 0;
}

static int check(const struct jb_exec_ask *ask, struct jb_error *err)
{
    jb_autofree char *clean = NULL;
    if (ask->argv.len == 0 || ask->argv.items[0][0] == '\0')
        return jb_fail(err, EINVAL, "the command's name is empty");
    if (ask->workdir && (ask->workdir[0] != '/' || jb_path_clean(ask->workdir, &clean) < 0))
        return jb_fail(err, EINVAL, "workdir %.200s: write an absolute path of the box without \"..\"",
                       ask->workdir);
    for (size_t i = 0; i < ask->env.len; i++)
        if (!strchr(ask->env.items[i], '=') || ask->env.items[i][0] == '=')
            return jb_fail(err, EINVAL, "env %.100s: write NAME=value", ask->env.items[i]);
    return 0;
}

static int parse(const char *text, size_t len, struct jb_exec_ask *ask)
{
    const char *at = text;
    const char *end = text + len;
    const char *word;
    size_t args = 0;
    size_t vars = 0;
    int r = take(&at, end, &word);
    json_t *head = r == 0 ? json_loads(word, JSON_REJECT_DUPLICATES, NULL) : NULL;
    r = json_is_object(head) ? read_head(head, ask, &args, &vars) : -EBADMSG;
    json_decref(head);
    if (r == 0)
        r = take(&at, end, &word);
    if (r == 0 && *word && !(ask->workdir = strdup(word)))
        r = -ENOMEM;
    if (r == 0)
        r = take_list(&at, end, args, &ask->argv);
    return r == 0 ? take_list(&at, end, vars, &ask->env) : r;
}

int jb_exec_ask_read(int fd, struct jb_exec_ask *ret, struct jb_error *err)
{
    struct jb_exec_ask ask = JB_EXEC_ASK_INIT;
    jb_autofree char *text = NULL;
    size_t len = 0;
    const int sealed = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    if ((fcntl(fd, F_GET_SEALS) & sealed) != sealed || fcntl(fd, F_GET_SEALS) < 0)
        return jb_fail(err, EINVAL, "the request is not a sealed file");
    int r = jb_read_fd(fd, JB_EXEC_ASK_MAX, &text, &len);
    if (r == 0)
        r = parse(text, len, &ask);
    r = r < 0 ? jb_fail_errno(err, r, "the request for a command") : check(&ask, err);
    if (r < 0) {
        jb_exec_ask_free(&ask);
        return r;
    }
    *ret = ask;
    return 0;
}
