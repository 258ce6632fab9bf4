/*
 * crun_overlay.c - gives crun what jobbox makes for itself: a throwaway overlay root, and a bundle of its
 * own.
 *
 * Owns: a mount namespace, which goes with all in it when crun ends. Runs in: scripts/bench. Privilege: root.
 *
 *   crun_overlay IMAGE_DIR TEMPLATE CRUN STATE_DIR
 *
 * Mounts a tmpfs and on it the overlay, writes the bundle's config.json there from TEMPLATE with each @ID@
 * replaced by a name unique to this run, and becomes `CRUN --root STATE_DIR --cgroup-manager=cgroupfs run
 * ID`. Nothing is left to clean up afterwards, so this adds to crun the least that can be added: one unshare,
 * three mounts, one small file.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPLATE_MAX 32768
#define MARK         "@ID@"
#define HYBRID_V2    "/sys/fs/cgroup/unified"

static int fail(const char *what)
{
    fprintf(stderr, "crun_overlay: %s: %s\n", what, strerror(errno));
    return 1;
}

static int read_template(const char *path, char *buf, size_t len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, buf, len - 1);
    close(fd);
    if (n < 0)
        return -1;
    buf[n] = '\0';
    return 0;
}

/* Writes `text` with every mark replaced. */
static int write_config(const char *path, const char *text, const char *id)
{
    FILE *f = fopen(path, "we");
    if (!f)
        return -1;
    for (const char *mark; (mark = strstr(text, MARK)); text = mark + strlen(MARK)) {
        fwrite(text, 1, (size_t)(mark - text), f);
        fputs(id, f);
    }
    fputs(text, f);
    return fclose(f);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: crun_overlay IMAGE_DIR TEMPLATE CRUN STATE_DIR\n", stderr);
        return 2;
    }
    static char template[TEMPLATE_MAX];
    char id[32];
    snprintf(id, sizeof(id), "crun-%ld", (long)getpid());
    if (read_template(argv[2], template, sizeof(template)) < 0)
        return fail(argv[2]);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return fail("mount namespace");
    if (access(HYBRID_V2, F_OK) == 0 && mount("tmpfs", HYBRID_V2, "tmpfs", 0, "size=64k") < 0)
        return fail(HYBRID_V2);
    /* over the image itself: the lower is reached through the working directory from then on */
    if (chdir(argv[1]) < 0 || mount("tmpfs", argv[1], "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") < 0)
        return fail(argv[1]);
    int bundle = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    char merged[4096];
    char options[8448];
    snprintf(merged, sizeof(merged), "%s/rootfs", argv[1]);
    snprintf(options, sizeof(options), "lowerdir=.,upperdir=%s/upper,workdir=%s/work", argv[1], argv[1]);
    if (bundle < 0 || mkdirat(bundle, "upper", 0755) < 0 || mkdirat(bundle, "work", 0755) < 0 ||
        mkdirat(bundle, "rootfs", 0755) < 0 || mount("overlay", merged, "overlay", 0, options) < 0)
        return fail("overlay");
    if (fchdir(bundle) < 0 || write_config("config.json", template, id) < 0)
        return fail("config.json");
    execl(argv[3], argv[3], "--root", argv[4], "--cgroup-manager=cgroupfs", "run", id, (char *)NULL);
    return fail(argv[3]);
}
