/*
 * main.c - jobbox-report: the verbs about records.
 *
 * Owns: the process. Runs in: itself, executed by jobbox. Privilege: the user's.
 */
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <unistd.h>

#include "ask.h"
#include "base/cleanup.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"report", jb_cmd_report},         {"history", jb_cmd_history}, {"show", jb_cmd_record},
    {"efficiency", jb_cmd_efficiency}, {"journal", jb_cmd_journal}, {"budget", jb_cmd_budget},
};

int main(int argc, char **argv)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_NOCTTY) != fd)
            return JB_EXIT_NO_BOX;
    (void)setlocale(LC_CTYPE, "");
    for (size_t i = 0; argc > 1 && i < JB_ARRAY_LEN(verbs); i++)
        if (jb_streq(argv[1], verbs[i].name))
            return verbs[i].run(argc - 1, argv + 1);
    (void)fputs("jobbox-report: it is executed by jobbox; see jobbox report --help\n", stderr);
    return JB_EXIT_USAGE;
}
