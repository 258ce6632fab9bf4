/*
 * main.c - the dispatcher.
 *
 * Owns: the process. Runs in: the client, which is the supervisor when a job is run. Privilege: the user's.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "cli/cli.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} verbs[] = {
    {"run", jb_cmd_run, "run a job now, here, and wait for its end"},
    {"submit", jb_cmd_submit, "put jobs into the queue"},
    {"logs", jb_cmd_logs, "what a queued job has written"},
    {"wait", jb_cmd_wait, "wait for queued jobs to end"},
    {"plan", jb_cmd_plan, "print everything that running a job would do; touches nothing"},
    {"explain", jb_cmd_explain, "say which cores a job would get now and why, or what stands in its way"},
    {"topo", jb_cmd_topo, "draw the machine and who holds its cores"},
    {"validate", jb_cmd_validate, "check job specs"},
    {"create", jb_cmd_create, "make a box that stays, for commands to be executed in it"},
    {"exec", jb_cmd_exec, "execute a command in a live box"},
    {"destroy", jb_cmd_destroy, "end a box that was created, and write its record"},
    {"enter", jb_cmd_enter, "open a shell in a live box, or in what was kept of one"},
    {"commit", jb_cmd_commit, "make an image of what was kept of a box"},
    {"discard", jb_cmd_discard, "remove what was kept of boxes"},
    {"ps", jb_cmd_ps, "list the live boxes and the queue"},
    {"list", jb_cmd_ps, "the same"},
    {"top", jb_cmd_top, "what the live boxes use, as it goes"},
    {"hold", jb_cmd_hold, "keep queued jobs from being started"},
    {"release", jb_cmd_release, "let them go on"},
    {"requeue", jb_cmd_requeue, "end jobs and put them back into the queue"},
    {"priority", jb_cmd_priority, "change who starts first"},
    {"drain", jb_cmd_drain, "start nothing more on this host, or again (--off)"},
    {"stats", jb_cmd_stats, "how long the queue is, and who has used how much"},
    {"pause", jb_cmd_pause, "freeze a live box"},
    {"resume", jb_cmd_resume, "let a paused box go on"},
    {"signal", jb_cmd_signal, "send a signal to a live box"},
    {"update", jb_cmd_update, "change limits of a live box"},
    {"cancel", jb_cmd_cancel, "ask boxes and queued jobs to end"},
    {"image", jb_cmd_image, "fetch, list, check and remove images"},
    {"show", jb_cmd_show, "the record of a job, what happened to a box, or a queued job"},
    {"history", jb_cmd_records, "list jobs that ended"},
    {"report", jb_cmd_records, "sum up who used what, or write it for other programs"},
    {"efficiency", jb_cmd_records, "what jobs asked for and used, and what to ask for"},
    {"budget", jb_cmd_records, "what accounts have used of their month"},
    {"journal", jb_cmd_records, "verify or index the journals"},
    {"sweep", jb_cmd_sweep, "finish boxes whose supervisor died"},
    {"doctor", jb_cmd_doctor, "say what this host has of what jobbox needs, and what to do"},
};

static void help(FILE *out)
{
    (void)fputs("Usage: jobbox VERB [OPTION]... [ARGUMENT]...\n"
                "Runs batch jobs pinned to CPUs, in throwaway roots, with an accounting record each.\n\n"
                "Verbs:\n",
                out);
    for (size_t i = 0; i < JB_ARRAY_LEN(verbs); i++)
        (void)fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].what);
    (void)fputs(
        "\nEvery verb has --help. Exit codes of run: the job's own; 120 timeout, 121 out of memory, 122 "
        "another\n"
        "limit, 123 cancelled, 124 the box could not be made, 125 usage or spec error, 128+N signal N.\n",
        out);
}

static int unknown(const char *verb)
{
    const char *names[JB_ARRAY_LEN(verbs)];
    for (size_t i = 0; i < JB_ARRAY_LEN(verbs); i++)
        names[i] = verbs[i].name;
    const char *near = jb_did_you_mean(verb, names, JB_ARRAY_LEN(verbs));
    if (near)
        (void)fprintf(stderr, "jobbox: \"%s\" is not a verb; did you mean \"%s\"?\n", verb, near);
    else
        (void)fprintf(stderr, "jobbox: \"%s\" is not a verb; see jobbox --help\n", verb);
    return JB_EXIT_USAGE;
}

/* What the starter may have taken away and everything below relies on. */
static int settle(void)
{
    /* a closed standard descriptor would be the next file opened, and a job's output would go into that */
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_NOCTTY) != fd)
            return -1;
    /* a file that may not grow is an errno here; jobbox-init gives jobs the default back */
    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
        return -1;
    /* ignored, it would reap our children before we know how they ended */
    return signal(SIGCHLD, SIG_DFL) == SIG_ERR ? -1 : 0;
}

int main(int argc, char **argv)
{
    if (settle() < 0)
        return JB_EXIT_NO_BOX;
    if (argc < 2) {
        help(stderr);
        return JB_EXIT_USAGE;
    }
    if (jb_streq(argv[1], "--help") || jb_streq(argv[1], "-h") || jb_streq(argv[1], "help")) {
        help(stdout);
        return 0;
    }
    if (jb_streq(argv[1], "--version") || jb_streq(argv[1], "version")) {
        (void)puts("jobbox " JOBBOX_VERSION);
        return 0;
    }
    for (size_t i = 0; i < JB_ARRAY_LEN(verbs); i++)
        if (jb_streq(argv[1], verbs[i].name))
            return verbs[i].run(argc - 1, argv + 1);
    return unknown(argv[1]);
}
