/*
 * overlaymarks.c - reading an overlay's marks.
 *
 * Owns: nothing. Runs in: see overlaymarks.h. Privilege: see overlaymarks.h.
 */
#include "base/overlaymarks.h"

#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/cleanup.h"

bool jb_is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

ssize_t jb_overlay_attribute(int fd, const char *name, char *buf, size_t len)
{
    static const char *const spaces[] = {"trusted", "user"};
    for (size_t i = 0; i < JB_ARRAY_LEN(spaces); i++) {
        char full[64];
        (void)snprintf(full, sizeof(full), "%s.overlay.%s", spaces[i], name);
        ssize_t n = fgetxattr(fd, full, buf, len);
        if (n >= 0)
            return n;
    }
    return -1;
}

bool jb_is_opaque(int fd)
{
    char value[4];
    return jb_overlay_attribute(fd, "opaque", value, sizeof(value)) == 1 && value[0] == 'y';
}
