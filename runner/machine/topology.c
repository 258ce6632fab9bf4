/*
 * topology.c - hwloc, kept in a child process.
 *
 * Owns: the child while it lives. Runs in: the client and a child of it. Privilege: none; what it is given to read, the
 * child reads without any, also when root asks.
 *
 * hwloc prints to stderr, asserts on some malformed input and believes what it is given; a child with no
 * stderr and bounded memory and time makes all of that one error text. The child hands its result over in a
 * memfd.
 */
#include "machine/topology.h"

#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <hwloc/cpukinds.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "machine/cache.h"
#include "machine/confine.h"

#define XML_DEPTH_MAX 64
#define NODE_MEMORY   (UINT64_C(1) << 50) /* at most, so that sums over all nodes stay numbers */
#define RESULT_MAX    (64U << 20)
#define RESULT_MAGIC  0x6a62746f706f7265ULL

struct result {
    uint64_t magic; /* written last: a result without it is that of a child that died */
    int status;
    char text[500];
    uint64_t machine_len, devices_len, xml_len;
};

static hwloc_obj_t ancestor(hwloc_obj_t obj, hwloc_obj_type_t type)
{
    while (obj && obj->type != type)
        obj = obj->parent;
    return obj;
}

/* The NUMA node among `obj`'s memory children, through memory-side caches; one that has memory if there is
 * one. */
static hwloc_obj_t memory_child(hwloc_obj_t obj)
{
    hwloc_obj_t first = NULL;
    for (hwloc_obj_t m = obj->memory_first_child; m; m = m->next_sibling) {
        hwloc_obj_t node = m;
        while (node && node->type != HWLOC_OBJ_NUMANODE)
            node = node->memory_first_child;
        if (node && node->attr->numanode.local_memory)
            return node;
        if (node && !first)
            first = node;
    }
    return first;
}

static hwloc_obj_t nearest_node(hwloc_obj_t obj)
{
    for (; obj; obj = obj->parent) {
        hwloc_obj_t node = memory_child(obj);
        if (node)
            return node;
    }
    return NULL;
}

/*
 * One kind a core, that of its slowest PU (dumps exist that say otherwise), and ranks without gaps. `known`: every PU
 * has a rank.
 */
static void settle_kinds(struct jb_machine *m, bool known)
{
    for (size_t i = 1; known && i < m->n_pus; i++)
        if (m->pus[i].core == m->pus[i - 1].core && m->pus[i - 1].kind < m->pus[i].kind)
            m->pus[i].kind = m->pus[i - 1].kind;
    for (size_t i = m->n_pus; known && i-- > 1;)
        if (m->pus[i].core == m->pus[i - 1].core && m->pus[i].kind < m->pus[i - 1].kind)
            m->pus[i - 1].kind = m->pus[i].kind;
    struct jb_cpus present = {0};
    for (size_t i = 0; known && i < m->n_pus; i++)
        jb_cpus_add(&present, (unsigned)m->pus[i].kind);
    unsigned n = jb_cpus_count(&present);
    m->n_kinds = n > 1 ? n : 1;
    for (size_t i = 0; i < m->n_pus; i++) {
        int rank = 0;
        for (int k = jb_cpus_next(&present, 0); k >= 0 && k < m->pus[i].kind;
             k = jb_cpus_next(&present, (unsigned)k + 1))
            rank++;
        m->pus[i].kind = n > 1 ? rank : -1;
    }
}

/* Takes efficiency ranks only when hwloc ranks every PU: a half-known ranking would hide PUs from every
 * request. */
static void read_kinds(hwloc_topology_t topo, struct jb_machine *m)
{
    m->n_kinds = 1;
    for (size_t i = 0; i < m->n_pus; i++)
        m->pus[i].kind = -1;
    int n = hwloc_cpukinds_get_nr(topo, 0);
    if (n < 2)
        return;
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    size_t ranked = 0;
    for (int k = 0; set && k < n; k++) {
        int efficiency = -1;
        if (hwloc_cpukinds_get_info(topo, (unsigned)k, set, &efficiency, NULL, NULL, 0) < 0 || efficiency < 0)
            continue;
        for (size_t i = 0; i < m->n_pus; i++)
            if (hwloc_bitmap_isset(set, m->pus[i].os)) {
                m->pus[i].kind = efficiency;
                ranked++;
            }
    }
    hwloc_bitmap_free(set);
    settle_kinds(m, ranked == m->n_pus);
}

static int read_nodes(hwloc_topology_t topo, struct jb_machine *m, struct jb_error *err)
{
    int n = hwloc_get_nbobjs_by_type(topo, HWLOC_OBJ_NUMANODE);
    m->n_nodes = n > 0 ? (size_t)n : 0;
    m->nodes = calloc(m->n_nodes ? m->n_nodes : 1, sizeof(*m->nodes));
    if (!m->nodes)
        return jb_fail_errno(err, ENOMEM, "topology");
    for (size_t i = 0; i < m->n_nodes; i++) {
        hwloc_obj_t obj = hwloc_get_obj_by_type(topo, HWLOC_OBJ_NUMANODE, (unsigned)i);
        if (obj->os_index >= JB_CPUS_MAX)
            return jb_fail(err, EINVAL, "NUMA node number %u is beyond the %d that jobbox knows",
                           obj->os_index, JB_CPUS_MAX);
        if (obj->attr->numanode.local_memory > NODE_MEMORY)
            return jb_fail(err, EINVAL, "NUMA node %u is said to have more than 1 PiB of memory",
                           obj->os_index);
        m->nodes[i] = (struct jb_numa){.os = obj->os_index, .memory = obj->attr->numanode.local_memory};
        m->memory += m->nodes[i].memory;
        for (int pu = hwloc_bitmap_first(obj->cpuset); pu >= 0; pu = hwloc_bitmap_next(obj->cpuset, pu))
            jb_cpus_add(&m->nodes[i].cpus, (unsigned)pu);
    }
    hwloc_const_nodeset_t allowed = hwloc_topology_get_allowed_nodeset(topo);
    for (size_t i = 0; i < m->n_nodes; i++)
        m->nodes[i].usable =
            hwloc_bitmap_isset(allowed, m->nodes[i].os) && (m->nodes[i].memory || !m->memory);
    return 0;
}

/*
 * The groups of a PU by walking up. Logical order keeps every object's PUs side by side, so a new index
 * starts wherever the object changes; PUs without an L3 (or package) form a group as long as nothing coarser
 * changes.
 */
static int read_pus(hwloc_topology_t topo, struct jb_machine *m, struct jb_error *err)
{
    int n = hwloc_get_nbobjs_by_type(topo, HWLOC_OBJ_PU);
    if (n <= 0)
        return jb_fail(err, ENODEV, "it holds no processing unit");
    m->n_pus = (size_t)n;
    m->pus = calloc(m->n_pus, sizeof(*m->pus));
    if (!m->pus)
        return jb_fail_errno(err, ENOMEM, "topology");
    hwloc_const_cpuset_t allowed = hwloc_topology_get_allowed_cpuset(topo);
    hwloc_obj_t was_core = NULL;
    hwloc_obj_t was_l3 = NULL;
    hwloc_obj_t was_package = NULL;
    hwloc_obj_t was_die = NULL;
    for (size_t i = 0; i < m->n_pus; i++) {
        hwloc_obj_t obj = hwloc_get_obj_by_type(topo, HWLOC_OBJ_PU, (unsigned)i);
        if (obj->os_index >= JB_CPUS_MAX)
            return jb_fail(err, EINVAL, "PU number %u is beyond the %d that jobbox knows", obj->os_index,
                           JB_CPUS_MAX);
        hwloc_obj_t core = ancestor(obj, HWLOC_OBJ_CORE);
        hwloc_obj_t l3 = ancestor(obj, HWLOC_OBJ_L3CACHE);
        hwloc_obj_t package = ancestor(obj, HWLOC_OBJ_PACKAGE);
        hwloc_obj_t die = ancestor(obj, HWLOC_OBJ_DIE);
        hwloc_obj_t node = nearest_node(obj);
        struct jb_pu *pu = &m->pus[i];
        pu->os = obj->os_index;
        pu->numa = node ? node->logical_index : 0;
        m->n_cores += i == 0 || !core || core != was_core;
        m->n_packages += i == 0 || package != was_package;
        pu->core = m->n_cores - 1;
        pu->package = m->n_packages - 1;
        m->n_dies += i == 0 || package != was_package || die != was_die;
        pu->die = m->n_dies - 1;
        bool coarser_changed = i > 0 && (pu->numa != pu[-1].numa || pu->package != pu[-1].package);
        m->n_l3s += i == 0 || l3 != was_l3 || (!l3 && coarser_changed);
        pu->l3 = m->n_l3s - 1;
        was_core = core;
        was_l3 = l3;
        was_package = package;
        was_die = die;
        if (hwloc_bitmap_isset(allowed, pu->os))
            jb_cpus_add(&m->allowed, pu->os);
    }
    return 0;
}

/* What the machine is known to have and does not run. */
static void read_offline(hwloc_topology_t topo, struct jb_machine *m)
{
    hwloc_obj_t root = hwloc_get_root_obj(topo);
    hwloc_const_cpuset_t complete = hwloc_topology_get_complete_cpuset(topo);
    for (int pu = hwloc_bitmap_first(complete); pu >= 0 && pu < JB_CPUS_MAX;
         pu = hwloc_bitmap_next(complete, pu))
        if (!hwloc_bitmap_isset(root->cpuset, (unsigned)pu))
            jb_cpus_add(&m->offline, (unsigned)pu);
}

static int set_source(hwloc_topology_t topo, const struct jb_topology_source *source, struct jb_error *err)
{
    if (source->xml && hwloc_topology_set_xmlbuffer(topo, source->xml, (int)source->xml_len + 1) < 0)
        return jb_fail(err, EINVAL, "it is not a topology that hwloc can read");
    if (source->synthetic && hwloc_topology_set_synthetic(topo, source->synthetic) < 0)
        return jb_fail(err, EINVAL,
                       "it is not a synthetic description; example: \"pack:2 l3:4 core:8 pu:2\"");
    return 0;
}

static int read_with_hwloc(const struct jb_topology_source *source, struct jb_machine *m, char **ret_xml,
                           size_t *ret_xml_len, struct jb_error *err)
{
    hwloc_topology_t topo;
    if (hwloc_topology_init(&topo) < 0)
        return jb_fail_errno(err, ENOMEM, "hwloc_topology_init");
    int r = set_source(topo, source, err);
    if (r < 0)
        return r;
    unsigned long flags = HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED | HWLOC_TOPOLOGY_FLAG_NO_DISTANCES |
                          HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS;
    bool io = source->devices || (ret_xml && !source->xml && !source->synthetic);
    if (io && hwloc_topology_set_io_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_IMPORTANT) < 0)
        return jb_fail_errno(err, errno, "asking hwloc for devices");
    if (hwloc_topology_set_flags(topo, flags) < 0 || hwloc_topology_load(topo) < 0)
        return jb_fail(
            err, EINVAL,
            "hwloc cannot load it: damaged, or not of a whole machine; export it again (lstopo FILE.xml)");
    r = read_nodes(topo, m, err);
    if (r == 0)
        r = read_pus(topo, m, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < m->n_pus; i++)
        if (m->n_nodes == 0 || m->pus[i].numa >= m->n_nodes)
            return jb_fail(err, EINVAL, "PU %u has no NUMA node", m->pus[i].os);
    read_kinds(topo, m);
    read_offline(topo, m);
    if (source->devices) {
        r = jb_io_discover(topo, &m->devices, &m->n_devices);
        if (r == -EFBIG)
            return jb_fail(err, EFBIG, "it has more than %d devices", JB_IO_DEVICES_MAX);
        if (r < 0)
            return jb_fail_errno(err, r, "reading its devices");
    }
    int len = 0;
    if (ret_xml && hwloc_topology_export_xmlbuffer(topo, ret_xml, &len, 0) < 0)
        return jb_fail_errno(err, errno, "exporting it as XML");
    *ret_xml_len = len > 0 ? (size_t)len - 1 : 0; /* the length counts the NUL */
    return 0;                                     /* the topology goes with the child */
}

/* What others wrote is read without privilege. This host itself is read with all there is: some of it is root's. */
static int read_confined(const struct jb_topology_source *source, pid_t parent, int fd, struct jb_machine *m,
                         char **ret_xml, size_t *ret_xml_len, struct jb_error *err)
{
    int r = jb_confine(parent, fd, source->xml || source->synthetic);
    return r < 0 ? jb_fail_errno(err, r, "giving up privilege to read it")
                 : read_with_hwloc(source, m, ret_xml, ret_xml_len, err);
}

static void child_main(const struct jb_topology_source *source, bool want_xml, pid_t parent, int fd)
{
    struct result result = {0};
    struct jb_machine m = {0};
    struct jb_error err = {0};
    struct jb_buf packed = {0};
    char *xml = NULL;
    size_t xml_len = 0;
    result.status = read_confined(source, parent, fd, &m, want_xml ? &xml : NULL, &xml_len, &err);
    if (result.status == 0)
        result.status = jb_machine_pack(&m, "", &packed);
    (void)snprintf(result.text, sizeof(result.text), "%s", err.text);
    result.machine_len = packed.len;
    result.devices_len = m.n_devices * sizeof(*m.devices);
    result.xml_len = xml_len;
    if (pwrite(fd, &result, sizeof(result), 0) != sizeof(result) || lseek(fd, sizeof(result), SEEK_SET) < 0)
        _exit(1);
    if (jb_write_all(fd, packed.data, packed.len) < 0 ||
        jb_write_all(fd, m.devices, result.devices_len) < 0 || jb_write_all(fd, xml, xml_len) < 0)
        _exit(1);
    uint64_t magic = RESULT_MAGIC;
    if (pwrite(fd, &magic, sizeof(magic), 0) != sizeof(magic))
        _exit(1);
    _exit(0);
}

/* Devices as the child wrote them. */
static int take_devices(const char *data, size_t len, struct jb_machine *m)
{
    size_t n = len / sizeof(*m->devices);
    if (len % sizeof(*m->devices) != 0 || n > JB_IO_DEVICES_MAX)
        return -EINVAL;
    if (n == 0)
        return 0;
    m->devices = calloc(n, sizeof(*m->devices));
    if (!m->devices)
        return -ENOMEM;
    memcpy(m->devices, data, len);
    m->n_devices = n;
    return jb_io_sound(m->devices, n) ? 0 : -EINVAL;
}

static bool whole_result(const struct result *result, size_t len)
{
    uint64_t left = len - sizeof(*result);
    return result->machine_len <= left && result->devices_len <= left - result->machine_len &&
           result->xml_len == left - result->machine_len - result->devices_len;
}

static int take_result(const struct jb_topology_source *source, int fd, int wstatus, struct jb_machine *ret,
                       char **ret_xml, size_t *ret_xml_len, struct jb_error *err)
{
    jb_autofree char *data = NULL;
    size_t len = 0;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return jb_fail_errno(err, errno, "%s", source->name);
    int r = jb_read_fd(fd, RESULT_MAX, &data, &len);
    if (r < 0)
        return jb_fail_errno(err, r, "%s: result of hwloc", source->name);
    struct result result = {0};
    if (len >= sizeof(result))
        memcpy(&result, data, sizeof(result));
    if (result.magic != RESULT_MAGIC || (result.status == 0 && !whole_result(&result, len))) {
        if (WIFSIGNALED(wstatus))
            return jb_fail(err, EINVAL, "%s: hwloc died of signal %d reading it: not a sound topology",
                           source->name, WTERMSIG(wstatus));
        return jb_fail(err, EIO, "%s: hwloc ended without a result (out of memory?)", source->name);
    }
    result.text[sizeof(result.text) - 1] = '\0';
    if (result.status < 0)
        return jb_fail(err, result.status, "%s: %s", source->name, result.text);
    jb_autofree char *xml = NULL;
    if (ret_xml) {
        xml = malloc(result.xml_len + 1);
        if (!xml)
            return jb_fail_errno(err, ENOMEM, "%s", source->name);
        memcpy(xml, data + len - result.xml_len, result.xml_len);
        xml[result.xml_len] = '\0';
    }
    struct jb_machine m = {0};
    r = jb_machine_unpack(data + sizeof(result), result.machine_len, "", &m);
    if (r == 0)
        r = take_devices(data + sizeof(result) + result.machine_len, result.devices_len, &m);
    if (r < 0) {
        jb_machine_free(&m);
        return jb_fail(err, r, "%s: its groups contradict each other", source->name);
    }
    *ret = m;
    if (ret_xml) {
        *ret_xml = jb_take_ptr(xml);
        *ret_xml_len = result.xml_len;
    }
    return 0;
}

/* What would take hwloc down rather than be refused by it: nesting that overflows its stack, and format 3. */
static int check_xml(const struct jb_topology_source *source, struct jb_error *err)
{
    if (source->xml_len > JB_TOPOLOGY_XML_MAX)
        return jb_fail(err, EFBIG, "%s: more than %u MiB; a topology is never that large", source->name,
                       JB_TOPOLOGY_XML_MAX >> 20);
    if (strlen(source->xml) != source->xml_len)
        return jb_fail(err, EINVAL, "%s: holds a NUL byte; it is not XML", source->name);
    const char *root = strstr(source->xml, "<topology");
    if (!root)
        return jb_fail(err, EINVAL,
                       "%s: no <topology> element; expected an XML file exported by hwloc (lstopo FILE.xml)",
                       source->name);
    const char *version = strstr(root, "version=\"");
    const char *end = strchr(root, '>');
    if (version && end && version < end && version[9] > '2' && version[9] <= '9')
        return jb_fail(
            err, ENOTSUP,
            "%s: hwloc XML of format %c, and this hwloc reads up to 2; export it with an hwloc 2.x lstopo",
            source->name, version[9]);
    unsigned depth = 0;
    for (const char *p = root; (p = strchr(p, '<')); p++) {
        if (jb_starts_with(p, "</object"))
            depth -= depth > 0;
        else if (jb_starts_with(p, "<object") && ++depth > XML_DEPTH_MAX)
            return jb_fail(err, EINVAL, "%s: objects nested deeper than %d; no machine is", source->name,
                           XML_DEPTH_MAX);
        const char *close = strchr(p, '>');
        if (close && close[-1] == '/' && jb_starts_with(p, "<object"))
            depth -= depth > 0;
    }
    return 0;
}

/* The numbers after ':' multiply; hwloc would allocate them all before it looks. */
static int check_synthetic(const struct jb_topology_source *source, struct jb_error *err)
{
    uint64_t total = 1;
    unsigned in_brackets = 0; /* [numa(memory=...)] and pu:2(indexes=...): attributes, not counts */
    for (const char *p = source->synthetic; *p; p++) {
        if (*p == '(' || *p == '[')
            in_brackets++;
        else if (*p == ')' || *p == ']')
            in_brackets -= in_brackets > 0;
        bool count = !in_brackets &&
                     (*p == ':' || ((p == source->synthetic || p[-1] == ' ') && *p >= '0' && *p <= '9'));
        if (!count)
            continue;
        uint64_t n = strtoull(p + (*p == ':'), NULL, 10);
        total *= n ? n : 1;
        if (n > JB_CPUS_MAX || total > JB_CPUS_MAX)
            return jb_fail(err, EFBIG, "%s: describes more than the %d PUs that jobbox knows", source->name,
                           JB_CPUS_MAX);
    }
    return 0;
}

int jb_topology_probe(const struct jb_topology_source *source, struct jb_machine *ret, char **ret_xml,
                      size_t *ret_xml_len, struct jb_error *err)
{
    int r = source->xml ? check_xml(source, err) : source->synthetic ? check_synthetic(source, err) : 0;
    if (r < 0)
        return r;
    jb_autoclose int fd = memfd_create("jobbox-topology", MFD_CLOEXEC);
    if (fd < 0)
        return jb_fail_errno(err, errno, "%s: memfd", source->name);
    pid_t self = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return jb_fail_errno(err, errno, "%s: starting the process that reads it", source->name);
    if (pid == 0)
        child_main(source, ret_xml != NULL, self, fd);
    int wstatus = 0;
    while (waitpid(pid, &wstatus, 0) < 0 && errno == EINTR)
        ;
    return take_result(source, fd, wstatus, ret, ret_xml, ret_xml_len, err);
}
