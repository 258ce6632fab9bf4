/*
 * test_overlay.c - which overlay is chosen of what was found out, and what is said of it.
 */
#include "support.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "plan/overlay.h"

#define HERE  .lacks = ""
#define NONE  .lacks = "it is not installed"
#define USER  .userns = true, .directory = true, .said = "no, says the kernel", .foreigner = "user 7"
#define STORE .userns = true, .said = "no, says the kernel", .foreigner = "user 7"

static const struct {
    const char *name;
    struct jb_overlay_facts facts;
    enum jb_overlay_way way;
    const char *why; /* is in it; NULL: nothing is said */
} cases[] = {
    {"root", {.directory = true, .said = "", HERE}, JB_OVERLAY_KERNEL, NULL},
    {"root, refused", {.directory = true, .said = "no", .result = -EINVAL, HERE}, JB_OVERLAY_NONE, "(no)"},
    {"root is not served by fuse", {.wish = JB_SITE_OVERLAY_FUSE, .said = "", HERE}, JB_OVERLAY_KERNEL, NULL},
    {"all is well", {USER, HERE}, JB_OVERLAY_KERNEL, NULL},
    {"the host", {.userns = true, .host = true, HERE}, JB_OVERLAY_COMPOSED, NULL},
    {"the host, no attributes",
     {.userns = true, .host = true, .no_attributes = true, HERE},
     JB_OVERLAY_COMPOSED,
     "with overlay: fuse in the site config"},
    {"the host, no attributes, forbidden",
     {.userns = true, .host = true, .no_attributes = true, .wish = JB_SITE_OVERLAY_KERNEL, HERE},
     JB_OVERLAY_COMPOSED,
     "fails (EIO)"},
    {"the host, scratch on the network",
     {.userns = true, .host = true, .upper = "NFS", .said = "", HERE},
     JB_OVERLAY_FUSE,
     "the scratch is on NFS"},
    {"the host, scratch on the network, without",
     {.userns = true, .host = true, .upper = "NFS", .said = "", NONE},
     JB_OVERLAY_NONE,
     "scratch.backend"},
    {"root's host, scratch on the network",
     {.host = true, .upper = "NFS", .said = "", HERE},
     JB_OVERLAY_KERNEL,
     NULL},
    {"the host, forced",
     {.userns = true, .host = true, .wish = JB_SITE_OVERLAY_FUSE, HERE},
     JB_OVERLAY_FUSE,
     "overlay: fuse"},
    {"forced", {USER, .wish = JB_SITE_OVERLAY_FUSE, HERE}, JB_OVERLAY_FUSE, "overlay: fuse"},
    {"forced in vain", {USER, .wish = JB_SITE_OVERLAY_FUSE, NONE}, JB_OVERLAY_NONE, "not installed"},
    {"mounts below",
     {USER, .result = -EINVAL, .submounts = true, HERE},
     JB_OVERLAY_COMPOSED,
     "no, says the kernel"},
    {"too deep", {USER, .result = -EINVAL, HERE}, JB_OVERLAY_FUSE, "no, says the kernel"},
    {"too deep, without", {USER, .result = -EINVAL, NONE}, JB_OVERLAY_COMPOSED, "no, says the kernel"},
    {"too deep, forbidden",
     {USER, .result = -EINVAL, .wish = JB_SITE_OVERLAY_KERNEL, HERE},
     JB_OVERLAY_COMPOSED,
     "no, says the kernel"},
    {"no overlay at all", {USER, .result = -ENODEV, HERE}, JB_OVERLAY_FUSE, "no, says the kernel"},
    {"no overlay at all, without", {USER, .result = -ENODEV, NONE}, JB_OVERLAY_NONE, "it is not installed"},
    {"a store that is refused", {STORE, .result = -EINVAL, HERE}, JB_OVERLAY_FUSE, "no, says the kernel"},
    {"a store that is refused, without",
     {STORE, .result = -EINVAL, NONE},
     JB_OVERLAY_NONE,
     "fuse-overlayfs could serve it: it is not installed"},
    {"a store that is refused, forbidden",
     {STORE, .result = -EINVAL, .wish = JB_SITE_OVERLAY_KERNEL, HERE},
     JB_OVERLAY_NONE,
     "into the image store"},
    {"scratch on the network", {STORE, .upper = "NFS", HERE}, JB_OVERLAY_FUSE, "the scratch is on NFS"},
    {"scratch on the network, without", {STORE, .upper = "NFS", NONE}, JB_OVERLAY_NONE, "scratch.backend"},
    {"scratch on the network, mounts below",
     {USER, .result = -EINVAL, .submounts = true, .upper = "NFS", HERE},
     JB_OVERLAY_FUSE,
     "the scratch is on NFS"},
    {"root, scratch on the network", {.said = "", .upper = "NFS", HERE}, JB_OVERLAY_NONE, "paths.state"},
    {"no attributes", {STORE, .no_attributes = true, HERE}, JB_OVERLAY_FUSE, "keeps no user attributes"},
    {"no attributes, without", {STORE, .no_attributes = true, NONE}, JB_OVERLAY_KERNEL, "not installed"},
    {"no attributes, forbidden",
     {STORE, .no_attributes = true, .wish = JB_SITE_OVERLAY_KERNEL, HERE},
     JB_OVERLAY_KERNEL,
     "fails (EIO)"},
    {"somebody else's", {USER, .foreign = true, HERE}, JB_OVERLAY_KERNEL, "user 7, who has no id in the box"},
    {"somebody else's, root in the box",
     {USER, .foreign = true, .root_in_box = true, HERE},
     JB_OVERLAY_FUSE,
     "shown as the job's own"},
    {"somebody else's, root in the box, without",
     {USER, .foreign = true, .root_in_box = true, NONE},
     JB_OVERLAY_KERNEL,
     "fuse-overlayfs could serve it: it is not installed"},
};

static void the_choice(JB_UNUSED void **state)
{
    char why[512];
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        enum jb_overlay_way way = jb_overlay_choose(&cases[i].facts, why, sizeof(why));
        if (way != cases[i].way)
            fail_msg("%s: way %d and not %d (%s)", cases[i].name, (int)way, (int)cases[i].way, why);
        if (cases[i].why ? !strstr(why, cases[i].why) : why[0] != '\0')
            fail_msg("%s: it says \"%s\"", cases[i].name, why);
    }
}

/* Nothing is cut off in the middle of what to do. */
static void the_longest_fits(JB_UNUSED void **state)
{
    char why[512];
    char said[200];
    char lacks[160];
    memset(said, 's', sizeof(said) - 1);
    memset(lacks, 'l', sizeof(lacks) - 1);
    said[sizeof(said) - 1] = lacks[sizeof(lacks) - 1] = '\0';
    const struct jb_overlay_facts facts = {
        .userns = true, .said = said, .result = -ENODEV, .foreigner = "", .lacks = lacks};
    assert_int_equal(jb_overlay_choose(&facts, why, sizeof(why)), JB_OVERLAY_NONE);
    assert_int_equal(why[strlen(why) - 1], 'l');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_choice),
        cmocka_unit_test(the_longest_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
