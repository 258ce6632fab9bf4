/*
 * network.c - what network the job is on, what it is called there, and the files that say so.
 *
 * Owns: those parts of the plan under construction. Runs in: the client. Privilege: none; pure.
 */
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "plan/make.h"

#define HOSTNAME_MAX 63
#define FIXED_NAME   "jobbox" /* of every reproducible job */

/* A job's name may hold what a host's may not. */
static const char *host_name(struct jb_plan *plan, const struct jb_spec *spec)
{
    if (spec->hostname)
        return jb_arena_strdup(&plan->arena, spec->hostname);
    if (spec->reproducible)
        return FIXED_NAME;
    const char *from = plan->name + strspn(plan->name, "-._");
    char *name = jb_arena_printf(&plan->arena, "%.*s", HOSTNAME_MAX, from);
    if (!name)
        return NULL;
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]))
            name[i] = '-';
    while (len > 0 && name[len - 1] == '-')
        name[--len] = '\0';
    return len > 0 ? name : FIXED_NAME;
}

static int refuse(const struct jb_plan_input *in, int errnum, const char *what, struct jb_error *err)
{
    char where[512];
    return jb_fail(err, errnum, "%s: %s", jb_spec_where(in->spec, JB_KEY_NETWORK, where, sizeof(where)),
                   what);
}

static int user_network(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_strv *allow = &in->site->network.allow;
    if (!in->site->policy.user_network)
        return refuse(in, EPERM, "a network of its own is not allowed on this site; ask its administrator",
                      err);
    if (!in->host->net_helper[0])
        return refuse(
            in, ENOTSUP,
            "user needs the program slirp4netns, which is not here; have it installed, or write none "
            "or host",
            err);
    if (in->host->no_tun[0])
        return jb_fail(err, ENOTSUP, "network: user needs /dev/net/tun: %s; write none or host",
                       in->host->no_tun);
    struct jb_network_range *ranges = jb_arena_alloc(&plan->arena, (allow->len + 1) * sizeof(*ranges));
    plan->net.helper = jb_arena_strdup(&plan->arena, in->host->net_helper);
    if (!ranges || !plan->net.helper)
        return jb_fail_errno(err, ENOMEM, "plan");
    for (size_t i = 0; i < allow->len; i++)
        if (jb_network_parse(allow->items[i], &ranges[i]) < 0)
            return jb_fail_errno(err, EINVAL, "network.user.allow");
    plan->net.n_allow = allow->len;
    plan->net.allow = ranges;
    plan->net.host_loopback = in->site->network.host_loopback;
    plan->net.dns = in->site->network.dns;
    return 0;
}

int jb_make_network(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    plan->network = in->spec->network;
    plan->hostname = host_name(plan, in->spec);
    if (!plan->hostname)
        return jb_fail_errno(err, ENOMEM, "plan");
    if (plan->network == JB_NETWORK_HOST)
        return in->site->policy.host_network
                   ? 0
                   : refuse(in, EPERM,
                            "the host's network is not allowed on this site; ask its administrator", err);
    plan->namespaces |= CLONE_NEWNET;
    return plan->network == JB_NETWORK_USER ? user_network(plan, in, err) : 0;
}

static int text_file(struct jb_plan *plan, const char *target, const char *text,
                     int (*add)(struct jb_plan *plan, struct jb_op op))
{
    return text ? add(plan, (struct jb_op){.kind = JB_OP_TEXT,
                                           .flags = JB_OPF_OPTIONAL,
                                           .target = target,
                                           .text = text,
                                           .mode = 0644})
                : -ENOMEM;
}

/*
 * An image has no idea of the network it will be on. With none, names are those of the loopback interface; what the
 * host's own files say would lead nowhere.
 */
int jb_make_network_files(struct jb_plan *plan, const struct jb_plan_input *in,
                          int (*add)(struct jb_plan *plan, struct jb_op op))
{
    static const char *const addresses[JB_NETWORK_MAX] = {
        [JB_NETWORK_NONE] = "127.0.0.1",
        [JB_NETWORK_HOST] = "127.0.1.1",
        [JB_NETWORK_USER] = JB_NET_ADDRESS,
    };
    bool host = plan->network == JB_NETWORK_HOST;
    bool ends = in->host->etc_hosts.len == 0 || in->host->etc_hosts.data[in->host->etc_hosts.len - 1] == '\n';
    const char *hosts = jb_arena_printf(
        &plan->arena, "%s%s%s\t%s\n",
        host && in->host->etc_hosts.len ? in->host->etc_hosts.data : "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
        host && !ends ? "\n" : "", addresses[plan->network], plan->hostname);
    int r = text_file(plan, "/etc/hosts", hosts, add);
    if (r < 0 || plan->network == JB_NETWORK_NONE)
        return r;
    const char *resolver = host            ? jb_arena_strdup(&plan->arena, in->host->etc_resolv.data)
                           : plan->net.dns ? "nameserver " JB_NET_DNS "\n"
                                           : "# no name service is reachable from here\n";
    if (host && !resolver) /* the host has none */
        return 0;
    return text_file(plan, "/etc/resolv.conf", resolver, add);
}
