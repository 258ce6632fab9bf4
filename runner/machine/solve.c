/*
 * solve.c - a knapsack over the tree of groups.
 *
 * Owns: nothing. Runs in: the client. Privilege: none.
 *
 * row[j] of a node is the least cost of taking j units below it. Rows of children are merged one by one, and
 * each merge remembers how many units went to the child; walking these choices back down gives the answer.
 * Over a whole tree of n free units that is at most n * k steps.
 */
#include "machine/solve.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"

/* All criteria in one number that adds and compares lexicographically: 13 bits each, room for 4096 units. */
#define FIELD_BITS 13
#define LOAD_BITS  24
#define NO_WAY     (~(jb_cost)0)

enum field { /* position from the least significant; what sharing costs comes above or below the first level */
             FIELD_LEFT_PACKAGE,
             FIELD_LEFT_NUMA,
             FIELD_LEFT_L3,
             FIELD_LEFT_CORE,
             FIELD_CORES,
             FIELD_THIRD,
             FIELD_SECOND,
             FIELD_FIRST,
};

static jb_cost in_field(enum field field, unsigned value)
{
    return (jb_cost)value << (FIELD_BITS * (unsigned)field);
}

struct node {
    size_t begin, end; /* cores */
    int level;         /* enum jb_level; -1: the root */
    struct node *child, *last, *next;
    unsigned free;
    jb_cost *row;           /* free+1 (at most k+1) entries */
    uint16_t *choice;       /* by units taken of this and the siblings before it: those taken of this */
    size_t *order;          /* a node without children: its cores, the least loaded first */
    uint16_t **core_choice; /* the same where units are threads */
};

struct solver {
    struct jb_arena arena;
    struct jb_place_core *cores;
    const struct jb_solve_wish *wish;
    bool threads; /* some core has more than one unit */
    unsigned load_shift;
    jb_cost level_touch[JB_LEVEL_MAX];
};

static unsigned at_most(const struct solver *s, unsigned n)
{
    return n < s->wish->k ? n : s->wish->k;
}

static struct node *new_node(struct solver *s, struct node *parent, size_t begin, size_t end, int level)
{
    struct node *node = jb_arena_alloc(&s->arena, sizeof(*node));
    if (!node)
        return NULL;
    *node = (struct node){.begin = begin, .end = end, .level = level};
    for (size_t i = begin; i < end; i++)
        node->free += s->cores[i].free;
    if (parent && parent->last)
        parent->last->next = node;
    else if (parent)
        parent->child = node;
    if (parent)
        parent->last = node;
    return node;
}

/* Where the group of core i at this level ends, within `end`. */
static size_t run_end(const struct solver *s, size_t i, size_t end, int level)
{
    size_t j = i + 1;
    while (j < end && s->cores[j].group[level] == s->cores[i].group[level])
        j++;
    return j;
}

/*
 * Splits a node by the level, of those not yet used on the way down, whose groups are the largest at each
 * place: whether NUMA nodes contain packages or the other way round differs between machines, and within one.
 * `levels` is a bit set. Recursion ends after JB_LEVEL_MAX levels.
 */
static int build(struct solver *s, struct node *node, unsigned levels) /* NOLINT(misc-no-recursion) */
{
    if (!levels)
        return 0;
    for (size_t i = node->begin; i < node->end;) {
        int best = -1;
        size_t best_end = i;
        for (int level = 0; level < JB_LEVEL_MAX; level++) {
            if (!(levels >> level & 1))
                continue;
            size_t end = run_end(s, i, node->end, level);
            if (end > best_end) {
                best = level;
                best_end = end;
            }
        }
        if (best < 0)
            return 0; /* cannot be: levels is not empty and every run holds a core */
        struct node *child = new_node(s, node, i, best_end, best);
        if (!child)
            return -ENOMEM;
        if (child->free) { /* what has nothing to give needs no children */
            int r = build(s, child, levels & ~(1U << best));
            if (r < 0)
                return r;
        }
        i = best_end;
    }
    return 0;
}

static jb_cost *new_row(struct solver *s, unsigned n)
{
    return jb_arena_alloc(&s->arena, (n + 1) * sizeof(jb_cost));
}

/* Puts `child` (n_child units) onto `acc` (n_acc units): the merged row, and how many of each total the child
 * gives. */
static int merge(struct solver *s, const jb_cost *acc, unsigned n_acc, const jb_cost *child, unsigned n_child,
                 jb_cost **ret_row, uint16_t **ret_choice)
{
    unsigned n = at_most(s, n_acc + n_child);
    jb_cost *row = new_row(s, n);
    uint16_t *choice = jb_arena_alloc(&s->arena, (n + 1) * sizeof(*choice));
    if (!row || !choice)
        return -ENOMEM;
    for (unsigned j = 0; j <= n; j++) {
        jb_cost best = NO_WAY;
        unsigned from = j > n_acc ? j - n_acc : 0;
        unsigned upto = j < n_child ? j : n_child;
        for (unsigned t = from; t <= upto; t++) { /* ties: as much as possible from what comes first */
            bool way = acc[j - t] != NO_WAY && child[t] != NO_WAY;
            jb_cost cost = acc[j - t] + child[t];
            if (way && cost < best) {
                best = cost;
                choice[j] = (uint16_t)t;
            }
        }
        row[j] = best;
    }
    *ret_row = row;
    *ret_choice = choice;
    return 0;
}

/* Units are cores: any j of the group cost the same but for sharing, so the least loaded, lowest ones are it.
 */
static int core_row(struct solver *s, struct node *node)
{
    size_t n = 0;
    node->order = jb_arena_alloc(&s->arena, (node->end - node->begin + 1) * sizeof(*node->order));
    if (!node->order)
        return -ENOMEM;
    for (size_t i = node->begin; i < node->end; i++) {
        if (!s->cores[i].free)
            continue;
        size_t at = n++;
        for (; at > 0 && s->cores[node->order[at - 1]].load > s->cores[i].load; at--)
            node->order[at] = node->order[at - 1];
        node->order[at] = i;
    }
    unsigned upto = at_most(s, node->free);
    for (unsigned j = 1; j <= upto; j++)
        node->row[j] = node->row[j - 1] + ((jb_cost)s->cores[node->order[j - 1]].load << s->load_shift);
    return 0;
}

/* Units are threads: which cores are broken into matters. */
static int thread_row(struct solver *s, struct node *node)
{
    jb_cost *acc = new_row(s, 0);
    unsigned n_acc = 0;
    node->core_choice = jb_arena_alloc(&s->arena, (node->end - node->begin) * sizeof(*node->core_choice));
    if (!acc || !node->core_choice)
        return -ENOMEM;
    for (size_t i = node->begin; i < node->end; i++) {
        const struct jb_place_core *core = &s->cores[i];
        unsigned n = at_most(s, core->free);
        jb_cost *row = new_row(s, n);
        if (!row)
            return -ENOMEM;
        for (unsigned j = 1; j <= n; j++)
            row[j] = in_field(FIELD_CORES, 1) + in_field(FIELD_LEFT_CORE, core->free) +
                     ((jb_cost)(core->load * j) << s->load_shift);
        int r = merge(s, acc, n_acc, row, n, &acc, &node->core_choice[i - node->begin]);
        if (r < 0)
            return r;
        n_acc = at_most(s, n_acc + n);
    }
    node->row = acc;
    return 0;
}

static int compute(struct solver *s, struct node *node) /* NOLINT(misc-no-recursion) */
{
    unsigned n = at_most(s, node->free);
    node->row = new_row(s, n);
    if (!node->row)
        return -ENOMEM;
    int r = 0;
    if (!node->child && n > 0)
        r = s->threads ? thread_row(s, node) : core_row(s, node);
    unsigned n_acc = 0;
    for (struct node *c = node->child; r == 0 && c; c = c->next) {
        r = compute(s, c);
        if (r == 0)
            r = merge(s, node->row, n_acc, c->row, at_most(s, c->free), &node->row, &c->choice);
        n_acc = at_most(s, n_acc + c->free);
    }
    if (r < 0 || node->level < 0)
        return r;
    static const enum field left[JB_LEVEL_MAX] = {FIELD_LEFT_PACKAGE, FIELD_LEFT_NUMA, FIELD_LEFT_L3};
    for (unsigned j = 1; j <= n; j++)
        if (node->row[j] != NO_WAY)
            node->row[j] += s->level_touch[node->level] + in_field(left[node->level], node->free);
    if (s->wish->must && node->level == JB_LEVEL_NUMA &&
        jb_cpus_has(s->wish->must, s->cores[node->begin].group[JB_LEVEL_NUMA]))
        node->row[0] = NO_WAY;
    return 0;
}

/* Hands `j` units down to the cores, the last child first as the choices were made. */
static void hand_down(const struct solver *s, const struct node *node,
                      unsigned j) /* NOLINT(misc-no-recursion) */
{
    if (j == 0)
        return;
    if (node->order)
        for (unsigned i = 0; i < j; i++)
            s->cores[node->order[i]].take = 1;
    if (node->core_choice)
        for (size_t i = node->end; i-- > node->begin;) {
            s->cores[i].take = node->core_choice[i - node->begin][j];
            j -= s->cores[i].take;
        }
    if (!node->child)
        return;
    unsigned n_children = 0;
    for (const struct node *c = node->child; c; c = c->next)
        n_children++;
    for (unsigned back = n_children; back-- > 0 && j > 0;) {
        const struct node *c = node->child;
        for (unsigned i = 0; i < back; i++)
            c = c->next;
        hand_down(s, c, c->choice[j]);
        j -= c->choice[j];
    }
}

static int solve(struct solver *s, size_t n, jb_cost *ret_cost)
{
    unsigned k = s->wish->k;
    struct node *root = new_node(s, NULL, 0, n, -1);
    if (!root)
        return -ENOMEM;
    if (root->free < k)
        return -ENOSPC;
    int r = build(s, root, (1U << JB_LEVEL_MAX) - 1);
    if (r == 0)
        r = compute(s, root);
    if (r == 0 && root->row[k] == NO_WAY)
        r = -ENOSPC;
    if (r < 0)
        return r;
    hand_down(s, root, k);
    if (ret_cost)
        *ret_cost = root->row[k];
    return 0;
}

int jb_solve(struct jb_place_core *cores, size_t n, const struct jb_solve_wish *wish, jb_cost *ret_cost)
{
    struct solver s = {.cores = cores, .wish = wish};
    enum field next = FIELD_SECOND;
    s.load_shift = FIELD_BITS * (wish->strict ? FIELD_FIRST : FIELD_FIRST + 1);
    s.level_touch[wish->first] = in_field(FIELD_FIRST, 1) << (wish->strict ? LOAD_BITS : 0);
    for (int level = 0; level < JB_LEVEL_MAX; level++)
        if (level != (int)wish->first)
            s.level_touch[level] = in_field(next--, 1);
    for (size_t i = 0; i < n; i++) {
        cores[i].take = 0;
        s.threads |= cores[i].free > 1;
    }
    int r = solve(&s, n, ret_cost);
    jb_arena_free(&s.arena);
    return r;
}
