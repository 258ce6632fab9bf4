/*
 * held.c - reading, writing and comparing what boxes hold of devices.
 *
 * Owns: the arrays of a struct jb_held. Runs in: every jobbox process that grants devices. Privilege: that of the
 * runtime directory.
 */
#include "machine/held.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"

#define FILE_MAX (4U << 20)

uint64_t jb_held_number(char type, unsigned major, unsigned minor)
{
    return (uint64_t)(type == 'b') << 63 | (uint64_t)(major & 0x7fffffffU) << 32 | minor;
}

void jb_held_free(struct jb_held *held)
{
    for (size_t i = 0; i < held->len; i++) {
        free(held->items[i].name);
        free(held->items[i].nodes);
    }
    free(held->items);
    *held = (struct jb_held){0};
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int jb_held_add(struct jb_held *held, const char *name, bool exclusive, const uint64_t *nodes, size_t n_nodes)
{
    struct jb_held_device *grown = realloc(held->items, (held->len + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    held->items = grown;
    struct jb_held_device one = {.name = strdup(name), .exclusive = exclusive, .n_nodes = n_nodes};
    one.nodes = calloc(n_nodes ? n_nodes : 1, sizeof(*one.nodes));
    if (!one.name || !one.nodes) {
        free(one.name);
        free(one.nodes);
        return -ENOMEM;
    }
    if (n_nodes) {
        memcpy(one.nodes, nodes, n_nodes * sizeof(*nodes));
        qsort(one.nodes, n_nodes, sizeof(*nodes), ascending);
    }
    held->items[held->len++] = one;
    return 0;
}

/* "x NAME 80000000c8,…\n": x for exclusive or s for shared, then the numbers in hexadecimal. */
int jb_held_format(const struct jb_held *held, char **ret)
{
    jb_autobuf struct jb_buf buf = {0};
    int r = jb_buf_puts(&buf, "");
    for (size_t i = 0; r == 0 && i < held->len; i++) {
        const struct jb_held_device *d = &held->items[i];
        r = jb_buf_printf(&buf, "%c %s ", d->exclusive ? 'x' : 's', d->name);
        for (size_t k = 0; r == 0 && k < d->n_nodes; k++)
            r = jb_buf_printf(&buf, "%s%" PRIx64, k ? "," : "", d->nodes[k]);
        if (r == 0)
            r = jb_buf_puts(&buf, "\n");
    }
    if (r < 0)
        return r;
    *ret = jb_take_ptr(buf.data);
    return 0;
}

static int parse_line(char *line, size_t box, struct jb_held *into)
{
    jb_autofree uint64_t *nodes = NULL;
    size_t n = 0;
    char *numbers = strrchr(line, ' '); /* a path may hold blanks, the numbers do not */
    if ((line[0] != 'x' && line[0] != 's') || line[1] != ' ' || !numbers || numbers <= line + 2)
        return -EUCLEAN;
    *numbers++ = '\0';
    nodes = calloc(strlen(numbers) / 2 + 1, sizeof(*nodes));
    if (!nodes)
        return -ENOMEM;
    for (char *p = numbers; *p;) {
        char *end;
        errno = 0;
        nodes[n++] = strtoull(p, &end, 16);
        if (errno || end == p || (*end && *end != ',') || (*end && !end[1]))
            return -EUCLEAN;
        p = *end ? end + 1 : end;
    }
    int r = jb_held_add(into, line + 2, line[0] == 'x', nodes, n);
    if (r == 0)
        into->items[into->len - 1].box = box;
    return r;
}

int jb_held_parse(const char *text, size_t box, struct jb_held *into)
{
    jb_autofree char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    for (char *line = copy; *line;) {
        char *end = strchr(line, '\n');
        if (!end)
            return -EUCLEAN;
        *end = '\0';
        int r = parse_line(line, box, into);
        if (r < 0)
            return r;
        line = end + 1;
    }
    return 0;
}

/* Both sorted. */
static bool contains(const struct jb_held_device *outer, const struct jb_held_device *inner)
{
    size_t o = 0;
    for (size_t i = 0; i < inner->n_nodes; i++) {
        while (o < outer->n_nodes && outer->nodes[o] < inner->nodes[i])
            o++;
        if (o == outer->n_nodes || outer->nodes[o] != inner->nodes[i])
            return false;
    }
    return inner->n_nodes > 0;
}

bool jb_held_same(const struct jb_held_device *a, const struct jb_held_device *b)
{
    return jb_streq(a->name, b->name) || contains(a, b) || contains(b, a);
}

const struct jb_held_device *jb_held_clash(const struct jb_held *held, const struct jb_held_device *device)
{
    for (size_t i = 0; i < held->len; i++)
        if ((held->items[i].exclusive || device->exclusive) && jb_held_same(&held->items[i], device))
            return &held->items[i];
    return NULL;
}

int jb_ledger_devices(const struct jb_ledger_dir *dir, const struct jb_ledger *ledger, struct jb_held *ret,
                      struct jb_error *err)
{
    jb_autoheld struct jb_held held = {0};
    for (size_t i = 0; i < ledger->len; i++) {
        const struct jb_slot *slot = &ledger->items[i];
        jb_autofree char *text = NULL;
        char path[JB_ID_LEN + sizeof("/" JB_HELD_NAME)];
        if (!slot->devices)
            continue;
        (void)snprintf(path, sizeof(path), "%s/" JB_HELD_NAME, slot->id.text);
        int r = jb_read_at(dir->boxes_fd, path, FILE_MAX, &text, NULL);
        if (r == -ENOENT)
            continue;
        if (r == 0)
            r = jb_held_parse(text, i, &held);
        if (r < 0)
            return jb_fail_errno(err, r, "box %.12s: reading which devices it has", slot->id.text);
    }
    *ret = held;
    held = (struct jb_held){0}; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}
