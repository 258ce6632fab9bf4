/*
 * image.c - jobbox image: its verbs, those that bring images in and out.
 *
 * Owns: the terminal's line of progress. Runs in: the client. Privilege: the user's.
 */
#include "cli/image.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/units.h"
#include "box/idmap.h"
#include "job/kept/kept.h"

#define REDRAW (100 * JB_NS_PER_MS)
#define BAR    24

enum { OPT_NAME = 256, OPT_AUTHFILE, OPT_INSECURE, OPT_QUICK, OPT_DRY, OPT_FORMAT };

static const char usage[] =
    "Usage: jobbox image VERB [OPTION]... [ARGUMENT]...\n"
    "Images for \"image: name:tag\" in job specs.\n\n"
    "  pull SOURCE          fetch: docker://HOST/NAME:TAG, oci:DIR[:TAG], docker-archive:FILE, "
    "oci-archive:FILE, dir:DIR\n"
    "  import PATH          make an image of a directory, a tar, or a squashfs or erofs file\n"
    "  list                 what there is\n"
    "  inspect IMAGE...     what it is made of and how it wants to be run\n"
    "  rm IMAGE...          remove names, and images without a name that no box uses\n"
    "  gc                   remove what no name and no box needs, and what was left half done\n"
    "  verify               check that the store is whole\n"
    "  export IMAGE         write an image to a file\n\n"
    "  -c, --config FILE    site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --name NAME:TAG  pull, import: what to call it. Default: what the source is called\n"
    "      --authfile FILE  pull: credentials, as skopeo and podman have them\n"
    "      --insecure       pull: from a registry without TLS, or with a certificate that nobody vouches "
    "for\n"
    "      --quick          verify: without reading all files\n"
    "  -n, --dry-run        gc: only say what would be removed\n"
    "  -o, --output FILE    export: where to; - is standard output\n"
    "      --format FORMAT  export: oci-archive (default), or tar: all layers as one tree\n"
    "      --json           print the result as JSON\n"
    "  -q, --quiet          no progress, no messages\n"
    "  -h, --help           this text\n";

/* --- what the user sees --- */

static void wipe(struct jb_cli_image *image)
{
    if (image->drawn)
        (void)fputs("\r\033[K", stderr);
    image->drawn = false;
}

static void say(void *ctx, const char *line)
{
    struct jb_cli_image *image = ctx;
    wipe(image);
    (void)fprintf(stderr, "jobbox: %s\n", line);
}

static void progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    struct jb_cli_image *image = ctx;
    char bar[BAR + 1] = "";
    char a[32];
    char b[32];
    uint64_t now = jb_mono_ns(NULL);
    if (!what) {
        wipe(image);
        return;
    }
    if (image->drawn && now - image->drawn_ns < REDRAW)
        return;
    image->drawn = true;
    image->drawn_ns = now;
    if (!total) {
        (void)fprintf(stderr, "\r\033[Kjobbox: %s ...", what);
        return;
    }
    uint64_t part = done >= total ? total : done;
    memset(bar, '.', BAR);
    memset(bar, '#', (size_t)((double)part / (double)total * BAR));
    (void)fprintf(stderr, "\r\033[Kjobbox: %s [%s] %s of %s", what, bar, jb_format_size(part, a, sizeof(a)),
                  jb_format_size(total, b, sizeof(b)));
}

void jb_cli_image_ui(struct jb_cli_image *image)
{
    image->ui = (struct jb_image_ui){.signal_fd = -1, .ctx = image};
    if (image->o->quiet)
        return;
    image->ui.say = say;
    if (isatty(STDERR_FILENO))
        image->ui.progress = progress;
}

/* Those that mean "stop" are read, so that what was begun is taken back. */
static int take_signals(void)
{
    static const int taken[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < JB_ARRAY_LEN(taken); i++)
        sigaddset(&set, taken[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* All layers of an image are open at once. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < 8192 ? limit.rlim_max : 8192;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/*
 * A user who has ranges of ids works on his store as root of a user namespace with them: files of layers have the owners that
 * the image gives them, and can be read, changed and removed. Where that is not to be had they are all his own.
 */
static void enter_ranges(const struct jb_submitter *who, struct jb_istore_where *where)
{
    struct jb_kept_ids room;
    struct jb_error why = {0};
    const struct jb_idmap *ids = who->privileged || who->uid == 0 ? NULL : jb_kept_ids(&room);
    if (!ids || ids->uids.count == 0)
        return;
    if (jb_idmap_enter(ids, &why) < 0) {
        (void)fprintf(stderr, "jobbox: all files of an image will be your own: %s\n", why.text);
        return;
    }
    where->mapped = true;
    where->owner = 0;
    where->uid = who->uid;
    where->gid = who->gid;
}

int jb_cli_image_load(const struct jb_cli_image_options *o, struct jb_cli_image *ret)
{
    ret->o = o;
    ret->store = JB_ISTORE_INIT;
    jb_cli_image_ui(ret);
    return jb_cli_load(o->config, NULL, &ret->job);
}

int jb_cli_image_store(struct jb_cli_image *ret, bool write)
{
    struct jb_error err = {0};
    const struct jb_site *site = ret->job.site;
    const struct jb_submitter *who = &ret->job.submitter;
    const struct jb_image_where where = {.state_dir = ret->job.state.state_dir,
                                         .uid = who->uid,
                                         .privileged = who->privileged,
                                         .policy = &site->images};
    jb_autofree char *path = jb_image_store_path(&where);
    if (!path)
        return JB_EXIT_NO_BOX;
    const struct jb_istore_where there = {.path = path,
                                          .owner = who->uid,
                                          .make = write,
                                          .privileged = who->privileged,
                                          .shared = who->privileged && site->images.shared};
    struct jb_istore_where here = there;
    ret->mask = umask(0);
    enter_ranges(who, &here);
    raise_descriptors();
    int r = jb_istore_open(&here, &ret->store, &err);
    if (r == -ENOENT && !write)
        return 0; /* none is an empty one */
    if (r < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    ret->ui.signal_fd = write ? take_signals() : -1;
    return 0;
}

void jb_cli_image_close(struct jb_cli_image *image)
{
    wipe(image);
    jb_close(&image->ui.signal_fd);
    jb_istore_close(&image->store);
    jb_cli_job_free(&image->job);
}

/* --- in and out --- */

static int failed(const struct jb_error *err)
{
    return jb_cli_fail(err->errnum == ECANCELED ? JB_EXIT_CANCELLED
                       : err->errnum == EINVAL  ? JB_EXIT_USAGE
                                                : JB_EXIT_NO_BOX,
                       err);
}

/* The name to give: said, or made of the source. */
int jb_cli_image_name(const struct jb_cli_image *image, const char *source, char ret[JB_REF_MAX])
{
    struct jb_error err = {0};
    struct jb_ref ref;
    if (!image->o->name) {
        if (jb_ref_suggest(source, ret) == 0)
            return 0;
        return jb_cli_usage("image", "of that source no name can be made; say one with --name NAME:TAG");
    }
    if (jb_ref_parse(image->o->name, &ref, &err) < 0)
        return jb_cli_fail(JB_EXIT_USAGE, &err);
    if (ref.digest.text[0])
        return jb_cli_usage("image", "a name is NAME:TAG, not a digest");
    (void)snprintf(ret, JB_REF_MAX, "%s", ref.name);
    return 0;
}

int jb_cli_image_added(struct jb_cli_image *image, const char *name, const struct jb_image_added *added)
{
    wipe(image);
    if (image->o->json) {
        json_t *root = json_pack("{s:s, s:s, s:I, s:I, s:b}", "name", name, "digest", added->digest.text,
                                 "layers", (json_int_t)added->layers, "new_layers",
                                 (json_int_t)added->new_layers, "already", added->already);
        (void)json_dumpf(root, stdout, JSON_INDENT(2));
        (void)putchar('\n');
        json_decref(root);
    } else {
        (void)printf("%s %s\n", name, added->digest.text);
    }
    return fflush(stdout) == EOF ? JB_EXIT_NO_BOX : 0;
}

static int pull_or_import(struct jb_cli_image *image, bool pull)
{
    struct jb_error err = {0};
    char name[JB_REF_MAX];
    struct jb_image_added added;
    const char *source = image->o->args[0];
    int code = jb_cli_image_name(image, source, name);
    if (code)
        return code;
    const struct jb_image_job job = {
        .store = &image->store, .policy = &image->job.site->images, .ui = &image->ui, .name = name};
    const struct jb_pull_options options = {
        .source = source, .authfile = image->o->authfile, .insecure = image->o->insecure};
    int r = pull ? jb_image_pull(&job, &options, &added, &err) : jb_image_import(&job, source, &added, &err);
    wipe(image);
    return r < 0 ? failed(&err) : jb_cli_image_added(image, name, &added);
}

static int cmd_pull(struct jb_cli_image *image)
{
    return pull_or_import(image, true);
}

static int cmd_import(struct jb_cli_image *image)
{
    return pull_or_import(image, false);
}

static int open_output(const char *path, mode_t mask, struct jb_error *err)
{
    if (jb_streq(path, "-"))
        return dup(STDOUT_FILENO);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666 & ~mask);
    return fd < 0 ? jb_fail_errno(err, errno, "%s", path) : fd;
}

static int cmd_export(struct jb_cli_image *image)
{
    static const char *const formats[] = {[JB_EXPORT_OCI_ARCHIVE] = "oci-archive", [JB_EXPORT_TAR] = "tar"};
    struct jb_error err = {0};
    jb_autoimage struct jb_istore_image found = {.lock_fd = -1};
    size_t format = 0;
    while (image->o->format && format < JB_EXPORT_FORMAT_MAX && !jb_streq(formats[format], image->o->format))
        format++;
    if (format == JB_EXPORT_FORMAT_MAX)
        return jb_cli_usage("image", "--format is oci-archive or tar");
    if (!image->o->output)
        return jb_cli_usage("image", "where to? Say --output FILE");
    int r = jb_istore_find_text(&image->store, image->o->args[0], &found, &err);
    if (r < 0)
        return failed(&err);
    struct jb_ref ref;
    bool named = jb_ref_parse(image->o->args[0], &ref, NULL) == 0 && ref.name[0];
    jb_autoclose int out = open_output(image->o->output, image->mask, &err);
    if (out < 0)
        return failed(&err);
    const struct jb_image_job job = {.store = &image->store,
                                     .policy = &image->job.site->images,
                                     .ui = &image->ui,
                                     .name = named ? ref.name : NULL};
    r = jb_image_export(&job, &found, (enum jb_export_format)format, out, &err);
    wipe(image);
    if (r < 0 && !jb_streq(image->o->output, "-"))
        (void)unlink(image->o->output);
    return r < 0 ? failed(&err) : 0;
}

/* --- the verbs --- */

static const struct {
    const char *name;
    int (*run)(struct jb_cli_image *image);
    bool write;
    int min, max; /* arguments */
} verbs[] = {
    {"pull", cmd_pull, true, 1, 1},
    {"import", cmd_import, true, 1, 1},
    {"list", jb_cli_image_list, false, 0, 0},
    {"inspect", jb_cli_image_inspect, false, 1, 1000},
    {"rm", jb_cli_image_rm, true, 1, 100000},
    {"gc", jb_cli_image_gc, true, 0, 0},
    {"verify", jb_cli_image_verify, false, 0, 0},
    {"export", cmd_export, true, 1, 1},
};

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct jb_cli_image_options *ret)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"name", required_argument, NULL, OPT_NAME},
        {"authfile", required_argument, NULL, OPT_AUTHFILE},
        {"insecure", no_argument, NULL, OPT_INSECURE},
        {"quick", no_argument, NULL, OPT_QUICK},
        {"dry-run", no_argument, NULL, 'n'},
        {"output", required_argument, NULL, 'o'},
        {"format", required_argument, NULL, OPT_FORMAT},
        {"json", no_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const struct {
        int option;
        const char **text;
        bool *flag;
    } takes[] = {
        {'c', &ret->config, NULL},        {OPT_NAME, &ret->name, NULL}, {OPT_AUTHFILE, &ret->authfile, NULL},
        {OPT_FORMAT, &ret->format, NULL}, {'o', &ret->output, NULL},    {OPT_INSECURE, NULL, &ret->insecure},
        {OPT_QUICK, NULL, &ret->quick},   {'n', NULL, &ret->dry},       {'j', NULL, &ret->json},
        {'q', NULL, &ret->quiet},
    };
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:o:nqh", options, NULL)) != -1) {
        size_t i = 0;
        if (c == 'h') {
            (void)fputs(usage, stdout);
            return 0;
        }
        while (i < JB_ARRAY_LEN(takes) && takes[i].option != c)
            i++;
        if (i == JB_ARRAY_LEN(takes))
            return jb_cli_bad_option("image", c, argv);
        if (takes[i].text)
            *takes[i].text = optarg;
        else
            *takes[i].flag = true;
    }
    ret->args = argv + optind;
    ret->n = argc - optind;
    return -1;
}

static int unknown(const char *name)
{
    const char *names[JB_ARRAY_LEN(verbs)];
    for (size_t i = 0; i < JB_ARRAY_LEN(verbs); i++)
        names[i] = verbs[i].name;
    const char *near = jb_did_you_mean(name, names, JB_ARRAY_LEN(verbs));
    (void)fprintf(stderr, "jobbox image: \"%s\" is no verb%s%s%s; see jobbox image --help\n", name,
                  near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return JB_EXIT_USAGE;
}

int jb_cmd_image(int argc, char **argv)
{
    struct jb_cli_image_options o = {0};
    struct jb_cli_image image = {.store = JB_ISTORE_INIT, .job = JB_CLI_JOB_INIT, .ui = {.signal_fd = -1}};
    size_t verb = 0;
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    if (o.n == 0) {
        (void)fputs(usage, stderr);
        return JB_EXIT_USAGE;
    }
    while (verb < JB_ARRAY_LEN(verbs) && !jb_streq(verbs[verb].name, o.args[0]))
        verb++;
    if (verb == JB_ARRAY_LEN(verbs))
        return unknown(o.args[0]);
    o.args++;
    o.n--;
    if (o.n < verbs[verb].min || o.n > verbs[verb].max)
        return jb_cli_usage("image",
                            o.n < verbs[verb].min ? "what? Name it" : "there are too many arguments");
    code = jb_cli_image_load(&o, &image);
    if (code == 0)
        code = jb_cli_image_store(&image, verbs[verb].write);
    if (code == 0)
        code = verbs[verb].run(&image);
    jb_cli_image_close(&image);
    return code;
}
