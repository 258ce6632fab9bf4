/*
 * inline.c - job specs from options: `jobbox submit --cpus 4 -- cmd`, and scripts with #JOBBOX lines.
 *
 * Owns: the spec under construction. Runs in: the client. Privilege: the user's.
 *
 * The result is a spec as any other, written as JSON, which is YAML: what it may say and what is wrong with it is the
 * parser's to tell.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/queue.h"

#define WORDS_MAX 64
#define MARK      "#JOBBOX"

enum shape {
    TEXT,   /* the value as it is */
    NUMBER, /* a number where it is one */
    ITEM,   /* one more of a list */
    PAIR,   /* KEY=VALUE into a mapping */
    AFTER,
    RETRY,
    HERE,
    BIND,
    MAIL,
    SINGLETON,
};

static const struct {
    int c;
    enum shape shape;
    const char *section; /* NULL: the top */
    const char *key;
} options[] = {
    {1001, TEXT, NULL, "name"},           {1002, NUMBER, "resources", "cpus"},
    {1003, NUMBER, "resources", "cpus"},  {1004, TEXT, "resources", "memory"},
    {1005, TEXT, "limits", "wall_time"},  {1006, TEXT, NULL, "array"},
    {1007, AFTER, NULL, "depends_on"},    {1008, TEXT, NULL, "account"},
    {1009, TEXT, NULL, "begin"},          {1010, TEXT, NULL, "deadline"},
    {1011, TEXT, NULL, "image"},          {1012, PAIR, NULL, "env"},
    {1013, ITEM, NULL, "pass_env"},       {1014, TEXT, NULL, "workdir"},
    {1015, TEXT, NULL, "stdout"},         {1016, TEXT, NULL, "stderr"},
    {1017, TEXT, NULL, "network"},        {1018, TEXT, "resources", "scratch"},
    {1019, RETRY, NULL, "retry"},         {1020, HERE, NULL, "mounts"},
    {1021, BIND, NULL, "mounts"},         {1022, ITEM, "resources", "devices"},
    {1023, PAIR, NULL, "labels"},         {1024, NUMBER, "resources", "pids"},
    {1025, MAIL, NULL, "notify"},         {1026, SINGLETON, NULL, "depends_on"},
    {1027, ITEM, NULL, "allow_degraded"},
};

void jb_cli_spec_free(struct jb_cli_spec *spec)
{
    free(spec->text);
    free(spec->file);
    *spec = (struct jb_cli_spec){0};
}

bool jb_cli_inline_is(int c)
{
    return c > 1000 && c <= 1027;
}

/* The member of an object, made when absent. */
static json_t *member(json_t *object, const char *key, json_t *(*make)(void))
{
    json_t *there = json_object_get(object, key);
    if (!there) {
        there = make();
        (void)json_object_set_new(object, key, there);
    }
    return there;
}

static json_t *number(const char *text)
{
    uint64_t n;
    return jb_parse_u64(text, INT64_MAX, &n) == 0 ? json_integer((json_int_t)n) : jb_json_text(text);
}

static int pair(json_t *object, const char *text, struct jb_error *err)
{
    const char *eq = strchr(text, '=');
    jb_autofree char *key = eq ? strndup(text, (size_t)(eq - text)) : NULL;
    if (!key || !*key)
        return jb_fail(err, EINVAL, "\"%s\" is not NAME=VALUE", text);
    (void)json_object_set_new(object, key, jb_json_text(eq + 1));
    return 0;
}

/* "41", "41:any", "success:41,42" as sbatch users write it. */
static int after(json_t *list, const char *text, struct jb_error *err)
{
    static const struct {
        const char *word, *when;
    } words[] = {{"success", "success"}, {"failure", "failure"},    {"any", "any"},
                 {"afterok", "success"}, {"afternotok", "failure"}, {"afterany", "any"}};
    const char *colon = strchr(text, ':');
    const char *when = "success";
    jb_autofree char *ids = strdup(colon ? colon + 1 : text);
    if (colon) {
        size_t i = 0;
        while (i < JB_ARRAY_LEN(words) && (strncmp(text, words[i].word, (size_t)(colon - text)) != 0 ||
                                           words[i].word[colon - text] != '\0'))
            i++;
        if (i == JB_ARRAY_LEN(words))
            return jb_fail(err, EINVAL, "--after takes JOB, or success:JOB, failure:JOB, any:JOB, not \"%s\"",
                           text);
        when = words[i].when;
    }
    char *save = NULL;
    size_t before = json_array_size(list);
    for (char *id = ids ? strtok_r(ids, ",:", &save) : NULL; id; id = strtok_r(NULL, ",:", &save))
        (void)json_array_append_new(list, json_pack("{s:o, s:s}", "job", number(id), "when", when));
    if (json_array_size(list) ==
        before) /* a variable of a script that is empty, say: not the same as no --after */
        return jb_fail(err, EINVAL, "--after: \"%s\" names no job", text);
    return 0;
}

/* "/data", "/data:/in", "/data:/in:rw" */
static int bind(json_t *list, const char *text, const char *mode_otherwise)
{
    const char *first = strchr(text, ':');
    const char *second = first ? strchr(first + 1, ':') : NULL;
    jb_autofree char *source = strndup(text, first ? (size_t)(first - text) : strlen(text));
    jb_autofree char *target = !first   ? strdup(text)
                               : second ? strndup(first + 1, (size_t)(second - first - 1))
                                        : strdup(first + 1);
    return json_array_append_new(list, json_pack("{s:o, s:o, s:s}", "source", jb_json_text(source), "target",
                                                 jb_json_text(target), "mode",
                                                 second ? second + 1 : mode_otherwise));
}

/* A spec is UTF-8, and what is not is not changed behind anybody's back. */
static int check_text(const char *what, const char *text, struct jb_error *err)
{
    json_t *valid = json_string(text);
    json_decref(valid);
    return valid ? 0 : jb_fail(err, EILSEQ, "%s: it is not UTF-8, which a job's spec is", what);
}

int jb_cli_inline_take(struct jb_cli_inline *in, int c, const char *value, struct jb_error *err)
{
    size_t i = 0;
    if (value && check_text(value, value, err) < 0)
        return -EILSEQ;
    while (i < JB_ARRAY_LEN(options) && options[i].c != c)
        i++;
    if (i == JB_ARRAY_LEN(options))
        return jb_fail(err, EINVAL, "unknown option");
    if (!in->spec)
        in->spec = json_object();
    const char *key = options[i].key;
    json_t *at = options[i].section ? member(in->spec, options[i].section, json_object) : in->spec;
    switch (options[i].shape) {
    case TEXT:
        (void)json_object_set_new(at, key, jb_json_text(value));
        return 0;
    case NUMBER:
        (void)json_object_set_new(at, key, number(value));
        if (c == 1002 || c == 1003) /* so that a stronger one replaces both */
            (void)json_object_set_new(at, "cpu_unit", json_string(c == 1003 ? "thread" : "core"));
        return 0;
    case ITEM:
        (void)json_array_append_new(member(at, key, json_array), jb_json_text(value));
        return 0;
    case PAIR:
        return pair(member(at, key, json_object), value, err);
    case AFTER:
        return after(member(at, key, json_array), value, err);
    case RETRY:
        (void)json_object_set_new(at, key,
                                  json_pack("{s:o, s:[s,s,s,s,s,s]}", "max", number(value), "on", "failed",
                                            "signaled", "oom", "box_error", "supervisor_lost",
                                            "host_restarted"));
        return 0;
    case BIND:
        return bind(member(at, key, json_array), value, "ro");
    case MAIL:
        (void)json_object_set_new(at, key, json_pack("{s:o}", "mail", jb_json_text(value)));
        return 0;
    case SINGLETON:
        (void)json_array_append_new(member(at, key, json_array), json_string("singleton"));
        return 0;
    case HERE:
    default:
        in->here = true;
        return 0;
    }
}

/* What every such spec has: a version, and a working directory where the user is. */
static int finish(struct jb_cli_inline *in, const char *file, const char *cwd, struct jb_cli_spec *ret,
                  struct jb_error *err)
{
    (void)json_object_set_new(in->spec, "version", json_integer(1));
    if (in->here)
        (void)json_array_append_new(member(in->spec, "mounts", json_array),
                                    json_pack("{s:o, s:o, s:s}", "source", jb_json_text(cwd), "target",
                                              jb_json_text(cwd), "mode", "rw"));
    const char *image = json_string_value(json_object_get(in->spec, "image"));
    if (!json_object_get(in->spec, "workdir") && (in->here || !image || strcmp(image, "host") == 0))
        (void)json_object_set_new(in->spec, "workdir", jb_json_text(cwd));
    if (check_text("the working directory", cwd, err) < 0)
        return -EILSEQ;
    struct jb_cli_spec spec = {
        .text = json_dumps(in->spec, JSON_INDENT(1)), .file = strdup(file), .hold = in->hold};
    if (!spec.text || !spec.file) {
        jb_cli_spec_free(&spec);
        return jb_fail_errno(err, ENOMEM, "%s", file);
    }
    spec.len = strlen(spec.text);
    *ret = spec;
    return 0;
}

int jb_cli_inline_command(struct jb_cli_inline *in, char **argv, const char *cwd, struct jb_cli_spec *ret,
                          struct jb_error *err)
{
    json_t *command = json_array();
    const char *slash = strrchr(argv[0], '/');
    const char *base = slash ? slash + 1 : argv[0];
    char name[65];
    if (!in->spec)
        in->spec = json_object();
    (void)json_object_set_new(in->spec, "command", command);
    for (char **a = argv; *a; a++) {
        if (check_text("the command", *a, err) < 0)
            return -EILSEQ;
        (void)json_array_append_new(command, json_string(*a));
    }
    (void)snprintf(name, sizeof(name), "%s", base);
    for (char *c = name; *c; c++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", *c))
            *c = '_';
    if (!json_object_get(in->spec, "name") && name[0] && name[0] != '-' && name[0] != '.')
        (void)json_object_set_new(in->spec, "name", jb_json_text(name));
    return finish(in, "(command line)", cwd, ret, err);
}

enum { OPT_HOLD = 256, OPT_PRIORITY };

/* What a command line says to the queue, and a script in its spec. */
static int take_option(struct jb_cli_inline *in, int c, const char *value, struct jb_error *err)
{
    char *end = NULL;
    if (c == OPT_HOLD) {
        in->hold = true;
        return 0;
    }
    if (c != OPT_PRIORITY)
        return jb_cli_inline_take(in, c, value, err);
    long long priority = strtoll(value, &end, 10);
    if (*end || end == value)
        return jb_fail(err, EINVAL, "--priority takes a whole number, not \"%s\"", value);
    if (!in->spec)
        in->spec = json_object();
    (void)json_object_set_new(in->spec, "priority", json_integer(priority));
    return 0;
}

/* One line "#JOBBOX --cpus 4 --time 1h": words as a shell has them, with '...' and "...". */
static int take_line(struct jb_cli_inline *in, char *line, struct jb_error *err)
{
    static const struct option known[] = {{"hold", no_argument, NULL, OPT_HOLD},
                                          {"priority", required_argument, NULL, OPT_PRIORITY},
                                          JB_CLI_INLINE_OPTIONS,
                                          {0}};
    char *argv[WORDS_MAX + 2] = {(char *)"#JOBBOX"};
    int argc = 1;
    char *out = line;
    for (char *p = line; *p && argc <= WORDS_MAX;) {
        while (*p == ' ' || *p == '\t')
            p++;
        if (!*p || *p == '#')
            break;
        argv[argc++] = out;
        char quote = '\0';
        for (; *p && (quote || (*p != ' ' && *p != '\t')); p++) {
            if (quote ? *p == quote : *p == '\'' || *p == '"')
                quote = quote ? '\0' : *p;
            else
                *out++ = *p;
        }
        if (quote)
            return jb_fail(err, EINVAL, "a quote is not closed");
        if (*p)
            p++;
        *out++ = '\0';
    }
    if (argc > WORDS_MAX)
        return jb_fail(err, E2BIG, "more than %d words in a line; write another one", WORDS_MAX - 1);
    argv[argc] = NULL;
    optind = 0;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":", known, NULL)) != -1;) {
        if (c != OPT_HOLD && c != OPT_PRIORITY && !jb_cli_inline_is(c))
            return jb_fail(err, EINVAL, "%s: %s", argv[optind - 1],
                           c == ':' ? "it needs a value"
                                    : "there is no such option; jobbox submit --help lists them");
        int r = take_option(in, c, optarg, err);
        if (r < 0)
            return r;
    }
    return optind < argc ? jb_fail(err, EINVAL, "%s: options only", argv[optind]) : 0;
}

/* What the first has and the second has not. */
static void merge_under(json_t *strong, json_t *weak)
{
    const char *key;
    json_t *value;
    json_object_foreach(weak, key, value)
    {
        json_t *there = json_object_get(strong, key);
        if (!there)
            (void)json_object_set(strong, key, value);
        else if (json_is_object(there) && json_is_object(value))
            merge_under(there, value);
    }
}

int jb_cli_inline_script(struct jb_cli_inline *in, const char *file, const char *text, const char *cwd,
                         struct jb_cli_spec *ret, struct jb_error *err)
{
    struct jb_cli_inline weak = {0};
    unsigned number_of_line = 0;
    int r = check_text(file, text, err);
    for (const char *line = text; r == 0 && *line;) {
        size_t len = strcspn(line, "\n");
        number_of_line++;
        if (strncmp(line, MARK, sizeof(MARK) - 1) == 0 &&
            (line[sizeof(MARK) - 1] == ' ' || line[sizeof(MARK) - 1] == '\t')) {
            jb_autofree char *copy = strndup(line + sizeof(MARK) - 1, len - (sizeof(MARK) - 1));
            r = copy ? take_line(&weak, copy, err) : -ENOMEM;
            if (r < 0)
                r = jb_wrap(err, "%s:%u: " MARK, file, number_of_line);
        } else if (len > 0 && line[0] != '#') { /* as with sbatch: they stand before the first command */
            break;
        }
        line += len + (line[len] == '\n');
    }
    if (r == 0) {
        const char *slash = strrchr(file, '/');
        if (!in->spec)
            in->spec = json_object();
        if (weak.spec)
            merge_under(in->spec, weak.spec);
        in->here = in->here || weak.here;
        in->hold = weak.hold;
        (void)json_object_set_new(in->spec, "script", jb_json_text(text));
        r = finish(in, slash ? slash + 1 : file, cwd, ret, err);
    }
    json_decref(weak.spec);
    return r;
}
