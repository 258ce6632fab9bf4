/*
 * cache.c - a struct jb_machine as bytes, and the three files of the topology cache.
 *
 * Owns: nothing. Runs in: the client and the hwloc child. Privilege: none.
 */
#include "machine/cache.h"

#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "machine/topology.h"

#define XML_NAME   "topology.xml"
#define KEY_NAME   "topology.key"
#define BIN_NAME   "topology.bin"
#define BIN_MAX    (8U << 20)
#define CACHE_MODE 0644

/* Host-endian: these bytes never leave the host that wrote them. */
struct bin_header {
    char magic[8];
    uint64_t sum; /* of all that follows this field */
    uint32_t key_len, pu_size, node_size;
    uint32_t n_pus, n_nodes, n_cores, n_l3s, n_packages, n_dies, n_kinds;
};
static const char bin_magic[8] = {'j', 'b', 't', 'o', 'p', 'o', '2', '\n'};

static uint64_t sum_of(const void *data, size_t len)
{
    const unsigned char *p = data;
    uint64_t h = UINT64_C(0x9e3779b97f4a7c15) ^ len;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        h = (h ^ w) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    for (; len; p++, len--)
        h = (h ^ *p) * UINT64_C(0xff51afd7ed558ccd);
    return h ^ h >> 29;
}

int jb_cache_key(const struct jb_kdir *proc, const struct jb_kdir *sys, char *buf, size_t len)
{
    char boot[64];
    char cpus[512];
    char nodes[256] = "-"; /* no such file without NUMA support */
    int r = jb_kread_line(proc, "sys/kernel/random/boot_id", boot, sizeof(boot));
    if (r == 0)
        r = jb_kread_line(sys, "devices/system/cpu/online", cpus, sizeof(cpus));
    if (r < 0)
        return r;
    r = jb_kread_line(sys, "devices/system/node/online", nodes, sizeof(nodes));
    if (r < 0 && r != -ENOENT)
        return r;
    int n = snprintf(buf, len, "format=2 hwloc=%#x boot=%s cpus=%s nodes=%s", (unsigned)HWLOC_API_VERSION,
                     boot, cpus, nodes);
    return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

int jb_machine_pack(const struct jb_machine *m, const char *key, struct jb_buf *ret)
{
    struct bin_header h = {
        .key_len = (uint32_t)strlen(key),
        .pu_size = sizeof(struct jb_pu),
        .node_size = sizeof(struct jb_numa),
        .n_pus = (uint32_t)m->n_pus,
        .n_nodes = (uint32_t)m->n_nodes,
        .n_cores = m->n_cores,
        .n_l3s = m->n_l3s,
        .n_packages = m->n_packages,
        .n_dies = m->n_dies,
        .n_kinds = m->n_kinds,
    };
    memcpy(h.magic, bin_magic, sizeof(h.magic));
    size_t start = ret->len;
    int r = jb_buf_add(ret, &h, sizeof(h));
    if (r == 0)
        r = jb_buf_add(ret, key, h.key_len);
    if (r == 0)
        r = jb_buf_add(ret, &m->allowed, sizeof(m->allowed));
    if (r == 0)
        r = jb_buf_add(ret, &m->offline, sizeof(m->offline));
    if (r == 0)
        r = jb_buf_add(ret, m->pus, m->n_pus * sizeof(*m->pus));
    if (r == 0)
        r = jb_buf_add(ret, m->nodes, m->n_nodes * sizeof(*m->nodes));
    if (r < 0)
        return r;
    size_t skip = offsetof(struct bin_header, key_len);
    h.sum = sum_of(ret->data + start + skip, ret->len - start - skip);
    memcpy(ret->data + start, &h, sizeof(h));
    return 0;
}

/* Indices in range and in logical order; one group at each level for all PUs of a core. */
static bool sound(const struct jb_machine *m)
{
    struct jb_cpus seen = {0};
    for (size_t i = 0; i < m->n_pus; i++) {
        const struct jb_pu *pu = &m->pus[i];
        if (pu->os >= JB_CPUS_MAX || jb_cpus_has(&seen, pu->os) || pu->core >= m->n_cores ||
            pu->l3 >= m->n_l3s || pu->package >= m->n_packages || pu->die >= m->n_dies ||
            pu->numa >= m->n_nodes || pu->kind < -1 || pu->kind >= (int)m->n_kinds)
            return false;
        jb_cpus_add(&seen, pu->os);
        if (i > 0 && (pu->core < pu[-1].core || pu->l3 < pu[-1].l3 || pu->package < pu[-1].package ||
                      pu->die < pu[-1].die))
            return false;
        if (i > 0 && pu->core == pu[-1].core &&
            (pu->l3 != pu[-1].l3 || pu->package != pu[-1].package || pu->die != pu[-1].die ||
             pu->numa != pu[-1].numa || pu->kind != pu[-1].kind))
            return false;
    }
    for (size_t i = 0; i < m->n_nodes; i++)
        if (m->nodes[i].os >= JB_CPUS_MAX)
            return false;
    return jb_cpus_subset(&m->allowed, &seen) && !jb_cpus_intersects(&m->offline, &seen);
}

int jb_machine_unpack(const void *data, size_t len, const char *key, struct jb_machine *ret)
{
    struct bin_header h;
    const char *p = data;
    size_t skip = offsetof(struct bin_header, key_len);
    if (len < sizeof(h))
        return -EINVAL;
    memcpy(&h, p, sizeof(h));
    if (memcmp(h.magic, bin_magic, sizeof(h.magic)) != 0 || h.pu_size != sizeof(struct jb_pu) ||
        h.node_size != sizeof(struct jb_numa) || h.n_pus == 0 || h.n_pus > JB_CPUS_MAX ||
        h.n_nodes > JB_CPUS_MAX || h.n_kinds == 0 || h.n_kinds > h.n_pus || h.key_len > JB_CACHE_KEY_MAX)
        return -EINVAL;
    size_t pus_len = h.n_pus * sizeof(struct jb_pu);
    size_t nodes_len = h.n_nodes * sizeof(struct jb_numa);
    if (len != sizeof(h) + h.key_len + 2 * sizeof(struct jb_cpus) + pus_len + nodes_len)
        return -EINVAL;
    if (strlen(key) != h.key_len || memcmp(p + sizeof(h), key, h.key_len) != 0 ||
        h.sum != sum_of(p + skip, len - skip))
        return -EINVAL;
    p += sizeof(h) + h.key_len;
    struct jb_machine m = {.n_pus = h.n_pus,
                           .n_nodes = h.n_nodes,
                           .n_cores = h.n_cores,
                           .n_l3s = h.n_l3s,
                           .n_packages = h.n_packages,
                           .n_dies = h.n_dies,
                           .n_kinds = h.n_kinds};
    m.pus = calloc(h.n_pus, sizeof(*m.pus));
    m.nodes = calloc(h.n_nodes, sizeof(*m.nodes));
    if (!m.pus || !m.nodes) {
        jb_machine_free(&m);
        return -ENOMEM;
    }
    memcpy(&m.allowed, p, sizeof(m.allowed));
    p += sizeof(m.allowed);
    memcpy(&m.offline, p, sizeof(m.offline));
    p += sizeof(m.offline);
    memcpy(m.pus, p, pus_len);
    memcpy(m.nodes, p + pus_len, nodes_len);
    for (size_t i = 0; i < m.n_nodes; i++)
        m.memory += m.nodes[i].usable ? m.nodes[i].memory : 0;
    if (!sound(&m)) {
        jb_machine_free(&m);
        return -EINVAL;
    }
    *ret = m;
    return 0;
}

int jb_cache_load(int dirfd, const char *key, struct jb_machine *ret)
{
    jb_autofree char *data = NULL;
    size_t len = 0;
    int r = jb_read_at(dirfd, BIN_NAME, BIN_MAX, &data, &len);
    if (r == 0)
        r = jb_machine_unpack(data, len, key, ret);
    return r == -ENOMEM || r == 0 ? r : -ENOENT;
}

int jb_cache_load_xml(int dirfd, const char *key, char **ret, size_t *ret_len)
{
    jb_autofree char *stored = NULL;
    size_t stored_len = 0;
    int r = jb_read_at(dirfd, KEY_NAME, JB_CACHE_KEY_MAX, &stored, &stored_len);
    if (r < 0)
        return r;
    if (stored_len != strlen(key) + 1 || memcmp(stored, key, stored_len - 1) != 0 ||
        stored[stored_len - 1] != '\n')
        return -ENOENT;
    return jb_read_at(dirfd, XML_NAME, JB_TOPOLOGY_XML_MAX, ret, ret_len);
}

void jb_cache_store(int dirfd, const char *key, const struct jb_machine *machine, const char *xml,
                    size_t xml_len)
{
    jb_autobuf struct jb_buf line = {0};
    jb_autobuf struct jb_buf bin = {0};
    if (xml) {
        /* the key goes last: until then the old key does not fit this boot and the XML is not believed */
        int r = jb_buf_printf(&line, "%s\n", key);
        if (r == 0)
            r = jb_replace_at(dirfd, XML_NAME, xml, xml_len, CACHE_MODE);
        if (r == 0)
            r = jb_replace_at(dirfd, KEY_NAME, line.data, line.len, CACHE_MODE);
        if (r < 0)
            return;
    }
    if (jb_machine_pack(machine, key, &bin) == 0)
        (void)jb_replace_at(dirfd, BIN_NAME, bin.data, bin.len, CACHE_MODE);
}
