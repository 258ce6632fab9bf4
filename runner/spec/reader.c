/*
 * reader.c - from libyaml's events to the tree of node.h, refusing all that is outside the safe subset.
 *
 * Owns: the libyaml parser while it runs. Runs in: the client, unprivileged. Privilege: none.
 */
#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "spec/node.h"

struct reader {
    struct jb_reading *rd;
    yaml_parser_t yaml;
    unsigned depth;
    unsigned nodes;
    bool anchor_said; /* one complaint about anchors and aliases is enough */
};

/* -EINVAL: complained, and nothing sensible can follow. */
static int read_node(struct reader *r, yaml_event_t *event, const struct jb_at *at, struct jb_node **ret);

static void free_parser(yaml_parser_t **p)
{
    yaml_parser_delete(*p);
}

static void free_event(yaml_event_t *event)
{
    yaml_event_delete(event);
}
#define autoevent __attribute__((cleanup(free_event))) yaml_event_t

static struct jb_pos pos_of(const yaml_mark_t *mark)
{
    return (struct jb_pos){(unsigned)mark->line + 1, (unsigned)mark->column + 1};
}

/* What to do about the commonest of libyaml's complaints. */
static const char *advice(const struct reader *r)
{
    static const struct {
        const char *problem;
        const char *advice;
    } known[] = {
        {"could not find expected ':'", "; a key needs a colon and a space behind it"},
        {"mapping values are not allowed in this context",
         "; check the indentation, and quote text that holds a colon and a space"},
        {"did not find expected key", "; check the indentation and the quotes"},
        {"did not find expected '-' indicator", "; check the indentation of the list"},
        {"did not find expected ',' or ']'", "; is a comma or a ] missing?"},
        {"did not find expected ',' or '}'", "; is a comma or a } missing?"},
        {"found unexpected end of stream", "; is a closing quote missing?"},
        {"did not find expected <document start>", "; check the indentation"},
    };
    const yaml_parser_t *yaml = &r->yaml;
    const char *problem = yaml->problem ? yaml->problem : "";
    if (jb_streq(problem, "found character that cannot start any token"))
        return *yaml->buffer.pointer == '\t' ? "; a tab cannot indent, use spaces" : "; quote the text";
    for (size_t i = 0; i < JB_ARRAY_LEN(known); i++)
        if (jb_streq(problem, known[i].problem))
            return known[i].advice;
    return "";
}

static int syntax_error(struct reader *r)
{
    const yaml_parser_t *yaml = &r->yaml;
    if (yaml->error == YAML_MEMORY_ERROR) {
        jb_note(r->rd, -ENOMEM);
        return -ENOMEM;
    }
    if (yaml->context && yaml->context_mark.line != yaml->problem_mark.line)
        jb_complain(r->rd, pos_of(&yaml->problem_mark), NULL,
                    "not valid YAML: %s, %s that begins on line %zu%s",
                    yaml->problem ? yaml->problem : "unreadable", yaml->context, yaml->context_mark.line + 1,
                    advice(r));
    else
        jb_complain(r->rd, pos_of(&yaml->problem_mark), NULL, "not valid YAML: %s%s%s%s",
                    yaml->problem ? yaml->problem : "unreadable", yaml->context ? ", " : "",
                    yaml->context ? yaml->context : "", advice(r));
    return -EINVAL;
}

static int next_event(struct reader *r, yaml_event_t *ret)
{
    return yaml_parser_parse(&r->yaml, ret) ? 0 : syntax_error(r);
}

static struct jb_node *new_node(struct reader *r, enum jb_node_kind kind, struct jb_pos pos)
{
    struct jb_node *node = jb_arena_alloc(&r->rd->arena, sizeof(*node));
    if (!node) {
        jb_note(r->rd, -ENOMEM);
        return NULL;
    }
    node->kind = kind;
    node->pos = pos;
    node->text = "";
    return node;
}

static void refuse_anchor(struct reader *r, struct jb_pos pos, const struct jb_at *at)
{
    if (!r->anchor_said)
        jb_complain(r->rd, pos, at,
                    "anchors and aliases (&name, *name) are not supported; write the value out");
    r->anchor_said = true;
}

/* The marks that any node can carry. Returns whether it carried none that is refused. */
static bool check_marks(struct reader *r, struct jb_pos pos, const struct jb_at *at,
                        const yaml_char_t *anchor, const yaml_char_t *tag)
{
    static const char core_tags[] = "tag:yaml.org,2002:";
    char shown[JB_SHOW];
    if (anchor)
        refuse_anchor(r, pos, at);
    if (tag) {
        const char *text = (const char *)tag;
        bool core = jb_starts_with(text, core_tags);
        jb_complain(r->rd, pos, at, "the tag \"%s%s\" is not supported; leave it out", core ? "!!" : "",
                    jb_show(core ? text + strlen(core_tags) : text, shown));
    }
    return !anchor && !tag;
}

static int read_scalar(struct reader *r, const yaml_event_t *event, const struct jb_at *at,
                       struct jb_node **ret)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    struct jb_node *node = new_node(r, JB_NODE_SCALAR, pos_of(&event->start_mark));
    if (!node)
        return -ENOMEM;
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (!check_marks(r, node->pos, at, event->data.scalar.anchor, event->data.scalar.tag))
        node->kind = JB_NODE_BAD;
    if (memchr(text, '\0', len)) {
        jb_complain(r->rd, node->pos, at, "holds a NUL character (\"\\0\"), which no text here may hold");
        node->kind = JB_NODE_BAD;
    }
    node->text = jb_arena_strdup(&r->rd->arena, text);
    if (!node->text) {
        jb_note(r->rd, -ENOMEM);
        return -ENOMEM;
    }
    node->len = strlen(node->text);
    *ret = node;
    return 0;
}

static int read_list(struct reader *r, const yaml_event_t *event, const struct jb_at *at,
                     struct jb_node **ret)
{
    struct jb_node *list = new_node(r, JB_NODE_LIST, pos_of(&event->start_mark));
    if (!list)
        return -ENOMEM;
    if (!check_marks(r, list->pos, at, event->data.sequence_start.anchor, event->data.sequence_start.tag))
        list->kind = JB_NODE_BAD;
    for (struct jb_node **tail = &list->first;; tail = &(*tail)->next, list->n++) {
        autoevent item = {0};
        int err = next_event(r, &item);
        if (err < 0)
            return err;
        if (item.type == YAML_SEQUENCE_END_EVENT)
            break;
        err = read_node(r, &item, &(struct jb_at){.up = at, .index = list->n}, tail);
        if (err < 0)
            return err;
    }
    *ret = list;
    return 0;
}

static int by_key(const void *a, const void *b)
{
    const struct jb_node *x = *(struct jb_node *const *)a;
    const struct jb_node *y = *(struct jb_node *const *)b;
    int order = strcmp(x->key, y->key);
    if (order == 0)
        order = (x->key_pos.line > y->key_pos.line) - (x->key_pos.line < y->key_pos.line);
    if (order == 0)
        order = (x->key_pos.column > y->key_pos.column) - (x->key_pos.column < y->key_pos.column);
    return order;
}

/* Sorted, so that a mapping of thousands of keys is no work to speak of. */
static void check_duplicates(struct reader *r, const struct jb_node *map, const struct jb_at *at)
{
    jb_autofree struct jb_node **sorted = calloc(map->n + 1, sizeof(struct jb_node *));
    size_t n = 0;
    if (!sorted) {
        jb_note(r->rd, -ENOMEM);
        return;
    }
    for (struct jb_node *child = map->first; child; child = child->next)
        sorted[n++] = child;
    qsort(sorted, n, sizeof(struct jb_node *), by_key);
    for (size_t i = 1; i < n; i++) {
        if (!jb_streq(sorted[i]->key, sorted[i - 1]->key))
            continue;
        struct jb_at here = {.up = at, .name = sorted[i]->key};
        jb_complain(r->rd, sorted[i]->key_pos, &here, "is written twice; it is on line %u already",
                    sorted[i - 1]->key_pos.line);
        sorted[i]->kind = JB_NODE_BAD;
    }
}

/* A key: a scalar that is no merge key. *ret stays NULL when there is none that can be used. */
static int read_key(struct reader *r, yaml_event_t *event, const struct jb_at *at, struct jb_node **ret)
{
    struct jb_node *key = NULL;
    int err = read_node(r, event, at, &key);
    if (err < 0 || key->kind == JB_NODE_BAD)
        return err;
    if (key->kind != JB_NODE_SCALAR)
        jb_complain(r->rd, key->pos, at, "a key must be a word, not a list or a mapping");
    else if (key->plain && jb_streq(key->text, "<<"))
        jb_complain(r->rd, key->pos, at, "merge keys (<<) are not supported; write the keys out");
    else if (key->len == 0)
        jb_complain(r->rd, key->pos, at, "a key is missing in front of the colon");
    else
        *ret = key;
    return 0;
}

static int read_map(struct reader *r, const yaml_event_t *event, const struct jb_at *at, struct jb_node **ret)
{
    struct jb_node *map = new_node(r, JB_NODE_MAP, pos_of(&event->start_mark));
    struct jb_node **tail = map ? &map->first : NULL;
    if (!map)
        return -ENOMEM;
    bool bad = !check_marks(r, map->pos, at, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    for (;;) {
        autoevent first = {0};
        autoevent second = {0};
        struct jb_node *key = NULL;
        struct jb_node *value = NULL;
        int err = next_event(r, &first);
        if (err < 0)
            return err;
        if (first.type == YAML_MAPPING_END_EVENT)
            break;
        err = read_key(r, &first, at, &key);
        if (err == 0)
            err = next_event(r, &second);
        if (err == 0)
            err = read_node(r, &second, &(struct jb_at){.up = at, .name = key ? key->text : "?"}, &value);
        if (err < 0)
            return err;
        if (!key || !value)
            continue;
        value->key = key->text;
        value->key_pos = key->pos;
        *tail = value;
        tail = &value->next;
        map->n++;
    }
    check_duplicates(r, map, at);
    if (bad)
        map->kind = JB_NODE_BAD;
    *ret = map;
    return 0;
}

static int read_node(struct reader *r, yaml_event_t *event, const struct jb_at *at, struct jb_node **ret)
{
    struct jb_pos pos = pos_of(&event->start_mark);
    int err = -EINVAL;
    if (++r->nodes > JB_SPEC_NODES_MAX) {
        jb_complain(r->rd, pos, NULL, "more than %d values in one file; it is too large", JB_SPEC_NODES_MAX);
        return -EINVAL;
    }
    if (r->depth == JB_SPEC_DEPTH_MAX) {
        jb_complain(r->rd, pos, NULL, "nested more than %d levels deep", JB_SPEC_DEPTH_MAX);
        return -EINVAL;
    }
    r->depth++;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        err = read_scalar(r, event, at, ret);
        break;
    case YAML_SEQUENCE_START_EVENT:
        err = read_list(r, event, at, ret);
        break;
    case YAML_MAPPING_START_EVENT:
        err = read_map(r, event, at, ret);
        break;
    default: /* an alias: the grammar leaves nothing else */
        refuse_anchor(r, pos, at);
        *ret = new_node(r, JB_NODE_BAD, pos);
        err = *ret ? 0 : -ENOMEM;
        break;
    }
    r->depth--;
    return err;
}

/* The start of a document: its directives may not change what the text means. */
static void check_directives(struct reader *r, const yaml_event_t *event)
{
    const yaml_version_directive_t *version = event->data.document_start.version_directive;
    struct jb_pos pos = pos_of(&event->start_mark);
    if (version && (version->major != 1 || version->minor != 2))
        jb_complain(r->rd, pos, NULL,
                    "%%YAML %d.%d is not supported; files are read as YAML 1.2, leave the line out",
                    version->major, version->minor);
    if (event->data.document_start.tag_directives.start != event->data.document_start.tag_directives.end)
        jb_complain(r->rd, pos, NULL, "%%TAG is not supported; leave it out");
}

static int read_document(struct reader *r, struct jb_node **ret)
{
    autoevent stream = {0};
    autoevent start = {0};
    autoevent root = {0};
    autoevent end = {0};
    autoevent after = {0};
    int err = next_event(r, &stream);
    if (err == 0)
        err = next_event(r, &start);
    if (err < 0)
        return err;
    if (start.type == YAML_STREAM_END_EVENT)
        return 0;
    check_directives(r, &start);
    err = next_event(r, &root);
    if (err == 0)
        err = read_node(r, &root, NULL, ret);
    if (err == 0)
        err = next_event(r, &end);
    if (err == 0)
        err = next_event(r, &after);
    if (err == 0 && after.type != YAML_STREAM_END_EVENT)
        jb_complain(r->rd, pos_of(&after.start_mark), NULL,
                    "a second document begins here; a file holds one, remove the \"---\" or split the file");
    return err;
}

const struct jb_node *jb_read_yaml(struct jb_reading *rd, const char *text, size_t len)
{
    static const char bom[] = {'\xef', '\xbb', '\xbf'};
    if (len >= sizeof(bom) && memcmp(text, bom, sizeof(bom)) == 0) {
        text += sizeof(bom);
        len -= sizeof(bom);
    }
    if (!jb_check_text(rd, text, len))
        return NULL;
    struct reader r = {.rd = rd};
    struct jb_node *root = NULL;
    if (!yaml_parser_initialize(&r.yaml)) {
        jb_note(rd, -ENOMEM);
        return NULL;
    }
    __attribute__((cleanup(free_parser))) yaml_parser_t *parser = &r.yaml;
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, (const unsigned char *)text, len);
    return read_document(&r, &root) < 0 ? NULL : root;
}
