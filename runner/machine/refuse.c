/*
 * refuse.c - the texts of a refused placement.
 *
 * Owns: nothing. Runs in: the client. Privilege: none.
 */
#include "machine/refuse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/units.h"

#define HOLDERS_SHOWN 4
#define ID_SHOWN      12

char *jb_refuse_units(const struct jb_request *request, uint64_t n, char *buf, size_t len)
{
    const char *kind = request->kind == JB_CPU_KIND_ANY ? "" : jb_cpu_kind_name(request->kind);
    (void)snprintf(buf, len, "%llu %s%s%s%s", (unsigned long long)n, kind, *kind ? " " : "",
                   jb_cpu_unit_name(request->unit), n == 1 ? "" : "s");
    return buf;
}

static int compare_holdings(const void *a, const void *b)
{
    return strcmp(((const struct jb_holding *)a)->id.text, ((const struct jb_holding *)b)->id.text);
}

/* Of a job name only what cannot garble a terminal. */
static void plain(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text == 0x7f)
            *text = '?';
}

static int add_holder(const struct jb_holding *h, bool by_memory, bool first, struct jb_buf *ret)
{
    char list[64];
    char size[32];
    char name[sizeof(h->name)];
    memcpy(name, h->name, sizeof(name));
    plain(name);
    if (by_memory) {
        (void)jb_format_size(h->memory, size, sizeof(size));
    } else if (jb_cpus_format(h->exclusive ? &h->held : &h->cpus, list, sizeof(list)) < 0) {
        (void)snprintf(list, sizeof(list), "%u CPUs", jb_cpus_count(&h->held));
    }
    return jb_buf_printf(ret, "%s%.*s (%s, uid %u) %s%s", first ? "" : "; ", ID_SHOWN, h->id.text,
                         *name ? name : "unnamed", (unsigned)h->uid, by_memory ? "" : "CPUs ",
                         by_memory ? size : list);
}

int jb_refuse_holders(const struct jb_ledger *ledger, const struct jb_cpus *cpus, struct jb_buf *ret)
{
    jb_autofree struct jb_holding *found = calloc(ledger->len ? ledger->len : 1, sizeof(*found));
    if (!found)
        return -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < ledger->len; i++) {
        jb_ledger_get(ledger, i, &found[n]);
        if (cpus ? jb_cpus_intersects(cpus, &found[n].held) || jb_cpus_intersects(cpus, &found[n].cpus)
                 : found[n].memory != JB_UNSET)
            n++;
    }
    if (n == 0)
        return jb_buf_puts(ret, "nobody");
    qsort(found, n, sizeof(*found), compare_holdings);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n && i < HOLDERS_SHOWN; i++)
        r = add_holder(&found[i], cpus == NULL, i == 0, ret);
    if (r == 0 && n > HOLDERS_SHOWN)
        r = jb_buf_printf(ret, "; and %zu more", n - HOLDERS_SHOWN);
    return r;
}

/* What keeps CPUs that the machine has from this process, where those would be enough: " (2 CPUs are offline)". */
static const char *kept_back(const struct jb_machine *machine, uint64_t missing, char *buf, size_t len)
{
    struct jb_cpus reserved = machine->allowed;
    jb_cpus_and(&reserved, &machine->reserved);
    const struct {
        unsigned n;
        const char *why;
    } reasons[] = {{jb_cpus_count(&machine->offline), "offline"},
                   {jb_cpus_count(&machine->disallowed), "not allowed here"},
                   {jb_cpus_count(&reserved), "reserved by the site"}};
    size_t used = 0;
    unsigned sum = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < JB_ARRAY_LEN(reasons); i++) {
        sum += reasons[i].n;
        if (reasons[i].n && used < len)
            used += (size_t)snprintf(buf + used, len - used, "%s%u CPU%s %s %s", used ? ", " : " (",
                                     reasons[i].n, reasons[i].n == 1 ? "" : "s",
                                     reasons[i].n == 1 ? "is" : "are", reasons[i].why);
    }
    if (used && used + 1 < len)
        (void)snprintf(buf + used, len - used, ")");
    if (sum < missing) /* it would be too small with all of them */
        buf[0] = '\0';
    return buf;
}

int jb_refuse_never(const struct jb_machine *machine, const struct jb_request *request,
                    const struct jb_verdict *v, struct jb_error *err)
{
    char wanted[64];
    char fits[64];
    char size[32];
    char nearest[32];
    char note[160];
    (void)jb_refuse_units(request, request->cpus, wanted, sizeof(wanted));
    (void)kept_back(machine, request->cpus > v->available ? request->cpus - v->available : 1, note,
                    sizeof(note));
    switch (v->why) {
    case JB_REFUSAL_MEMORY:
        return jb_fail(
            err, ERANGE,
            "memory: %s wanted%s, and the NUMA nodes this job may use have %s; ask for at most that%s",
            jb_format_size(request->memory, size, sizeof(size)),
            request->strict && request->locality != JB_LOCALITY_NONE ? " close to its cores" : "",
            jb_format_size(v->memory, nearest, sizeof(nearest)),
            request->strict && request->locality != JB_LOCALITY_NONE ? ", or drop strict" : "");
    case JB_REFUSAL_LOCALITY:
        return jb_fail(
            err, ERANGE,
            "locality: %s do not fit in as few %s groups as strict wants; ask for %u, or drop strict", wanted,
            jb_locality_name(request->locality), v->local);
    default:
        break;
    }
    if (machine->n_kinds == 1 && request->kind != JB_CPU_KIND_ANY)
        return jb_fail(err, ERANGE,
                       "cpu_kind: %s wanted, and this machine has one kind of core only; use cpu_kind: any",
                       wanted);
    if (v->available == 0 && request->kind != JB_CPU_KIND_ANY)
        return jb_fail(err, ERANGE,
                       "cpu_kind: %s wanted, and no %s core is allowed here%s; use cpu_kind: any", wanted,
                       jb_cpu_kind_name(request->kind), note);
    if (v->available == 0)
        return jb_fail(err, ERANGE,
                       "cpus: %s wanted, and jobs here may use none%s; use cpu_unit: thread or other CPUs",
                       wanted, note);
    return jb_fail(err, ERANGE, "cpus: %s wanted, and jobs here may use %s%s; ask for cpus: %u", wanted,
                   jb_refuse_units(request, v->available, fits, sizeof(fits)), note, v->available);
}

int jb_refuse_now(const struct jb_machine *machine, const struct jb_ledger *ledger,
                  const struct jb_request *request, const struct jb_verdict *v, struct jb_error *err)
{
    jb_autobuf struct jb_buf who = {0};
    char wanted[64];
    char fits[64];
    char size[32];
    char nearest[32];
    struct jb_cpus all = machine->allowed;
    for (size_t i = 0; i < machine->n_siblings; i++)
        jb_cpus_add(&all, machine->siblings[i].os);
    bool promised = false;
    for (size_t i = 0; i < ledger->len; i++)
        promised |= ledger->items[i].memory != JB_UNSET;
    bool by_memory = v->why == JB_REFUSAL_MEMORY && promised;
    int r = jb_refuse_holders(ledger, by_memory ? NULL : &all, &who);
    if (r < 0)
        return jb_fail_errno(err, r, "placement");
    (void)jb_refuse_units(request, request->cpus, wanted, sizeof(wanted));
    if (v->why == JB_REFUSAL_MEMORY)
        return jb_fail(err, EBUSY, "memory: %s wanted and %s free now where its cores could be; %s %s",
                       jb_format_size(request->memory, size, sizeof(size)),
                       jb_format_size(v->memory, nearest, sizeof(nearest)),
                       by_memory ? "promised to" : "CPUs elsewhere are held by", who.data);
    if (v->why == JB_REFUSAL_LOCALITY)
        return jb_fail(err, EBUSY,
                       "cpus: %s wanted; %u are free now, but not close enough together for strict locality: "
                       "%s; held by %s",
                       wanted, v->available, jb_locality_name(request->locality), who.data);
    return jb_fail(err, EBUSY, "cpus: %s wanted, %s free now; held by %s", wanted,
                   v->available ? jb_refuse_units(request, v->available, fits, sizeof(fits)) : "none",
                   who.data);
}
