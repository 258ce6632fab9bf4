/*
 * cpus.h - a set of small integers (PUs by OS index, NUMA nodes) as a plain value.
 *
 * Owns: nothing; sets are copied by assignment. Runs in: every process. Privilege: none. All functions are
 * pure.
 */
#ifndef JB_BASE_CPUS_H
#define JB_BASE_CPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JB_CPUS_MAX   4096
#define JB_CPUS_WORDS (JB_CPUS_MAX / 64)

struct jb_cpus {
    uint64_t w[JB_CPUS_WORDS];
};

/*
 * The kernel's list form "0-3,8,10-11"; "" is the empty set. `0-6:2/4` strides are refused.
 * -EINVAL when malformed or a range runs backwards, -ERANGE at JB_CPUS_MAX and above.
 */
int jb_cpus_parse(const char *list, struct jb_cpus *ret);

/* The list form, shortest. Returns the length; -ENOSPC when it does not fit (JB_CPUS_TEXT always fits). */
#define JB_CPUS_TEXT (JB_CPUS_MAX * 6)
int jb_cpus_format(const struct jb_cpus *set, char *buf, size_t len);

/* The list form, allocated; NULL when out of memory. */
char *jb_cpus_list(const struct jb_cpus *set);

bool jb_cpus_has(const struct jb_cpus *set, unsigned cpu);
void jb_cpus_add(struct jb_cpus *set, unsigned cpu); /* indices at JB_CPUS_MAX and above are ignored */
void jb_cpus_del(struct jb_cpus *set, unsigned cpu);
unsigned jb_cpus_count(const struct jb_cpus *set);
bool jb_cpus_empty(const struct jb_cpus *set);
bool jb_cpus_equal(const struct jb_cpus *a, const struct jb_cpus *b);
bool jb_cpus_subset(const struct jb_cpus *inner, const struct jb_cpus *outer);
bool jb_cpus_intersects(const struct jb_cpus *a, const struct jb_cpus *b);
void jb_cpus_or(struct jb_cpus *into, const struct jb_cpus *other);
void jb_cpus_and(struct jb_cpus *into, const struct jb_cpus *other);
void jb_cpus_andnot(struct jb_cpus *into, const struct jb_cpus *other);

/* The first member at or above `from`; -1 when there is none. Loop: for (i = next(s,0); i >= 0; i =
 * next(s,i+1)) */
int jb_cpus_next(const struct jb_cpus *set, unsigned from);

#endif
