/*
 * overlay.c - the choice between the kernel's overlay, a composed root and fuse-overlayfs.
 *
 * Owns: nothing. Runs in: the client. Privilege: none; pure.
 */
#include "plan/overlay.h"

#include <errno.h>
#include <stdio.h>

/* What the kernel's overlay would leave undone here, in words; NULL: nothing. */
static const char *shortcoming(const struct jb_overlay_facts *f, char *buf, size_t len)
{
    if (f->foreign) {
        (void)snprintf(buf, len,
                       "the image belongs to %s, who has no id in the box: its files can be read and not "
                       "changed (EOVERFLOW); import it into the image store to have them as the user's own",
                       f->foreigner);
        return buf;
    }
    if (f->no_attributes) {
        (void)snprintf(
            buf, len,
            "the scratch keeps no user attributes (a tmpfs does since Linux 6.6): a directory made "
            "where the job removed one of the image fails (EIO)");
        return buf;
    }
    return NULL;
}

static enum jb_overlay_way kernel(const struct jb_overlay_facts *f, bool helps, char *why, size_t len)
{
    char what[320];
    const char *missing = shortcoming(f, what, sizeof(what));
    if (missing && helps)
        (void)snprintf(why, len, "%s; fuse-overlayfs could serve it: %s", missing, f->lacks);
    else if (missing)
        (void)snprintf(why, len, "%s", missing);
    return JB_OVERLAY_KERNEL;
}

static enum jb_overlay_way fuse(const struct jb_overlay_facts *f, char *why, size_t len)
{
    if (f->wish == JB_SITE_OVERLAY_FUSE)
        (void)snprintf(why, len, "served by fuse-overlayfs: the site says overlay: fuse");
    else if (f->upper)
        (void)snprintf(
            why, len,
            "served by fuse-overlayfs: the scratch is on %s, where the kernel's overlay cannot write",
            f->upper);
    else if (f->result < 0)
        (void)snprintf(why, len,
                       "served by fuse-overlayfs: no overlay of the kernel's can be had over the image (%s)",
                       f->said);
    else if (f->foreign)
        (void)snprintf(
            why, len,
            "served by fuse-overlayfs: the image belongs to %s, who has no id in the box, and is shown "
            "as the job's own",
            f->foreigner);
    else
        (void)snprintf(
            why, len,
            "served by fuse-overlayfs: the scratch keeps no user attributes (a tmpfs does since Linux "
            "6.6), which the kernel's overlay needs");
    return JB_OVERLAY_FUSE;
}

static enum jb_overlay_way none(const struct jb_overlay_facts *f, bool helps, char *why, size_t len)
{
    if (f->upper)
        (void)snprintf(
            why, len,
            "the scratch is on %s, where an overlay cannot write; let paths.state be on a local file "
            "system, or the site say scratch.backend: tmpfs%s%s",
            f->upper, helps ? "; fuse-overlayfs could serve it: " : "", helps ? f->lacks : "");
    else
        (void)snprintf(
            why, len,
            "no throwaway layer can be had over it (%s); copy it to a local file system, or import it "
            "into the image store%s%s",
            f->said, helps ? "; fuse-overlayfs could serve it: " : "", helps ? f->lacks : "");
    return JB_OVERLAY_NONE;
}

/* Its folders one by one; through fuse-overlayfs every program of the host would be slow, so that is not done unasked. */
static enum jb_overlay_way host(const struct jb_overlay_facts *f, bool helps, char *why, size_t len)
{
    char what[320];
    if (!f->userns)
        return JB_OVERLAY_KERNEL;
    if (f->no_attributes)
        (void)snprintf(why, len, "%s%s", shortcoming(f, what, sizeof(what)),
                       helps ? "; with overlay: fuse in the site config fuse-overlayfs serves the host too"
                             : "");
    return JB_OVERLAY_COMPOSED;
}

enum jb_overlay_way jb_overlay_choose(const struct jb_overlay_facts *f, char *why, size_t len)
{
    bool helps = f->userns && f->wish != JB_SITE_OVERLAY_KERNEL; /* fuse-overlayfs, were it there */
    bool can = helps && !f->lacks[0];
    bool refused = f->result < 0 || f->upper;
    why[0] = '\0';
    if (f->userns && f->wish == JB_SITE_OVERLAY_FUSE) {
        if (can)
            return fuse(f, why, len);
        (void)snprintf(why, len, "the site says overlay: fuse, and fuse-overlayfs cannot be used: %s",
                       f->lacks);
        return JB_OVERLAY_NONE;
    }
    if (f->host && !(f->userns && f->upper))
        return host(f, helps, why, len);
    if (!f->userns)
        return refused ? none(f, false, why, len) : JB_OVERLAY_KERNEL;
    bool put_together = f->directory && f->result == -EINVAL && !f->upper;
    bool wants =
        refused ? !(put_together && f->submounts) : f->no_attributes || (f->foreign && f->root_in_box);
    if (can && wants)
        return fuse(f, why, len);
    if (!refused)
        return kernel(f, helps && wants, why, len);
    if (!put_together)
        return none(f, helps, why, len);
    (void)snprintf(why, len, "%s", f->said);
    return JB_OVERLAY_COMPOSED;
}
