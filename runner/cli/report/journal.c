/*
 * journal.c - jobbox journal: verify, index.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: the user's.
 */
#include <stdio.h>
#include <time.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "report/verify.h"

static const char usage[] =
    "Usage: jobbox journal verify [--json] [-c FILE] [FILE|FOLDER]...\n"
    "       jobbox journal index [--rebuild] [-c FILE]\n"
    "verify: whether the journals hold all records, unchanged and once, in the order in which they were "
    "written. Exit\n"
    "status 1 when a record is missing, altered or doubled, or something cannot be read.\n"
    "index: brings the index of the journals up to date, as every report does.\n\n"
    "      --rebuild          from nothing; who reads the old one meanwhile is not disturbed\n"
    "      --json             what was found, for programs\n"
    "  -c, --config FILE      site config instead of /etc/jobbox/jobbox.conf.yaml\n"
    "  -h, --help             this text\n";

static int print_json(const struct jb_verified *v)
{
    jb_autobuf struct jb_buf buf = {0};
    (void)printf("{\"files\":%llu,\"records\":%llu,\"writers\":%llu", (unsigned long long)v->files,
                 (unsigned long long)v->records, (unsigned long long)v->writers);
    for (int i = 0; i < JB_FOUND_MAX; i++)
        (void)printf(",\"%s\":%llu", jb_finding_name(i), (unsigned long long)v->found[i]);
    for (size_t i = 0; i < v->lines.len; i++) {
        if (jb_buf_puts(&buf, i ? "," : "") < 0 || jb_escape(&buf, JB_ESCAPE_JSON, v->lines.items[i]) < 0)
            return 1;
    }
    (void)printf(",\"findings\":[%s]}\n", buf.data ? buf.data : "");
    return 0;
}

static int print_text(const struct jb_verified *v)
{
    for (size_t i = 0; i < v->lines.len; i++) {
        jb_autobuf struct jb_buf safe = {0};
        if (jb_escape(&safe, JB_ESCAPE_PLAIN, v->lines.items[i]) < 0)
            return 1;
        (void)puts(safe.data);
    }
    (void)printf("%llu record%s of %llu writer%s in %llu file%s", (unsigned long long)v->records,
                 v->records == 1 ? "" : "s", (unsigned long long)v->writers, v->writers == 1 ? "" : "s",
                 (unsigned long long)v->files, v->files == 1 ? "" : "s");
    for (int i = 0; i < JB_FOUND_MAX; i++)
        if (v->found[i] > 0)
            (void)printf(", %llu %s", (unsigned long long)v->found[i], jb_finding_name(i));
    (void)puts("");
    return 0;
}

static int verify(const struct jb_strv *paths, bool json)
{
    struct jb_error err = {0};
    struct jb_verified v;
    bool bad = false;
    if (jb_journal_verify(paths, &v, &err) < 0)
        return jb_ask_fail(&err);
    for (int i = 0; i < JB_FOUND_MAX; i++)
        bad = bad || (jb_finding_is_bad(i) && v.found[i] > 0);
    int code = json ? print_json(&v) : print_text(&v);
    jb_verified_free(&v);
    return code || bad ? 1 : 0;
}

static int update(const struct jb_cli_job *job, const struct jb_strv *journals, bool rebuild)
{
    struct jb_error err = {0};
    uint64_t added = 0;
    uint64_t begun = jb_mono_ns(NULL);
    jb_autofree char *file = jb_asprintf("%s/index.db", job->state.state_dir);
    const struct jb_index_spec spec = {file, journals};
    if (!file || jb_index_update(&spec, rebuild, &added, &err) < 0)
        return jb_ask_fail(&err);
    (void)printf("%llu record%s indexed in %.2f s\n", (unsigned long long)added, added == 1 ? "" : "s",
                 (double)(jb_mono_ns(NULL) - begun) / 1e9);
    return 0;
}

int jb_cmd_journal(int argc, char **argv)
{
    static const struct option options[] = {{"rebuild", no_argument, NULL, 'r'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    jb_autojob struct jb_cli_job job = JB_CLI_JOB_INIT;
    jb_autostrv struct jb_strv paths = {0};
    const char *config = NULL;
    bool rebuild = false;
    bool json = false;
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        if (c == 'h')
            return fputs(usage, stdout), 0;
        if (c == 'r')
            rebuild = true;
        else if (c == 'j')
            json = true;
        else if (c == 'c')
            config = optarg;
        else
            return jb_cli_bad_option("journal", c, argv);
    }
    const char *what = optind < argc ? argv[optind++] : "";
    bool is_verify = jb_streq(what, "verify");
    if (!is_verify && !jb_streq(what, "index"))
        return jb_cli_usage("journal", "verify or index?");
    for (; optind < argc; optind++)
        if (jb_strv_add(&paths, argv[optind]) < 0)
            return jb_cli_usage("journal", "out of memory");
    if (!is_verify && paths.len > 0)
        return jb_cli_usage("journal", "index takes no files: it is of this host's journals");
    if ((rebuild && is_verify) || (json && !is_verify))
        return jb_cli_usage("journal", is_verify ? "--rebuild is for index" : "--json is for verify");
    int code = paths.len ? 0 : jb_cli_load(config, NULL, &job);
    if (code)
        return code;
    if (paths.len == 0 && jb_strv_printf(&paths, "%s/journal", job.state.state_dir) < 0)
        return jb_cli_usage("journal", "out of memory");
    return is_verify ? verify(&paths, json) : update(&job, &paths, rebuild);
}
