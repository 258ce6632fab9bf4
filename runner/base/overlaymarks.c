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

bool jb_overlay_means(enum jb_overlay_space space, const char *name)
{
    return ((space == JB_OVERLAY_ANY || space == JB_OVERLAY_TRUSTED) &&
            jb_starts_with(name, "trusted.overlay.")) ||
           ((space == JB_OVERLAY_ANY || space == JB_OVERLAY_USER) && jb_starts_with(name, "user.overlay."));
}

ssize_t jb_overlay_attribute(int fd, enum jb_overlay_space space, const char *name, char *buf, size_t len)
{
    static const char *const spaces[] = {"trusted", "user"};
    for (size_t i = 0; i < JB_ARRAY_LEN(spaces); i++) {
        char full[64];
        (void)snprintf(full, sizeof(full), "%s.overlay.%s", spaces[i], name);
        ssize_t n = jb_overlay_means(space, full) ? fgetxattr(fd, full, buf, len) : -1;
        if (n >= 0)
            return n;
    }
    return -1;
}

bool jb_is_opaque_in(int fd, enum jb_overlay_space space)
{
    char value[4];
    return jb_overlay_attribute(fd, space, "opaque", value, sizeof(value)) == 1 && value[0] == 'y';
}

bool jb_is_opaque(int fd)
{
    return jb_is_opaque_in(fd, JB_OVERLAY_ANY);
}
