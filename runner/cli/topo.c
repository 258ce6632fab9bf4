/*
 * topo.c - jobbox topo: the machine and who holds its cores.
 *
 * Owns: the file of --svg while it is written. Runs in: the client. Privilege: none; it reads the ledger where it may.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/units.h"
#include "cli/cli.h"
#include "machine/draw.h"

struct topo_options {
    struct jb_cli_whatif what;
    const char *svg, *color;
    bool json;
};

static const char usage[] =
    "Usage: jobbox topo [OPTION]...\n"
    "Draws the machine: packages, dies, NUMA nodes, L3 groups, cores, CPUs, the boxes that hold them, and "
    "devices.\n"
    "Needs no privilege and touches nothing.\n\n" JB_CLI_WHATIF_USAGE
    "      --json           as JSON, complete\n"
    "      --svg FILE       write a drawing as SVG instead (- for standard output)\n"
    "      --color WHEN     auto, always or never\n"
    "  -h, --help           this text\n";

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct topo_options *ret)
{
    static const struct option options[] = {JB_CLI_WHATIF_OPTIONS,
                                            {"json", no_argument, NULL, 'j'},
                                            {"svg", required_argument, NULL, 's'},
                                            {"color", required_argument, NULL, 'k'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int c;
    opterr = 0; /* one line an error, and that is ours */
    while ((c = getopt_long(argc, argv, ":c:T:t:h", options, NULL)) != -1) {
        switch (c) {
        case 'j':
            ret->json = true;
            break;
        case 's':
            ret->svg = optarg;
            break;
        case 'k':
            ret->color = optarg;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            if (!jb_cli_whatif_option(c, optarg, &ret->what))
                return jb_cli_bad_option("topo", c, argv);
        }
    }
    if (optind != argc)
        return jb_cli_usage("topo", "it takes no arguments");
    if (!jb_streq(ret->color, "auto") && !jb_streq(ret->color, "always") && !jb_streq(ret->color, "never"))
        return jb_cli_usage("topo", "--color is auto, always or never");
    if (ret->json && ret->svg && jb_streq(ret->svg, "-"))
        return jb_cli_usage("topo", "--json and --svg - cannot share standard output; name a file");
    return -1;
}

static bool wants_color(const char *when)
{
    const char *no = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    if (!jb_streq(when, "auto"))
        return jb_streq(when, "always");
    return isatty(STDOUT_FILENO) && !(no && *no) && term && !jb_streq(term, "dumb");
}

static int columns(void)
{
    struct winsize size;
    const char *text = getenv("COLUMNS");
    uint64_t n;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return text && jb_parse_u64(text, JB_DRAW_WIDTH_MAX, &n) == 0 && n > 0 ? (int)n : 80;
}

/* The first of these that says anything decides, as in setlocale(3). */
static bool speaks_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < JB_ARRAY_LEN(names); i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static int write_out(const char *path, const char *data, size_t len, struct jb_error *err)
{
    jb_autoclose int fd = -1;
    if (path) {
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
        if (fd < 0)
            return jb_fail_errno(err, errno, "%s", path);
    }
    int r = jb_write_all(path ? fd : STDOUT_FILENO, data, len);
    if (r == 0 && path && close(jb_take_fd(&fd)) < 0)
        r = -errno;
    return r < 0 ? jb_fail_errno(err, r, "writing to %s", path ? path : "standard output") : 0;
}

static int print_json(const struct jb_view *view, const struct jb_cli_world *world, struct jb_error *err)
{
    json_t *root = jb_draw_json(view);
    if (root && !jb_json_set(root, "ledger", jb_json_text(world->ledger_from))) {
        json_decref(root);
        root = NULL;
    }
    jb_autofree char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    jb_autofree char *line = text ? jb_asprintf("%s\n", text) : NULL;
    return line ? write_out(NULL, line, strlen(line), err)
                : jb_fail_errno(err, ENOMEM, "drawing the machine");
}

static int print(const struct topo_options *o, const struct jb_view *view, const struct jb_cli_world *world,
                 struct jb_error *err)
{
    jb_autobuf struct jb_buf text = {0};
    jb_autobuf struct jb_buf svg = {0};
    int r = 0;
    if (o->svg)
        r = jb_draw_svg(view, &svg, err);
    if (r == 0 && o->svg)
        r = write_out(jb_streq(o->svg, "-") ? NULL : o->svg, svg.data, svg.len, err);
    if (r == 0 && o->json)
        r = print_json(view, world, err);
    if (r < 0 || o->svg || o->json)
        return r;
    const struct jb_draw_style style = {
        .width = columns(), .color = wants_color(o->color), .utf8 = speaks_utf8()};
    r = jb_draw_text(view, &style, &text, err);
    return r < 0 ? r : write_out(NULL, text.data, text.len, err);
}

int jb_cmd_topo(int argc, char **argv)
{
    jb_autowhatif struct jb_cli_whatif what = {0};
    struct topo_options o = {.color = "auto", .what.devices = true};
    int code = parse(argc, argv, &o);
    what = o.what; /* owns the list from here on */
    if (code >= 0)
        return code;
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autoworld struct jb_cli_world world = {0};
    code = jb_cli_load(what.config, NULL, &job);
    if (code == 0)
        code = jb_cli_world_load(&what, &job, &world);
    if (code)
        return code;
    struct jb_error err = {0};
    jb_autoview struct jb_view view = {0};
    int r = jb_view_make(&world.whole, &world.ledger, world.source, &view, &err);
    for (size_t i = 0; r == 0 && i < view.n_boxes; i++)
        jb_cli_user_name(view.boxes[i].holding.uid, view.boxes[i].user, sizeof(view.boxes[i].user));
    if (r == 0)
        r = print(&o, &view, &world, &err);
    return r < 0 ? jb_cli_fail(JB_EXIT_NO_BOX, &err) : 0;
}
