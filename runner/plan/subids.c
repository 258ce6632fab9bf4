/*
 * subids.c - reading subuid(5).
 *
 * Owns: nothing. Runs in: the client. Privilege: none; pure.
 */
#include "plan/subids.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/units.h"

#define ID_MAX (UINT32_MAX - 1) /* the last one means "leave as it is" to the kernel */

/* name:start:count */
static struct jb_id_range one_line(char *line, const char *user, const char *number)
{
    struct jb_id_range none = {0};
    uint64_t start;
    uint64_t count;
    char *rest = NULL;
    const char *name = strtok_r(line, ":", &rest);
    const char *from = strtok_r(NULL, ":", &rest);
    const char *many = strtok_r(NULL, ":", &rest);
    if (!name || !from || !many || (!jb_streq(name, user) && !jb_streq(name, number)) ||
        jb_parse_u64(from, ID_MAX, &start) < 0 || jb_parse_u64(many, ID_MAX, &count) < 0 || start == 0 ||
        count == 0 || start + count - 1 > ID_MAX)
        return none;
    return (struct jb_id_range){.start = (uint32_t)start, .count = (uint32_t)count};
}

struct jb_id_range jb_subids_find(const char *text, const char *user, uid_t uid)
{
    struct jb_id_range range = {0};
    char number[16];
    jb_autofree char *copy = strdup(text);
    char *rest = NULL;
    (void)snprintf(number, sizeof(number), "%u", (unsigned)uid);
    for (char *line = copy ? strtok_r(copy, "\n", &rest) : NULL; line && range.count == 0;
         line = strtok_r(NULL, "\n", &rest))
        range = one_line(line, user, number);
    return range;
}
