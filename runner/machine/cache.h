/*
 * cache.h - the topology of this boot, kept between runs: topology.xml, topology.key, topology.bin.
 *
 * Owns: nothing. Runs in: the client and the hwloc child. Privilege: none. Internal to machine/.
 *
 * topology.xml is hwloc's own export and the source of truth; topology.key says for which boot and which
 * online CPUs it holds; topology.bin is the struct jb_machine made from it (parsing the XML of a large
 * machine takes hwloc a millisecond), under the same key. What is missing, stale or damaged is made again:
 * never an error.
 */
#ifndef JB_MACHINE_CACHE_H
#define JB_MACHINE_CACHE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/kfile.h"
#include "base/str.h"
#include "machine/machine.h"

#define JB_CACHE_KEY_MAX 1024

/* The key of the running host. `proc` and `sys`: /proc and /sys, or a test's. -errno when the kernel does not
 * say. */
int jb_cache_key(const struct jb_kdir *proc, const struct jb_kdir *sys, char *buf, size_t len);

/* A machine as bytes, and back. Unpacking trusts nothing: -EINVAL for bytes that are not a sound machine. */
int jb_machine_pack(const struct jb_machine *machine, const char *key, struct jb_buf *ret);
int jb_machine_unpack(const void *data, size_t len, const char *key, struct jb_machine *ret);

/* -ENOENT when there is no sound entry under this key. */
int jb_cache_load(int dirfd, const char *key, struct jb_machine *ret);
/* The XML of the cache, when it is of this key. Caller frees. */
int jb_cache_load_xml(int dirfd, const char *key, char **ret, size_t *ret_len);
/* Best effort: a cache that cannot be written is no error. `xml` NULL: only the machine is new. */
void jb_cache_store(int dirfd, const char *key, const struct jb_machine *machine, const char *xml,
                    size_t xml_len);

#endif
