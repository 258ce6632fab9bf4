/*
 * facts.c - asks the kernel about device nodes.
 *
 * Owns: nothing. Runs in: the client. Privilege: none.
 */
#include "devices/facts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"

#define PARENTS_MAX 4 /* a disk's namespace, its controller, the controller's slot */

static int kernel_node(JB_UNUSED void *ctx, const char *path, struct jb_node_facts *ret)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return -errno;
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
        return -ENODEV;
    *ret = (struct jb_node_facts){
        .type = S_ISBLK(st.st_mode) ? 'b' : 'c',
        .major = major(st.st_rdev),
        .minor = minor(st.st_rdev),
        .mode = st.st_mode & 07777,
        .uid = st.st_uid,
        .gid = st.st_gid,
    };
    return 0;
}

/* "0", "3", "-1". */
static int parse_node(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);
    return end != text && *end == '\0' && value >= 0 && value < JB_CPUS_MAX ? (int)value : -1;
}

int jb_locality_read(const struct jb_kdir *sys_dev, char type, unsigned major, unsigned minor, int *ret_node,
                     struct jb_cpus *ret_cpus)
{
    char base[64];
    (void)snprintf(base, sizeof(base), "%s/%u:%u", type == 'b' ? "block" : "char", major, minor);
    for (int up = 0; up < PARENTS_MAX; up++) {
        char path[160];
        char line[32];
        jb_autofree char *list = NULL;
        struct jb_cpus cpus = {0};
        size_t used = strlen(base);
        (void)snprintf(base + used, sizeof(base) - used, "/device");
        (void)snprintf(path, sizeof(path), "%s/numa_node", base);
        int node = jb_kread_line(sys_dev, path, line, sizeof(line)) == 0 ? parse_node(line) : -1;
        if (node < 0) /* not said here, or "nowhere in particular": a parent may know more */
            continue;
        (void)snprintf(path, sizeof(path), "%s/local_cpulist", base);
        if (jb_kread_all(sys_dev, path, &list) == 0) {
            list[strcspn(list, "\n")] = '\0';
            if (jb_cpus_parse(list, &cpus) < 0)
                cpus = (struct jb_cpus){0};
        }
        *ret_node = node;
        *ret_cpus = cpus;
        return 0;
    }
    return -ENODATA;
}

static int kernel_locality(JB_UNUSED void *ctx, char type, unsigned major, unsigned minor, int *ret_node,
                           struct jb_cpus *ret_cpus)
{
    struct jb_kdir dir = {.fd = -1};
    int r = jb_kdir_open("/sys/dev", &dir);
    if (r < 0)
        return -ENODATA;
    r = jb_locality_read(&dir, type, major, minor, ret_node, ret_cpus);
    jb_kdir_close(&dir);
    return r;
}

const struct jb_device_facts jb_device_facts_kernel = {.node = kernel_node, .locality = kernel_locality};
