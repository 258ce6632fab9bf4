/*
 * topology.h - hwloc in a child process: from a source of topology to a struct jb_machine, unrestricted.
 *
 * Owns: nothing. Runs in: the client and a child of it. Privilege: none. Internal to machine/.
 */
#ifndef JB_MACHINE_TOPOLOGY_H
#define JB_MACHINE_TOPOLOGY_H

#include <stddef.h>

#include "base/error.h"
#include "machine/machine.h"

#define JB_TOPOLOGY_XML_MAX (16U << 20) /* bytes */

/* What hwloc is to look at: at most one of the two texts; neither: this host. */
struct jb_topology_source {
    const char *name; /* for messages */
    const char *xml;  /* text of a topology, NUL-terminated */
    size_t xml_len;
    const char *synthetic;
    bool devices; /* read them too; a host whose XML is wanted always has them in it */
};

/*
 * The whole machine: `pus` holds every online PU, `allowed` those that the topology allows, `disallowed` is empty. `ret_xml` (may be
 * NULL): hwloc's export in format 2; caller frees.
 */
int jb_topology_probe(const struct jb_topology_source *source, struct jb_machine *ret, char **ret_xml,
                      size_t *ret_xml_len, struct jb_error *err);

#endif
