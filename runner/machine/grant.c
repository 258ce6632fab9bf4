/*
 * grant.c - the answer of an attempt, and the words for it.
 *
 * Owns: nothing. Runs in: the client. Privilege: none.
 */

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "machine/attempt.h"

/* Free units in the groups that were touched at a level, those taken included. */
static unsigned free_in_touched(const struct jb_attempt *a, enum jb_level level)
{
    struct jb_cpus seen = {0};
    unsigned sum = 0;
    for (unsigned c = 0; c < a->machine->n_cores; c++)
        if (a->cores[c].take)
            jb_cpus_add(&seen, a->cores[c].group[level]);
    for (unsigned c = 0; c < a->machine->n_cores; c++)
        if (jb_cpus_has(&seen, a->cores[c].group[level]))
            sum += a->cores[c].free;
    return sum;
}

static void say_where(const struct jb_attempt *a, const struct jb_grant *g, struct jb_buf *text)
{
    unsigned c = 0;
    while (!a->cores[c].take)
        c++;
    unsigned l3 = a->cores[c].group[JB_LEVEL_L3];
    unsigned package = a->cores[c].group[JB_LEVEL_PACKAGE];
    unsigned node = a->machine->nodes[a->cores[c].group[JB_LEVEL_NUMA]].os;
    if (g->packages > 1)
        (void)jb_buf_printf(text, "over %u packages (%u NUMA nodes, %u L3 groups)", g->packages,
                            g->numa_nodes, g->l3s);
    else if (g->l3s == 1 && g->numa_nodes == 1)
        (void)jb_buf_printf(text, "in L3 group %u of NUMA node %u, package %u", l3, node, package);
    else if (g->numa_nodes == 1)
        (void)jb_buf_printf(text, "in %u L3 groups of NUMA node %u, package %u", g->l3s, node, package);
    else
        (void)jb_buf_printf(text, "in %u NUMA nodes (%u L3 group%s) of package %u", g->numa_nodes, g->l3s,
                            g->l3s == 1 ? "" : "s", package);
}

static void explain(const struct jb_attempt *a, struct jb_grant *g)
{
    jb_autobuf struct jb_buf text = {0};
    char units[64];
    bool chosen = !a->request->cpu_set_said;
    (void)jb_buf_printf(
        &text, "%s ",
        jb_refuse_units(a->request, chosen ? a->request->cpus : g->cores, units, sizeof(units)));
    say_where(a, g, &text);
    if (!chosen) {
        (void)jb_buf_puts(&text, ", as the CPU list says");
    } else {
        enum jb_level level = g->l3s == 1          ? JB_LEVEL_L3
                              : g->numa_nodes == 1 ? JB_LEVEL_NUMA
                                                   : JB_LEVEL_PACKAGE;
        (void)jb_buf_printf(&text, ", the closest set of free ones and the tightest: %u were free there",
                            free_in_touched(a, level));
    }
    if (g->straddles_l3 || g->straddles_numa || g->straddles_package)
        (void)jb_buf_printf(&text, "; an empty machine would keep them in fewer %s",
                            g->straddles_package ? "packages"
                            : g->straddles_numa  ? "NUMA nodes"
                                                 : "L3 groups");
    if (a->machine->n_kinds > 1)
        (void)jb_buf_printf(&text, "; %s cores",
                            g->kind == JB_CPU_KIND_ANY ? "mixed kinds of" : jb_cpu_kind_name(g->kind));
    if (!g->exclusive)
        (void)jb_buf_puts(&text, "; may be shared with others that share");
    if (a->remote)
        (void)jb_buf_puts(
            &text, "; memory reaches over to other NUMA nodes, as the local ones have too little free");
    (void)snprintf(g->explain, sizeof(g->explain), "%s", text.data ? text.data : "");
}

void jb_attempt_grant(const struct jb_attempt *a, const struct jb_cpus *cpus, struct jb_grant *ret)
{
    struct jb_grant g = {.cpus = *cpus, .exclusive = a->request->exclusive, .memory = a->request->memory};
    uint64_t k = a->request->cpu_set_said ? 0 : a->request->cpus;
    g.mems = a->remote ? a->wide : jb_local_mems(a->machine, cpus);
    g.held = jb_attempt_held(a, cpus);
    for (unsigned c = 0; c < a->machine->n_cores; c++) {
        g.cores += a->cores[c].take > 0;
        k += a->request->cpu_set_said ? a->cores[c].take : 0;
    }
    g.l3s = jb_attempt_touched(a, JB_LEVEL_L3);
    g.numa_nodes = jb_attempt_touched(a, JB_LEVEL_NUMA);
    g.packages = jb_attempt_touched(a, JB_LEVEL_PACKAGE);
    g.straddles_l3 = g.l3s > jb_attempt_need(a, JB_LEVEL_L3, k);
    g.straddles_numa = g.numa_nodes > jb_attempt_need(a, JB_LEVEL_NUMA, k);
    g.straddles_package = g.packages > jb_attempt_need(a, JB_LEVEL_PACKAGE, k);
    g.kind = jb_kind_of(a->machine, cpus);
    explain(a, &g);
    *ret = g;
}
