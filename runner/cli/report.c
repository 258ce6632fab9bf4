/*
 * report.c - the verbs about records: jobbox-report does them.
 *
 * Owns: nothing. Runs in: the client, which becomes that program. Privilege: the user's.
 *
 * It is a program of its own for what it is linked with: a database would be carried by every start of a job.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "cli/cli.h"

/* Beside this program, or where the installation puts it from there. */
static const char *const places[] = {"jobbox-report", "../libexec/jobbox/jobbox-report"};

static int become_report(char **argv)
{
    char self[PATH_MAX];
    struct jb_error err = {0};
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (!slash)
        (void)jb_fail_errno(&err, n < 0 ? errno : ENOENT, "finding jobbox-report");
    for (size_t i = 0; slash && i < JB_ARRAY_LEN(places); i++) {
        jb_autofree char *path = jb_asprintf("%.*s/%s", (int)(slash - self), self, places[i]);
        if (path)
            (void)execv(path, argv);
        (void)jb_fail_errno(&err, errno, "executing jobbox-report, which belongs beside %s", self);
        if (errno != ENOENT)
            break;
    }
    return jb_cli_fail(JB_EXIT_NO_BOX, &err);
}

/* argv begins with the verb; the program wants its own name in front. */
int jb_cmd_records(int argc, char **argv)
{
    char name[] = "jobbox-report";
    jb_autofree char **whole = calloc((size_t)argc + 2, sizeof(*whole));
    if (!whole)
        return JB_EXIT_NO_BOX;
    whole[0] = name;
    for (int i = 0; i < argc; i++)
        whole[i + 1] = argv[i];
    return become_report(whole);
}
