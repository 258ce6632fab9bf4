/*
 * ask.h - what the verbs about records share: which journals, which records, where the answer goes.
 *
 * Owns: what the options say. Runs in: jobbox-report. Privilege: the user's.
 *
 * jobbox-report is a program of its own, so that jobbox run carries no database: `jobbox` executes it for these verbs.
 */
#ifndef JB_CLI_REPORT_ASK_H
#define JB_CLI_REPORT_ASK_H

#include <getopt.h>

#include "cli/cli.h"
#include "report/escape.h"
#include "report/export.h"
#include "report/prices.h"
#include "report/query.h"
#include "report/sheet.h"

int jb_cmd_report(int argc, char **argv);
int jb_cmd_history(int argc, char **argv);
int jb_cmd_record(int argc, char **argv); /* jobbox show ID */
int jb_cmd_efficiency(int argc, char **argv);
int jb_cmd_journal(int argc, char **argv);
int jb_cmd_budget(int argc, char **argv);

/* Numbers of the long options that all of them have; a verb's own begin at JB_ASK_OWN. */
enum {
    JB_ASK_FIRST = 1000,
    JB_ASK_JOURNAL = JB_ASK_FIRST,
    JB_ASK_FROM,
    JB_ASK_TO,
    JB_ASK_USER, /* in the order of enum jb_by up to job */
    JB_ASK_ACCOUNT,
    JB_ASK_HOST,
    JB_ASK_IMAGE,
    JB_ASK_NAME,
    JB_ASK_REASON,
    JB_ASK_ORIGIN,
    JB_ASK_JOB,
    JB_ASK_LABEL,
    JB_ASK_UTC,
    JB_ASK_AS,
    JB_ASK_CSV,
    JB_ASK_JSON,
    JB_ASK_WIDTH,
    JB_ASK_COLOR,
    JB_ASK_RAW,
    JB_ASK_OUTPUT,
    JB_ASK_OWN,
};

#define JB_ASK_WHICH                                                                                \
    {"journal", required_argument, NULL, JB_ASK_JOURNAL}, {"config", required_argument, NULL, 'c'}, \
    {                                                                                               \
        "help", no_argument, NULL, 'h'                                                              \
    }
#define JB_ASK_FILTER                                                                                       \
    {"from", required_argument, NULL, JB_ASK_FROM}, {"to", required_argument, NULL, JB_ASK_TO},             \
        {"user", required_argument, NULL, JB_ASK_USER},                                                     \
        {"account", required_argument, NULL, JB_ASK_ACCOUNT},                                               \
        {"host", required_argument, NULL, JB_ASK_HOST}, {"image", required_argument, NULL, JB_ASK_IMAGE},   \
        {"name", required_argument, NULL, JB_ASK_NAME}, {"reason", required_argument, NULL, JB_ASK_REASON}, \
        {"origin", required_argument, NULL, JB_ASK_ORIGIN}, {"job", required_argument, NULL, JB_ASK_JOB},   \
        {"label", required_argument, NULL, JB_ASK_LABEL},                                                   \
    {                                                                                                       \
        "utc", no_argument, NULL, JB_ASK_UTC                                                                \
    }
#define JB_ASK_FORM                                                                                 \
    {"as", required_argument, NULL, JB_ASK_AS}, {"csv", no_argument, NULL, JB_ASK_CSV},             \
        {"json", no_argument, NULL, JB_ASK_JSON}, {"width", required_argument, NULL, JB_ASK_WIDTH}, \
        {"color", required_argument, NULL, JB_ASK_COLOR}, {"raw", no_argument, NULL, JB_ASK_RAW},   \
    {                                                                                               \
        "output", required_argument, NULL, 'o'                                                      \
    }

#define JB_ASK_WHICH_HELP                                                                            \
    "      --journal PATH     a folder of journals, or one journal, instead of this host's; may be " \
    "repeated\n"                                                                                     \
    "  -c, --config FILE      site config instead of /etc/jobbox/jobbox.conf.yaml\n"
#define JB_ASK_FILTER_HELP                                                                                  \
    "      --from WHEN        records that ended then or later: 2026-10, 2026-10-25, yesterday, \"last "    \
    "month\",\n"                                                                                            \
    "                         \"3 days ago\" ...; a word for a span that is over, alone, means that span\n" \
    "      --to WHEN          and no later than the end of that\n"                                          \
    "      --user, --account, --host, --image, --name, --reason, --origin, --job LIST\n"                    \
    "                         only these, with commas between; * ? [] match as in the shell\n"              \
    "      --label KEY[=TEXT] only with this label; all that are given must be there\n"                     \
    "      --utc              days and months by UTC, not by the zone of the environment (TZ)\n"

struct jb_ask {
    const char *verb;
    struct jb_cli_job job; /* site and paths */
    const char *config;
    struct jb_strv journals;
    const char *from, *to;
    struct jb_filter filter;
    bool utc, raw;
    const char *as;     /* NULL: table */
    const char *output; /* NULL: standard output */
    long width;         /* -1: the terminal's */
    const char *color;
    struct jb_prices *prices;
    struct jb_index *index;
    FILE *out;
    char *temporary; /* what `out` is, until it is given its name */
};
#define JB_ASK_INIT(name) \
    ((struct jb_ask){     \
        .verb = (name), .job = JB_CLI_JOB_INIT, .filter = JB_FILTER_INIT, .width = -1, .color = "auto"})
void jb_ask_free(struct jb_ask *ask);
#define jb_autoask __attribute__((cleanup(jb_ask_free)))

/* Takes one option of getopt_long(3). 0, or the exit code (a fault, printed). */
int jb_ask_option(struct jb_ask *ask, int c, char **argv);

/* Site, times, index, prices; says in one warning what is not counted. 0 or the exit code. */
int jb_ask_open(struct jb_ask *ask);

/* Where the answer goes: standard output, or a file beside the one that is wanted. */
int jb_ask_out(struct jb_ask *ask);
/* The file gets its name: it was not there, or was the old one, until now. */
int jb_ask_done(struct jb_ask *ask);

/* table, csv or json. false: `as` is something else. */
bool jb_ask_style(const struct jb_ask *ask, struct jb_sheet_style *ret);

/* "a,b" into its parts. 0 or the exit code. */
int jb_ask_list(const struct jb_ask *ask, const char *text, struct jb_strv *into);

int jb_ask_fail(const struct jb_error *err); /* prints; the exit code 1 */

#endif
