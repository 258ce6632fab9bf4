/*
 * near.c - CPUs beside the devices, then the devices nearest to the CPUs.
 *
 * Owns: nothing. Runs in: the client. Privilege: none; pure.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "devices/choice.h"

const char *jb_near_name(enum jb_near near)
{
    static const char *const names[JB_NEAR_MAX] = {
        [JB_NEAR_ANYWHERE] = "anywhere",
        [JB_NEAR_LOCAL] = "local",
        [JB_NEAR_PACKAGE] = "package",
        [JB_NEAR_REMOTE] = "remote",
    };
    return (unsigned)near < JB_NEAR_MAX ? names[near] : NULL;
}

enum jb_near jb_choice_near(const struct jb_choice *choice, const struct jb_candidate *c,
                            const struct jb_cpus *cpus)
{
    const struct jb_machine *m = choice->in->machine;
    if (!c->located)
        return JB_NEAR_ANYWHERE;
    if (jb_cpus_intersects(&c->cpus, cpus))
        return JB_NEAR_LOCAL;
    struct jb_cpus packages = {0};
    for (size_t i = 0; i < m->n_pus; i++)
        if (jb_cpus_has(cpus, m->pus[i].os))
            jb_cpus_add(&packages, m->pus[i].package);
    for (size_t i = 0; i < m->n_pus; i++)
        if (jb_cpus_has(&c->cpus, m->pus[i].os) && jb_cpus_has(&packages, m->pus[i].package))
            return JB_NEAR_PACKAGE;
    return JB_NEAR_REMOTE;
}

/* Whether all that is wished can be had close to these CPUs. */
static bool suits(const struct jb_choice *choice, const struct jb_cpus *cpus)
{
    for (size_t w = 0; w < choice->n_wishes; w++) {
        const struct jb_wish *wish = &choice->wishes[w];
        uint64_t close = 0;
        for (size_t i = 0; i < wish->len; i++) {
            const struct jb_candidate *c = &wish->items[i];
            bool near = !c->located || jb_cpus_intersects(&c->cpus, cpus);
            if (!wish->kind && !near)
                return false;
            bool again = false; /* another name of one that was counted */
            for (size_t k = 0; !again && k < i; k++)
                again = !wish->items[k].taken && jb_held_same(wish->items[k].held, c->held);
            close += near && !again && !c->taken && jb_choice_free_of(choice, c);
        }
        if (wish->kind && close < wish->count)
            return false;
    }
    return true;
}

/* The CPUs of all NUMA nodes that suit; empty when that makes no difference. */
static struct jb_cpus preferred(const struct jb_choice *choice)
{
    const struct jb_machine *m = choice->in->machine;
    struct jb_cpus near = {0};
    bool located = false;
    for (size_t w = 0; w < choice->n_wishes; w++)
        for (size_t i = 0; i < choice->wishes[w].len; i++)
            located = located || choice->wishes[w].items[i].located;
    for (size_t i = 0; located && i < m->n_nodes; i++)
        if (!jb_cpus_empty(&m->nodes[i].cpus) && suits(choice, &m->nodes[i].cpus))
            jb_cpus_or(&near, &m->nodes[i].cpus);
    if (jb_cpus_subset(&m->allowed, &near))
        near = (struct jb_cpus){0};
    return near;
}

/* Nearness to devices is worth no worse locality among the CPUs themselves. */
static bool no_worse(const struct jb_grant *near, const struct jb_grant *base, enum jb_locality locality)
{
    return near->packages <= base->packages && near->numa_nodes <= base->numa_nodes &&
           (locality != JB_LOCALITY_L3 || near->l3s <= base->l3s) &&
           jb_cpus_count(&near->mems) <= jb_cpus_count(&base->mems) && near->kind == base->kind;
}

static int place_cpus(const struct jb_choice *choice, const struct jb_request *request, struct jb_grant *ret,
                      bool *ret_moved, struct jb_error *err)
{
    const struct jb_devices_input *in = choice->in;
    int r = jb_place(in->machine, in->ledger, request, ret, err);
    *ret_moved = false;
    struct jb_cpus near = preferred(choice);
    if (r < 0 || request->cpu_set_said || jb_cpus_empty(&near) || jb_cpus_subset(&ret->cpus, &near))
        return r < 0 ? jb_wrap(err, "%s", in->spec->file) : 0;
    struct jb_request beside = *request;
    struct jb_grant grant;
    beside.within_said = true;
    beside.within = near;
    if (jb_place(in->machine, in->ledger, &beside, &grant, NULL) == 0 &&
        no_worse(&grant, ret, request->locality)) {
        *ret = grant;
        *ret_moved = true;
    }
    return 0;
}

/* ANYWHERE and LOCAL are the same distance. */
static int distance(const struct jb_choice *choice, const struct jb_candidate *c, const struct jb_cpus *cpus)
{
    enum jb_near near = jb_choice_near(choice, c, cpus);
    return near == JB_NEAR_ANYWHERE ? JB_NEAR_LOCAL : (int)near;
}

/* Candidates are in order of name: the first of the nearest is the one. */
static int choose(struct jb_choice *choice, struct jb_wish *wish, const struct jb_cpus *cpus,
                  struct jb_error *err)
{
    for (uint64_t left = wish->count; left > 0; left--) {
        struct jb_candidate *best = NULL;
        for (size_t i = 0; i < wish->len; i++) {
            struct jb_candidate *c = &wish->items[i];
            if (c->chosen || c->taken || !jb_choice_free_of(choice, c))
                continue;
            if (!best || distance(choice, c, cpus) < distance(choice, best, cpus))
                best = c;
        }
        if (!best)
            return jb_fail(
                err, EBUSY,
                "%s: %s: of %s there are not enough beside the other devices of this job; ask for fewer",
                choice->where, wish->text, wish->kind);
        best->chosen = true;
    }
    return 0;
}

int jb_choice_place(struct jb_choice *choice, const struct jb_request *request, struct jb_grant *ret,
                    bool *ret_moved, struct jb_error *err)
{
    int r = place_cpus(choice, request, ret, ret_moved, err);
    for (size_t w = 0; r == 0 && w < choice->n_wishes; w++)
        if (choice->wishes[w].kind)
            r = choose(choice, &choice->wishes[w], &ret->cpus, err);
    return r;
}
