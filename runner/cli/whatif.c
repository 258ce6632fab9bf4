/*
 * whatif.c - the machine and the ledger that explain and topo look at: those of this host, or made up.
 *
 * Owns: the two of them. Runs in: the client. Privilege: none. It makes nothing and writes nothing.
 *
 * With --topology or --taken no state directory is touched. Topology files are of the user's making: they are parsed
 * here, with the user's rights, by a child that jb_machine_load bounds.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "cli/cli.h"
#include "job/place.h"
#include "machine/view.h"

/* The CPUs of one --taken and the name before its '='. */
static int parse_taken(const char *argument, size_t index, struct jb_holding *ret, struct jb_error *err)
{
    const char *equals = strchr(argument, '=');
    const char *list = equals ? equals + 1 : argument;
    struct jb_holding h = {.uid = getuid(), .exclusive = true, .memory = JB_UNSET};
    int name_len = equals ? (int)(equals - argument) : 0;
    if (equals && (name_len == 0 || name_len >= (int)sizeof(h.name)))
        return jb_fail(err, EINVAL, "--taken %.100s: the name before = is %s", argument,
                       name_len ? "longer than 64 bytes" : "empty");
    (void)snprintf(h.name, sizeof(h.name), "%.*s", name_len ? name_len : 5, name_len ? argument : "taken");
    (void)snprintf(h.id.text, sizeof(h.id.text), "taken-%06zu", index);
    int r = jb_cpus_parse(list, &h.cpus);
    if (r == 0 && jb_cpus_empty(&h.cpus))
        r = -EINVAL;
    if (r < 0)
        return jb_fail(err, r,
                       "--taken %.100s: \"%.60s\" is not a list of CPUs; example: --taken build=0-3,8",
                       argument, list);
    h.held = h.cpus;
    *ret = h;
    return 0;
}

static int add_taken(const struct jb_machine *machine, const char *argument, struct jb_ledger *ledger,
                     struct jb_error *err)
{
    struct jb_holding h;
    struct jb_cpus all = {0};
    int r = parse_taken(argument, ledger->len + 1, &h, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < machine->n_pus; i++)
        jb_cpus_add(&all, machine->pus[i].os);
    struct jb_cpus bad = h.cpus;
    jb_cpus_andnot(&bad, &all);
    jb_autofree char *absent = jb_cpus_list(&bad);
    jb_autofree char *there = jb_cpus_list(&all);
    if (!jb_cpus_empty(&bad))
        return jb_fail(err, ERANGE, "--taken %.100s: this machine has no CPUs %.200s; it has %.200s",
                       argument, absent ? absent : "", there ? there : "");
    if (jb_cpus_intersects(&h.cpus, &ledger->used))
        return jb_fail(err, EINVAL,
                       "--taken %.100s: an earlier --taken has some of these CPUs; name each CPU once",
                       argument);
    for (size_t i = 0; i < machine->n_nodes; i++)
        if (jb_cpus_intersects(&machine->nodes[i].cpus, &h.cpus))
            jb_cpus_add(&h.mems, machine->nodes[i].os);
    r = jb_ledger_add(ledger, &h);
    return r < 0 ? jb_fail_errno(err, r, "--taken") : 0;
}

static void read_ledger(struct jb_state *state, struct jb_cli_world *world)
{
    struct jb_error err = {0};
    world->ledger_from = "ledger";
    int r = jb_cli_peek(state, &err);
    if (r == -ENOENT)
        return; /* nothing was ever started here */
    if (r == 0)
        r = jb_ledger_read(&state->ledger, &world->ledger, &err);
    if (r == 0)
        return;
    world->ledger_from = "unreadable";
    (void)fprintf(stderr, "jobbox: %s; taking all CPUs as free\n", err.text);
}

/* The directory of a topology that a run left; -1: none, or somebody else could have written it. */
static int open_cache(const struct jb_state *state)
{
    struct stat st;
    jb_autoclose int fd = open(state->runtime_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || (st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022))
        return -1;
    return jb_take_fd(&fd);
}

/* As a job would have it that is started here and now. */
static int load_host(struct jb_cli_job *job, int cache, struct jb_machine *ret, struct jb_error *err)
{
    struct jb_cg_layout layout = {0};
    const struct jb_place_wish wish = {.name = "jobbox", .description = "jobbox", .uid = job->submitter.uid};
    struct jb_place place = {.site = job->site,
                             .layout = &layout,
                             .ledger = jb_cli_peek(&job->state, NULL) == 0 ? &job->state.ledger : NULL,
                             .cache_dirfd = cache,
                             .cache_readonly = true};
    int r = jb_cg_layout_probe(NULL, &layout, err);
    if (r == 0)
        r = jb_place_find(job->site, &wish, &layout, NULL, &place.elsewhere, err);
    if (r == 0)
        r = jb_place_machine(&place, ret, err);
    jb_cg_layout_free(&layout);
    return r;
}

static int load_machines(const struct jb_cli_whatif *what, struct jb_cli_job *job, struct jb_cli_world *world,
                         struct jb_error *err)
{
    jb_autoclose int cache = what->topology || what->taken.len ? -1 : open_cache(&job->state);
    struct jb_machine_source source = {
        .cache_dirfd = cache,
        .cache_readonly = true,
        .xml_file = what->topology,
        .reserved = what->topology && !what->config ? NULL : &job->site->reserved_cpus};
    int r = what->topology ? jb_machine_load(&source, &world->machine, err)
                           : load_host(job, cache, &world->machine, err);
    if (r < 0)
        return r;
    source.whole = true;
    source.devices = what->devices;
    source.allowed_cpus = &world->machine.allowed;
    return jb_machine_load(&source, &world->whole, err);
}

int jb_cli_world_load(const struct jb_cli_whatif *what, struct jb_cli_job *job, struct jb_cli_world *ret)
{
    jb_autoworld struct jb_cli_world world = {.source = what->topology ? what->topology : "this host",
                                              .ledger_from = "empty"};
    struct jb_error err = {0};
    int r = load_machines(what, job, &world, &err);
    if (r < 0)
        return jb_cli_fail(what->topology ? JB_EXIT_USAGE : JB_EXIT_NO_BOX, &err);
    for (size_t i = 0; i < what->taken.len; i++) {
        world.ledger_from = "taken";
        if (add_taken(&world.whole, what->taken.items[i], &world.ledger, &err) < 0)
            return jb_cli_fail(JB_EXIT_USAGE, &err);
    }
    if (!what->topology && what->taken.len == 0)
        read_ledger(&job->state, &world);
    jb_ledger_sort(&world.ledger);
    *ret = world;
    world = (struct jb_cli_world){0}; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

void jb_cli_world_free(struct jb_cli_world *world)
{
    jb_machine_free(&world->machine);
    jb_machine_free(&world->whole);
    jb_ledger_free(&world->ledger);
}

bool jb_cli_whatif_option(int c, const char *value, struct jb_cli_whatif *what)
{
    switch (c) {
    case 'c':
        what->config = value;
        return true;
    case 'T':
        what->topology = value;
        return true;
    case 't':
        return jb_strv_add(&what->taken, value) == 0;
    default:
        return false;
    }
}

void jb_cli_whatif_free(struct jb_cli_whatif *what)
{
    jb_strv_free(&what->taken);
}

void jb_cli_user_name(uid_t uid, char *buf, size_t len)
{
    char text[4096];
    struct passwd pw;
    struct passwd *found = NULL;
    if (getpwuid_r(uid, &pw, text, sizeof(text), &found) == 0 && found)
        (void)snprintf(buf, len, "%s", pw.pw_name);
    else
        (void)snprintf(buf, len, "%u", (unsigned)uid);
    jb_view_plain(buf);
}
