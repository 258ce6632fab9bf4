/*
 * kept.c - jobbox enter, commit and discard; and the list of kept boxes.
 *
 * Owns: nothing. Runs in: the client, which is the supervisor of a box that is entered again. Privilege: the user's: kept
 * boxes are in the state directory, which is his own, or root's.
 */
#include "cli/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/image.h"
#include "job/kept/kept.h"

static const char enter_usage[] =
    "Usage: jobbox enter [OPTION]... ID [--] [COMMAND [ARGUMENT]...]\n"
    "Opens a shell, or executes a command, in a live box or in what was kept of one that ended. A kept box "
    "is "
    "entered as a\n"
    "new one: same spec, a copy of its files, a record of its own; what is changed in it changes nothing of "
    "what is kept.\n\n"
    "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --own          a job of your own queue; the system's is not asked\n"
    "      --wait[=TIME]  kept: when CPUs or memory are taken, wait for them, at most TIME\n"
    "      --json         kept: print the record; what the command writes goes to standard error\n"
    "  -q, --quiet        kept: no summary\n"
    "  -T, --no-tty       no terminal, also when this is one\n"
    "  -h, --help         this text\n";

static const char commit_usage[] =
    "Usage: jobbox commit [OPTION]... ID --image NAME:TAG\n"
    "Makes an image of a kept box: what it lay over, with what it wrote as one more layer.\n\n"
    "      --image NAME:TAG  what to call it\n"
    "  -c, --config FILE     site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --own             of your own; the system's queue is not asked\n"
    "      --json            print the result as JSON\n"
    "  -q, --quiet           no progress, no messages\n"
    "  -h, --help            this text\n";

static const char discard_usage[] =
    "Usage: jobbox discard [OPTION]... ID...\n"
    "Removes kept boxes.\n\n"
    "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "      --own          your own; the system's queue is not asked\n"
    "  -h, --help         this text\n";

enum { OPT_WAIT = 256, OPT_IMAGE };

struct options {
    const char *config, *image;
    bool json, quiet, no_tty, wait, own;
    uint64_t wait_ns;
};

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, const char *usage, const char *letters, const struct option *options,
                 struct options *o)
{
    int c;
    opterr = 0;
    o->wait_ns = JB_UNSET;
    while ((c = getopt_long(argc, argv, letters, options, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->config = optarg;
            break;
        case 'o':
            o->own = true;
            break;
        case 'j':
            o->json = true;
            break;
        case 'q':
            o->quiet = true;
            break;
        case 'T':
            o->no_tty = true;
            break;
        case OPT_IMAGE:
            o->image = optarg;
            break;
        case OPT_WAIT:
            o->wait = true;
            if (optarg && jb_parse_duration(optarg, &o->wait_ns) < 0)
                return jb_cli_usage(argv[0], "--wait takes a duration, like --wait=90s or --wait=15m");
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return jb_cli_bad_option(argv[0], c, argv);
        }
    }
    return -1;
}

/* The state directory to be looked at; nothing is made. -ENOENT: there is none. */
static int open_state(const struct jb_cli_job *job, struct jb_error *err)
{
    int fd = open(job->state.state_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    if (errno == ENOENT)
        return -ENOENT;
    return errno == EACCES
               ? jb_fail(err, EACCES,
                         "kept boxes in %s are those of another user, who alone may look at them; ask him",
                         job->state.state_dir)
               : jb_fail_errno(err, errno, "%s", job->state.state_dir);
}

static int find_own(const struct jb_cli_job *job, const char *text, struct jb_kept *ret, struct jb_error *err)
{
    jb_autoclose int state = open_state(job, err);
    if (state < 0 && state != -ENOENT)
        return state;
    return state < 0 ? jb_fail(err, ENOENT, "%.40s: nothing is kept here", text)
                     : jb_kept_find(state, text, ret, err);
}

/* What is not here may be with the system's queue, unless it is not to be asked: then it is here afterwards. */
static int find(const struct jb_cli_job *job, bool own, const char *text, struct jb_kept *ret,
                struct jb_error *err)
{
    struct jb_error queue = {0};
    int r = find_own(job, text, ret, err);
    int taken = r == -ENOENT && !own ? jb_cli_kept_take(job, text, &queue) : -ENOENT;
    if (taken == 0) {
        jb_error_clear(err);
        return find_own(job, text, ret, err);
    }
    if (taken != -ENOENT)
        *err = queue;
    return taken != -ENOENT ? taken : r;
}

/* --- enter --- */

static bool is_live(const char *config, bool own, const char *text)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    struct jb_ledger ledger = {0};
    struct jb_id id;
    struct jb_error err = {0};
    bool loaded = jb_cli_live(config, &job, &ledger) == 0;
    bool live = loaded && !jb_cli_is_job(text) && jb_cli_find_box(&ledger, text, &id, &err) != -ENOENT;
    jb_ledger_free(&ledger);
    return live || (loaded && jb_cli_queued_box(config, own, text, &job, &id, &err) == 0);
}

/* The best shell that is there. */
static const char *const shell[] = {"/bin/sh", "-c", "command -v bash >/dev/null && exec bash; exec /bin/sh",
                                    NULL};

static int exec_in(const struct options *o, bool tty, const char *id, char *const *command, int n)
{
    jb_autostrv struct jb_strv argv = {0};
    int r = jb_strv_add(&argv, "exec");
    if (r == 0 && o->config)
        r = jb_strv_printf(&argv, "--config=%s", o->config);
    if (r == 0 && o->own)
        r = jb_strv_add(&argv, "--own");
    if (r == 0 && tty)
        r = jb_strv_add(&argv, "--tty");
    if (r == 0)
        r = jb_strv_add(&argv, id);
    if (r == 0)
        r = jb_strv_add(&argv, "--");
    for (int i = 0; r == 0 && i < n; i++)
        r = jb_strv_add(&argv, command[i]);
    for (size_t i = 0; r == 0 && n == 0 && shell[i]; i++)
        r = jb_strv_add(&argv, shell[i]);
    if (r < 0)
        return jb_cli_usage("enter", "out of memory");
    optind = 0; /* a list of its own */
    return jb_cmd_exec((int)argv.len, argv.items);
}

static char *copy(const json_t *about, const char *key)
{
    const char *text = json_string_value(json_object_get(about, key));
    return strdup(text ? text : "/");
}

/* Who enters is whose it was: the same, or somebody for whom root's queue had started it. */
static int become(const json_t *about, struct jb_submitter *who, struct jb_error *err)
{
    const json_t *groups = json_object_get(about, "groups");
    size_t n = json_array_size(groups);
    free(who->cwd);
    who->cwd = copy(about, "cwd");
    if (who->uid != 0 || json_integer_value(json_object_get(about, "uid")) == 0)
        return who->cwd ? 0 : jb_fail_errno(err, ENOMEM, "submitter");
    who->uid = (uid_t)json_integer_value(json_object_get(about, "uid"));
    who->gid = (gid_t)json_integer_value(json_object_get(about, "gid"));
    free(who->user);
    free(who->home);
    free(who->groups);
    who->user = copy(about, "user");
    who->home = copy(about, "home");
    who->groups = calloc(n + 1, sizeof(*who->groups));
    if (!who->cwd || !who->user || !who->home || !who->groups)
        return jb_fail_errno(err, ENOMEM, "submitter");
    for (who->n_groups = 0; who->n_groups < n; who->n_groups++)
        who->groups[who->n_groups] = (gid_t)json_integer_value(json_array_get(groups, who->n_groups));
    return 0;
}

/* The spec as it was, but for what is to run, what comes out, and when. */
static int adapt(struct jb_spec *spec, const json_t *about, char *const *command, int n)
{
    static const enum jb_key keys[] = {JB_KEY_DEPENDS_ON, JB_KEY_ARRAY,    JB_KEY_RETRY,
                                       JB_KEY_BEGIN,      JB_KEY_DEADLINE, JB_KEY_NOTIFY};
    char **const texts[] = {&spec->script, &spec->stdin_path, &spec->stdout_path, &spec->stderr_path,
                            &spec->changes_path};
    const char *digest = json_string_value(json_object_get(json_object_get(about, "image"), "digest"));
    int r = 0;
    for (size_t i = 0; i < JB_ARRAY_LEN(keys); i++)
        spec->pos[keys[i]].line = 0;
    for (size_t i = 0; i < JB_ARRAY_LEN(texts); i++)
        free(jb_take_ptr(*texts[i]));
    jb_strv_free(&spec->command);
    for (int i = 0; r == 0 && i < n; i++)
        r = jb_strv_add(&spec->command, command[i]);
    for (size_t i = 0; r == 0 && n == 0 && shell[i]; i++)
        r = jb_strv_add(&spec->command, shell[i]);
    for (size_t i = 0; i < spec->n_artifacts; i++) {
        free(spec->artifacts[i].path);
        free(spec->artifacts[i].to);
    }
    spec->n_artifacts = 0;
    spec->stderr_merge = false;
    spec->keep = JB_KEEP_NEVER;
    if (digest) { /* a name may mean another image by now */
        free(spec->image);
        spec->image = strdup(digest);
    }
    return r < 0 || !spec->image ? -ENOMEM : 0;
}

static int load_spec(const struct jb_kept *kept, struct jb_spec **ret, struct jb_error *err)
{
    jb_autofree char *text = NULL;
    struct jb_diags diags = {0};
    size_t len = 0;
    const char *file = json_string_value(json_object_get(kept->about, "spec_file"));
    int r = jb_read_at(kept->fd, "spec.yaml", JB_SPEC_FILE_MAX, &text, &len);
    if (r < 0)
        return jb_fail_errno(err, r, "spec.yaml of kept box %s", kept->id.text);
    r = jb_spec_parse_box(file ? file : "spec.yaml", text, len, ret, &diags);
    jb_diags_free(&diags);
    return r < 0 ? jb_fail(err, EINVAL, "spec.yaml of kept box %s makes no sense", kept->id.text) : 0;
}

static int enter_kept(const struct options *o, bool tty, struct jb_cli_job *job, const struct jb_kept *kept,
                      char *const *command, int n)
{
    struct jb_error err = {0};
    struct jb_submitter *who = &job->submitter;
    const struct jb_submitter self = *who;
    int r = load_spec(kept, &job->spec, &err);
    if (r == 0 && adapt(job->spec, kept->about, command, n) < 0)
        r = jb_fail_errno(&err, ENOMEM, "spec");
    if (r == 0)
        r = jb_state_open(&job->state, &self, &err);
    if (r == 0)
        r = become(kept->about, who, &err);
    jb_autofree char *over = jb_asprintf("%s/" JB_KEPT_DIR "/%s/fs", job->state.state_dir, kept->id.text);
    if (r == 0 && !over)
        r = jb_fail_errno(&err, ENOMEM, "path");
    if (r < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    const struct jb_cli_run run = {.json = o->json,
                                   .quiet = o->quiet,
                                   .tty = tty && !o->json,
                                   .wait = o->wait,
                                   .wait_ns = o->wait_ns,
                                   .over = over,
                                   .over_id = kept->id.text};
    return jb_cli_run(&run, job);
}

int jb_cmd_enter(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"wait", optional_argument, NULL, OPT_WAIT},
        {"own", no_argument, NULL, 'o'},          {"json", no_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'q'},        {"no-tty", no_argument, NULL, 'T'},
        {"help", no_argument, NULL, 'h'},         {0}};
    struct options o = {0};
    struct jb_error err = {0};
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autokept struct jb_kept kept = JB_KEPT_INIT;
    int code = parse(argc, argv, enter_usage, "+:c:qTh", options, &o);
    if (code >= 0)
        return code;
    if (optind == argc)
        return jb_cli_usage("enter", "which box? Give its id, or the beginning of it");
    const char *id = argv[optind];
    int at = optind + 1;
    if (at < argc && jb_streq(argv[at], "--"))
        at++;
    bool tty = !o.no_tty && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (is_live(o.config, o.own, id))
        return exec_in(&o, tty, id, argv + at, argc - at);
    code = jb_cli_load(o.config, NULL, &job);
    if (code)
        return code;
    if (find(&job, o.own, id, &kept, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    return enter_kept(&o, tty, &job, &kept, argv + at, argc - at);
}

/* --- commit --- */

/* What the box lay over, as an image of the store; for a directory or a file one is made. */
static int find_base(const struct jb_cli_image *image, const struct jb_image_job *how,
                     const struct jb_kept *kept, struct jb_istore_image *ret, struct jb_error *err)
{
    const json_t *about = json_object_get(kept->about, "image");
    const char *kind = json_string_value(json_object_get(about, "kind"));
    const char *path = json_string_value(json_object_get(about, "path"));
    const char *digest = json_string_value(json_object_get(about, "digest"));
    struct jb_image_job unnamed = *how;
    struct jb_image_added added = {0};
    unnamed.name = NULL;
    if (jb_streq(kind, jb_image_kind_name(JB_IMAGE_HOST)) || !path)
        return jb_fail(err, ENOTSUP,
                       "%s lay over the host itself, which is no image; run it over one (image: in its spec)",
                       kept->id.text);
    if (!digest) {
        int r = jb_image_import(&unnamed, path, &added, err);
        if (r < 0)
            return jb_wrap(err, "what %s lay over", kept->id.text);
        digest = added.digest.text;
    }
    int r = jb_istore_find_text(&image->store, digest, ret, err);
    return r < 0 ? jb_wrap(err, "what %s lay over", kept->id.text) : 0;
}

static int inside(void *ctx, int (*fn)(void *ctx, struct jb_error *err), void *fn_ctx, struct jb_error *err)
{
    return jb_idmap_inside(ctx, fn, fn_ctx, err);
}

static int make_image(const struct jb_cli_image *image, const struct jb_kept *kept, const char *name,
                      struct jb_image_added *ret, struct jb_error *err)
{
    struct jb_kept_ids room;
    const struct jb_idmap *ids = jb_kept_ids(&room);
    jb_autoimage struct jb_istore_image base = {.lock_fd = -1};
    const struct jb_image_job how = {
        .store = &image->store, .policy = &image->job.site->images, .ui = &image->ui, .name = name};
    jb_autofree char *source = jb_asprintf("box %s", kept->id.text);
    jb_autoclose int fs = openat(kept->fd, "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fs < 0 || !source)
        return jb_fail_errno(err, fs < 0 ? errno : ENOMEM, "kept box %s", kept->id.text);
    if (json_is_true(json_object_get(kept->about, "linked_below")))
        return jb_fail(err, ENOTSUP,
                       "%s: the kernel left folders or files by reference to the layers below (redirect_dir, "
                       "metacopy of overlay), which a layer of an image cannot have",
                       kept->id.text);
    int r = find_base(image, &how, kept, &base, err);
    if (r < 0)
        return r;
    const struct jb_image_tree tree = {.dir_fd = fs,
                                       .raw = true,
                                       .base = &base,
                                       .source = source,
                                       .inside = inside,
                                       .inside_ctx = (void *)ids};
    return jb_image_add_tree(&how, &tree, ret, err);
}

int jb_cmd_commit(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"image", required_argument, NULL, OPT_IMAGE},
                                            {"json", no_argument, NULL, 'j'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"own", no_argument, NULL, 'o'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct options o = {0};
    struct jb_error err = {0};
    char name[JB_REF_MAX];
    struct jb_image_added added = {0};
    struct jb_cli_image image = {.store = JB_ISTORE_INIT, .job = JB_CLI_JOB_INIT, .ui = {.signal_fd = -1}};
    jb_autokept struct jb_kept kept = JB_KEPT_INIT;
    int code = parse(argc, argv, commit_usage, ":c:qh", options, &o);
    if (code >= 0)
        return code;
    if (optind + 1 != argc)
        return jb_cli_usage("commit", "which box? Give its id, or the beginning of it");
    if (!o.image)
        return jb_cli_usage("commit", "what is the image to be called? Say --image NAME:TAG");
    const struct jb_cli_image_options image_options = {
        .config = o.config, .name = o.image, .json = o.json, .quiet = o.quiet};
    code = jb_cli_image_load(&image_options, &image);
    if (code == 0)
        code = jb_cli_image_name(&image, o.image, name);
    if (code == 0 && find(&image.job, o.own, argv[optind], &kept, &err) < 0)
        code = jb_cli_fail(JB_EXIT_NO_BOX, &err);
    if (code == 0)
        code = jb_cli_image_store(&image, true);
    if (code == 0 && make_image(&image, &kept, name, &added, &err) < 0)
        code = jb_cli_fail(err.errnum == ECANCELED ? JB_EXIT_CANCELLED : JB_EXIT_NO_BOX, &err);
    else if (code == 0)
        code = jb_cli_image_added(&image, name, &added);
    jb_cli_image_close(&image);
    return code;
}

/* --- discard, and the list --- */

int jb_cmd_discard(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"own", no_argument, NULL, 'o'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct options o = {0};
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    int code = parse(argc, argv, discard_usage, ":c:h", options, &o);
    if (code >= 0)
        return code;
    if (optind == argc)
        return jb_cli_usage("discard", "which box? Give its id, or the beginning of it");
    code = jb_cli_load(o.config, NULL, &job);
    if (code)
        return code;
    for (int i = optind; i < argc; i++) {
        struct jb_error err = {0};
        struct jb_kept kept = JB_KEPT_INIT;
        jb_autoclose int state = open_state(&job, &err);
        struct jb_error queue = {0};
        int r = find_own(&job, argv[i], &kept, &err);
        const struct jb_id id = kept.id;
        jb_kept_close(&kept);
        if (r == 0) {
            r = jb_kept_discard(state, &id, &err);
        } else if (r == -ENOENT && !o.own) {
            r = jb_cli_kept_queue_discard(&job, argv[i], &queue);
            if (r < 0 && r != -ENOENT)
                err = queue;
        }
        if (r < 0)
            code = jb_cli_fail(JB_EXIT_NO_BOX, &err);
    }
    return code;
}

static const char *text_of(const json_t *about, const char *key)
{
    const char *text = json_string_value(json_object_get(about, key));
    return text ? text : "-";
}

int jb_cli_list_kept(const char *config, bool json)
{
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    struct jb_error err = {0};
    const struct jb_kept_wish all = {.uid = JB_KEPT_ALL};
    json_t *list = NULL;
    size_t i;
    const json_t *one;
    int code = jb_cli_load(config, NULL, &job);
    if (code)
        return code;
    jb_autoclose int state = open_state(&job, &err);
    if (state == -ENOENT)
        list = json_array();
    else if (state < 0 || jb_kept_list(state, &all, &list, NULL, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    jb_cli_kept_queue_list(&job, list);
    if (json)
        jb_cli_print_answers(list);
    else if (json_array_size(list) > 0)
        (void)printf("%-26s  %-19s  %-10s  %-14s  %-10s  %s\n", "ID", "KEPT", "USER", "ENDED", "SIZE",
                     "NAME");
    json_array_foreach(list, i, one)
    {
        char size[48];
        if (json)
            break;
        (void)jb_format_size((uint64_t)json_integer_value(json_object_get(one, "bytes")), size, sizeof(size));
        (void)printf("%-26s  %-19.19s  %-10s  %-14s  %-10s  %s\n", text_of(one, "id"), text_of(one, "kept"),
                     text_of(one, "user"), text_of(one, "reason"), size, text_of(one, "name"));
    }
    json_decref(list);
    return fflush(stdout) == EOF ? JB_EXIT_NO_BOX : 0;
}
