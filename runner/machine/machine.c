/*
 * machine.c - loading a machine: from the cache, from hwloc, or from a topology given by the user; then
 * restricting it to what this process may use.
 *
 * Owns: nothing beyond the result. Runs in: the client. Privilege: none.
 */
#include "machine/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/kfile.h"
#include "base/str.h"
#include "machine/cache.h"
#include "machine/topology.h"

/* hwloc obeys its own environment; what it then says is true of that environment, not of the host: never
 * cached. */
static bool hwloc_is_overridden(void)
{
    for (char **e = environ; e && *e; e++)
        if (jb_starts_with(*e, "HWLOC_"))
            return true;
    return false;
}

static int probe_host(const struct jb_machine_source *how, int cache_dirfd, const char *key,
                      struct jb_machine *ret, struct jb_error *err)
{
    struct jb_topology_source source = {.name = "topology of this host", .devices = how->devices};
    if (cache_dirfd >= 0) {
        jb_autofree char *text = NULL;
        size_t len = 0;
        struct jb_topology_source kept = {.name = "cached topology", .devices = how->devices};
        if (jb_cache_load_xml(cache_dirfd, key, &text, &len) == 0) {
            kept.xml = text;
            kept.xml_len = len;
            if (jb_topology_probe(&kept, ret, NULL, NULL, NULL) == 0) {
                if (!how->cache_readonly)
                    jb_cache_store(cache_dirfd, key, ret, NULL, 0);
                return 0;
            }
        }
    }
    jb_autofree char *xml = NULL;
    size_t xml_len = 0;
    bool store = cache_dirfd >= 0 && !how->cache_readonly;
    int r = jb_topology_probe(&source, ret, store ? &xml : NULL, &xml_len, err);
    if (r == 0 && store)
        jb_cache_store(cache_dirfd, key, ret, xml, xml_len);
    return r;
}

static int load_host(const struct jb_machine_source *how, struct jb_machine *ret, struct jb_error *err)
{
    int cache_dirfd = how->cache_dirfd;
    struct jb_kdir proc = {.fd = -1};
    struct jb_kdir sys = {.fd = -1};
    char key[JB_CACHE_KEY_MAX] = "";
    int r = -ENOENT;
    if (cache_dirfd >= 0 && !hwloc_is_overridden()) {
        r = jb_kdir_open("/proc", &proc);
        if (r == 0)
            r = jb_kdir_open("/sys", &sys);
        if (r == 0)
            r = jb_cache_key(&proc, &sys, key, sizeof(key));
        jb_kdir_close(&proc);
        jb_kdir_close(&sys);
    }
    if (r < 0) /* a host that cannot say which boot this is gets no cache */
        return probe_host(how, -1, "", ret, err);
    if (!how->devices && jb_cache_load(cache_dirfd, key, ret) == 0)
        return 0;
    return probe_host(how, cache_dirfd, key, ret, err);
}

static int load_file(const char *path, bool devices, struct jb_machine *ret, struct jb_error *err)
{
    jb_autofree char *text = NULL;
    size_t len = 0;
    jb_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return jb_fail_errno(err, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return jb_fail(err, EINVAL, "%s: not a regular file; expected hwloc XML", path);
    int r = jb_read_fd(fd, JB_TOPOLOGY_XML_MAX, &text, &len);
    if (r == -EFBIG)
        return jb_fail(err, EFBIG, "%s: more than %u MiB; a topology is never that large", path,
                       JB_TOPOLOGY_XML_MAX >> 20);
    if (r < 0)
        return jb_fail_errno(err, r, "%s", path);
    struct jb_topology_source source = {.name = path, .xml = text, .xml_len = len, .devices = devices};
    return jb_topology_probe(&source, ret, NULL, NULL, err);
}

/* Affinity is always within the cpuset, so one call answers for both. */
static int ask_cpus(struct jb_cpus *ret, struct jb_error *err)
{
    struct jb_cpus set = {0};
    /* the raw call: the kernel refuses (EINVAL) only a mask that is too small for it */
    long n = syscall(SYS_sched_getaffinity, 0, sizeof(set.w), set.w);
    if (n < 0)
        return jb_fail_errno(err, errno, "sched_getaffinity: CPUs this process may use");
    *ret = set;
    return 0;
}

/* A kernel without NUMA has no such call; then every node is allowed. */
static int ask_mems(struct jb_cpus *ret)
{
    struct jb_cpus set = {0};
    if (syscall(SYS_get_mempolicy, NULL, set.w, (unsigned long)JB_CPUS_MAX, NULL, MPOL_F_MEMS_ALLOWED) < 0)
        return -errno;
    *ret = set;
    return 0;
}

/* Renumbers one kind of index densely, in logical order. */
static unsigned renumber(struct jb_machine *m, size_t field)
{
    unsigned n = 0;
    unsigned was = 0;
    for (size_t i = 0; i < m->n_pus; i++) {
        unsigned *index = (unsigned *)((char *)&m->pus[i] + field);
        unsigned own = *index;
        n += i == 0 || own != was;
        *index = n - 1;
        was = own;
    }
    return n;
}

/* Siblings follow the PUs of their core: numbered by it, dropped when it has none left. */
static void keep_siblings(struct jb_machine *m, const struct jb_pu *all, size_t n_all)
{
    size_t kept = 0;
    for (size_t i = 0; i < n_all; i++) {
        size_t k = kept;
        while (k < m->n_pus && m->pus[k].core < all[i].core)
            k++;
        kept = k;
        if (k == m->n_pus)
            break;
        if (m->pus[k].core == all[i].core && !jb_cpus_has(&m->allowed, all[i].os)) {
            m->siblings[m->n_siblings] = all[i];
            m->siblings[m->n_siblings++].kind =
                (int)k; /* its core's first PU, until cores have their new number */
        }
    }
}

static int restrict_machine(struct jb_machine *m, const struct jb_cpus *cpus, const struct jb_cpus *mems,
                            bool whole, struct jb_error *err)
{
    size_t n_all = m->n_pus;
    if (n_all == 0 || !m->pus)
        return jb_fail(err, ENODEV, "this machine has no CPU");
    jb_cpus_and(&m->allowed, cpus);
    jb_autofree struct jb_pu *all = calloc(n_all + 1, sizeof(*all));
    m->siblings = calloc(n_all + 1, sizeof(*m->siblings));
    if (!all || !m->siblings)
        return jb_fail_errno(err, ENOMEM, "topology");
    memcpy(all, m->pus, n_all * sizeof(*all));
    m->n_pus = 0;
    for (size_t i = 0; i < n_all; i++) {
        if (!jb_cpus_has(&m->allowed, all[i].os))
            jb_cpus_add(&m->disallowed, all[i].os);
        if (whole || jb_cpus_has(&m->allowed, all[i].os))
            m->pus[m->n_pus++] = all[i];
    }
    if (m->n_pus == 0 || jb_cpus_empty(&m->allowed))
        return jb_fail(err, ENODEV, "no CPU of this machine is online and allowed to this process");
    if (!whole)
        keep_siblings(m, all, n_all);
    m->n_cores = renumber(m, offsetof(struct jb_pu, core));
    m->n_l3s = renumber(m, offsetof(struct jb_pu, l3));
    m->n_packages = renumber(m, offsetof(struct jb_pu, package));
    m->n_dies = renumber(m, offsetof(struct jb_pu, die));
    for (size_t i = 0; i < m->n_siblings; i++)
        m->siblings[i].core = m->pus[m->siblings[i].kind].core;
    m->memory = 0;
    for (size_t i = 0; i < m->n_nodes; i++) {
        struct jb_numa *node = &m->nodes[i];
        node->usable = node->usable && (!mems || jb_cpus_has(mems, node->os));
        m->memory += node->usable ? node->memory : 0;
    }
    return 0;
}

/* What hwloc saw as allowed is that of whoever filled the cache: the host is asked anew each time. */
static void allow_all(struct jb_machine *m)
{
    uint64_t known = 0;
    for (size_t i = 0; i < m->n_pus; i++)
        jb_cpus_add(&m->allowed, m->pus[i].os);
    for (size_t i = 0; i < m->n_nodes; i++)
        known |= m->nodes[i].memory;
    for (size_t i = 0; i < m->n_nodes; i++)
        m->nodes[i].usable = m->nodes[i].memory || !known;
}

/*
 * A guest whose memory is handed out bit by bit shows in each node what it has been given so far, and in the total what
 * it may have. Limits are about the latter. With HWLOC_* in the environment the nodes may be those of another machine.
 */
static void settle_memory(struct jb_machine *m)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    if (hwloc_is_overridden() || pages <= 0 || page <= 0 || m->memory == 0)
        return;
    uint64_t total = (uint64_t)pages * (uint64_t)page;
    double factor = (double)total / (double)m->memory;
    if (factor < 1.1) /* the kernel keeps a little of each node for itself */
        return;
    m->memory = 0;
    for (size_t i = 0; i < m->n_nodes; i++) {
        bool last = i + 1 == m->n_nodes;
        m->nodes[i].memory = last ? total - m->memory : (uint64_t)((double)m->nodes[i].memory * factor);
        m->memory += m->nodes[i].memory;
    }
}

int jb_machine_load(const struct jb_machine_source *source, struct jb_machine *ret, struct jb_error *err)
{
    struct jb_machine m = {0};
    struct jb_cpus cpus;
    struct jb_cpus mems;
    bool host = !source->xml_file && !source->synthetic;
    if (source->xml_file && source->synthetic)
        return jb_fail(err, EINVAL, "a topology file and a synthetic description at once; give one");
    struct jb_topology_source synthetic = {.name = "synthetic topology", .synthetic = source->synthetic};
    int r = source->xml_file    ? load_file(source->xml_file, source->devices, &m, err)
            : source->synthetic ? jb_topology_probe(&synthetic, &m, NULL, NULL, err)
                                : load_host(source, &m, err);
    if (r < 0)
        return r;
    const struct jb_cpus *use_cpus = source->allowed_cpus;
    const struct jb_cpus *use_mems = source->allowed_mems;
    if (host) {
        settle_memory(&m);
        allow_all(&m);
    }
    if (host && !use_cpus) {
        r = ask_cpus(&cpus, err);
        use_cpus = &cpus;
    }
    if (host && !use_mems && ask_mems(&mems) == 0)
        use_mems = &mems;
    if (r == 0)
        r = restrict_machine(&m, use_cpus ? use_cpus : &m.allowed, use_mems, source->whole, err);
    if (r < 0) {
        jb_machine_free(&m);
        return r;
    }
    if (source->reserved)
        m.reserved = *source->reserved;
    *ret = m;
    return 0;
}

void jb_machine_free(struct jb_machine *machine)
{
    free(machine->pus);
    free(machine->siblings);
    free(machine->nodes);
    free(machine->devices);
    *machine = (struct jb_machine){0};
}

int jb_machine_own_cpus(struct jb_cpus *ret, struct jb_error *err)
{
    return ask_cpus(ret, err);
}
