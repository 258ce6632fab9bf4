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

/* Which program: what the site names, else pasta where it can serve, else slirp4netns. */
static int choose_helper(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_host *host = in->host;
    enum jb_site_net want = in->site->network.helper;
    bool routed = host->routed4 || host->routed6;
    bool pasta = host->net_pasta[0] && want != JB_SITE_NET_SLIRP;
    bool slirp = host->net_slirp[0] && want != JB_SITE_NET_PASTA;
    if (!pasta && !slirp)
        return refuse(in, ENOTSUP,
                      want == JB_SITE_NET_PASTA ? "user needs the program pasta, which is not here; have it "
                                                  "installed, or write none or host"
                      : want == JB_SITE_NET_SLIRP
                          ? "user needs the program slirp4netns, which is not here; "
                            "have it installed, or write none or host"
                          : "user needs the program pasta or slirp4netns, and neither is "
                            "here; have one installed, or write none or host",
                      err);
    if (!slirp && !routed)
        return refuse(in, ENOTSUP,
                      "user needs a default route of this host for pasta, and there is none; have "
                      "slirp4netns used, or write none or host",
                      err);
    bool with_pasta = pasta && (slirp ? host->routed4 : routed);
    plan->net.program = with_pasta ? JB_NET_PASTA : JB_NET_SLIRP;
    plan->net.four = !with_pasta || host->routed4;
    plan->net.six = with_pasta && host->routed6;
    plan->net.helper = jb_arena_strdup(&plan->arena, with_pasta ? host->net_pasta : host->net_slirp);
    return plan->net.helper ? 0 : jb_fail_errno(err, ENOMEM, "plan");
}

static int user_network(struct jb_plan *plan, const struct jb_plan_input *in, struct jb_error *err)
{
    const struct jb_strv *allow = &in->site->network.allow;
    if (!in->site->policy.user_network)
        return refuse(in, EPERM, "a network of its own is not allowed on this site; ask its administrator",
                      err);
    int r = choose_helper(plan, in, err);
    if (r < 0)
        return r;
    if (in->host->no_tun[0])
        return jb_fail(err, ENOTSUP, "network: user needs /dev/net/tun: %s; write none or host",
                       in->host->no_tun);
    struct jb_network_range *ranges = jb_arena_alloc(&plan->arena, (allow->len + 1) * sizeof(*ranges));
    if (!ranges)
        return jb_fail_errno(err, ENOMEM, "plan");
    for (size_t i = 0; i < allow->len; i++) {
        struct jb_network_range *range = &ranges[plan->net.n_allow];
        if (jb_network_parse(allow->items[i], range) < 0)
            return jb_fail_errno(err, EINVAL, "network.user.allow");
        if (range->six ? plan->net.six : plan->net.four) /* what cannot be reached has no route */
            plan->net.n_allow++;
    }
    plan->net.allow = ranges;
    plan->net.host_loopback = in->site->network.host_loopback;
    plan->net.dns = in->site->network.dns && plan->net.four;
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
    const char *const addresses[JB_NETWORK_MAX] = {
        [JB_NETWORK_NONE] = "127.0.0.1",
        [JB_NETWORK_HOST] = "127.0.1.1",
        [JB_NETWORK_USER] = plan->net.four ? JB_NET_ADDRESS : JB_NET_ADDRESS6,
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
                           : plan->net.dns ? plan->net.program == JB_NET_PASTA
                                                 ? "nameserver " JB_NET_PASTA_DNS "\n"
                                                 : "nameserver " JB_NET_DNS "\n"
                                           : "# no name service is reachable from here\n";
    if (host && !resolver) /* the host has none */
        return 0;
    return text_file(plan, "/etc/resolv.conf", resolver, add);
}
