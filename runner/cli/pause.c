/*
 * pause.c - jobbox pause and jobbox resume.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; the box's supervisor decides.
 */
#include "cli/cli.h"

#define OPTIONS                                                                  \
    "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n" \
    "      --own          a job of your own queue, not the system's\n"           \
    "      --json         print the answers\n"                                   \
    "  -h, --help         this text\n"

int jb_cmd_pause(int argc, char **argv)
{
    static const char usage[] =
        "Usage: jobbox pause [OPTION]... ID...\n"
        "Freezes every process of a box until jobbox resume. Its wall time and idle time stand "
        "still; it keeps its CPUs and its memory.\n\n" OPTIONS;
    return jb_cli_simple(argc, argv, usage, json_pack("{s:s}", "verb", "pause"));
}

int jb_cmd_resume(int argc, char **argv)
{
    static const char usage[] = "Usage: jobbox resume [OPTION]... ID...\n"
                                "Lets a paused box go on.\n\n" OPTIONS;
    return jb_cli_simple(argc, argv, usage, json_pack("{s:s}", "verb", "resume"));
}
