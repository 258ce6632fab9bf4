/*
 * cancel.c - jobbox cancel.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's; the box's supervisor decides.
 */
#include "cli/cli.h"

int jb_cmd_cancel(int argc, char **argv)
{
    static const char usage[] = "Usage: jobbox cancel [OPTION]... ID...\n"
                                "Asks a box to end, as Ctrl-C does: its signal, its grace, then KILL. A "
                                "second time kills at once.\n\n"
                                "  -c, --config FILE  site config instead of /etc/jobbox/jobbox.conf.yaml\n"
                                "      --json         print the answers\n"
                                "  -h, --help         this text\n";
    return jb_cli_simple(argc, argv, usage, json_pack("{s:s}", "verb", "cancel"));
}
