/*
 * ask.c - the options that verbs about records share.
 *
 * Owns: the index while a verb runs, the file that the answer goes to. Runs in: jobbox-report. Privilege: the user's.
 */
#include "ask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"

void jb_ask_free(struct jb_ask *ask)
{
    jb_index_free(ask->index);
    jb_prices_free(ask->prices);
    jb_filter_free(&ask->filter);
    jb_strv_free(&ask->journals);
    jb_cli_job_free(&ask->job);
    if (ask->out && ask->out != stdout)
        (void)fclose(ask->out);
    if (ask->temporary)
        (void)unlink(ask->temporary);
    free(ask->temporary);
}

int jb_ask_fail(const struct jb_error *err)
{
    return jb_cli_fail(1, err);
}

int jb_ask_list(const struct jb_ask *ask, const char *text, struct jb_strv *into)
{
    for (;;) {
        size_t len = strcspn(text, ",");
        if (jb_strv_addn(into, text, len) < 0)
            return jb_cli_usage(ask->verb, "out of memory");
        if (!text[len])
            return 0;
        text += len + 1;
    }
}

static int take_width(struct jb_ask *ask, const char *text)
{
    uint64_t width;
    if (jb_parse_u64(text, 100000, &width) < 0)
        return jb_cli_usage(ask->verb, "--width wants a number of columns, 0 for no end");
    ask->width = (long)width;
    return 0;
}

static int take_color(struct jb_ask *ask, const char *text)
{
    if (!jb_streq(text, "auto") && !jb_streq(text, "always") && !jb_streq(text, "never"))
        return jb_cli_usage(ask->verb, "--color is auto, always or never");
    ask->color = text;
    return 0;
}

int jb_ask_option(struct jb_ask *ask, int c, char **argv)
{
    if (c >= JB_ASK_USER && c <= JB_ASK_JOB)
        return jb_ask_list(ask, optarg, &ask->filter.texts[c - JB_ASK_USER + JB_BY_USER]);
    switch (c) {
    case 'c':
        ask->config = optarg;
        return 0;
    case 'o':
        ask->output = optarg;
        return 0;
    case JB_ASK_JOURNAL:
        return jb_strv_add(&ask->journals, optarg) < 0 ? jb_cli_usage(ask->verb, "out of memory") : 0;
    case JB_ASK_FROM:
        ask->from = optarg;
        return 0;
    case JB_ASK_TO:
        ask->to = optarg;
        return 0;
    case JB_ASK_LABEL:
        return jb_strv_add(&ask->filter.labels, optarg) < 0 ? jb_cli_usage(ask->verb, "out of memory") : 0;
    case JB_ASK_UTC:
        ask->utc = true;
        return 0;
    case JB_ASK_AS:
        ask->as = optarg;
        return 0;
    case JB_ASK_CSV:
        ask->as = "csv";
        return 0;
    case JB_ASK_JSON:
        ask->as = "json";
        return 0;
    case JB_ASK_WIDTH:
        return take_width(ask, optarg);
    case JB_ASK_COLOR:
        return take_color(ask, optarg);
    case JB_ASK_RAW:
        ask->raw = true;
        return 0;
    default:
        return jb_cli_bad_option(ask->verb, c, argv);
    }
}

static void warn_odd(const struct jb_ask *ask)
{
    struct jb_index_health health;
    struct jb_error err = {0};
    jb_autofree char *text = NULL;
    if (jb_index_health(ask->index, &health, &err) < 0 || jb_index_health_text(&health, &text, &err) < 0)
        (void)fprintf(stderr, "jobbox: warning: %s\n", err.text);
    else if (*text) {
        jb_autobuf struct jb_buf safe = {0};
        (void)jb_escape(&safe, JB_ESCAPE_PLAIN, text);
        (void)fprintf(stderr, "jobbox: warning: %s; see jobbox journal verify\n", safe.data ? safe.data : "");
    }
}

int jb_ask_open(struct jb_ask *ask)
{
    struct jb_error err = {0};
    jb_autofree char *file = NULL;
    if (ask->utc)
        (void)setenv("TZ", "UTC0", 1);
    tzset();
    if (jb_period_range(ask->from, ask->to, (int64_t)jb_wall_us(NULL), &ask->filter.from, &ask->filter.to,
                        &err) < 0) {
        (void)fprintf(stderr, "jobbox %s: %s\n", ask->verb, err.text);
        return JB_EXIT_USAGE;
    }
    int code = jb_cli_load(ask->config, NULL, &ask->job);
    if (code)
        return code;
    if (ask->journals.len == 0) {
        file = jb_asprintf("%s/index.db", ask->job.state.state_dir);
        if (!file || jb_strv_printf(&ask->journals, "%s/journal", ask->job.state.state_dir) < 0)
            return jb_cli_usage(ask->verb, "out of memory");
        if (access(ask->job.state.state_dir, F_OK) < 0) {
            (void)fprintf(stderr, "jobbox %s: there is no journal in %s: nobody ran a job here yet\n",
                          ask->verb, ask->job.state.state_dir);
            return 1;
        }
    }
    for (size_t i = 0; file == NULL && i < ask->journals.len; i++)
        if (access(ask->journals.items[i], R_OK) < 0) {
            (void)jb_fail_errno(&err, errno, "journal %s", ask->journals.items[i]);
            return jb_ask_fail(&err);
        }
    if (jb_prices_make(ask->job.site, &ask->prices, &err) < 0)
        return jb_cli_fail(JB_EXIT_USAGE, &err);
    const struct jb_index_spec spec = {file, &ask->journals};
    if (jb_index_get(&spec, &ask->index, &err) < 0)
        return jb_ask_fail(&err);
    warn_odd(ask);
    return 0;
}

int jb_ask_out(struct jb_ask *ask)
{
    struct jb_error err = {0};
    if (!ask->output || jb_streq(ask->output, "-")) {
        ask->out = stdout;
        return 0;
    }
    ask->out = NULL;
    ask->temporary = jb_asprintf("%s.XXXXXX", ask->output);
    int fd = ask->temporary ? mkostemp(ask->temporary, O_CLOEXEC) : -1;
    mode_t mask = umask(0);
    (void)umask(mask);
    if (fd >= 0 && (fchmod(fd, 0666 & ~mask) < 0 || !(ask->out = fdopen(fd, "w"))))
        (void)close(fd);
    if (ask->out)
        return 0;
    (void)jb_fail_errno(&err, errno, "writing %s", ask->output);
    if (fd < 0) {
        free(ask->temporary);
        ask->temporary = NULL;
    }
    return jb_ask_fail(&err);
}

int jb_ask_done(struct jb_ask *ask)
{
    struct jb_error err = {0};
    bool bad = fflush(ask->out) != 0 || ferror(ask->out);
    if (ask->out != stdout) {
        bad = fclose(ask->out) != 0 || bad;
        ask->out = NULL;
        bad = bad || rename(ask->temporary, ask->output) < 0;
    }
    if (bad) {
        (void)jb_fail_errno(&err, errno ? errno : EIO, "writing %s",
                            ask->output ? ask->output : "the report");
        return jb_ask_fail(&err);
    }
    free(ask->temporary);
    ask->temporary = NULL;
    return 0;
}

static size_t terminal_width(const struct jb_ask *ask)
{
    struct winsize size;
    if (ask->width >= 0)
        return (size_t)ask->width;
    if (!isatty(fileno(ask->out)) || ioctl(fileno(ask->out), TIOCGWINSZ, &size) < 0)
        return 0;
    return size.ws_col;
}

bool jb_ask_style(const struct jb_ask *ask, struct jb_sheet_style *ret)
{
    static const struct {
        const char *name;
        enum jb_sheet_form form;
    } forms[] = {{"table", JB_SHEET_TABLE}, {"csv", JB_SHEET_CSV}, {"json", JB_SHEET_JSON}};
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    bool dumb = (no_color && *no_color) || !term || jb_streq(term, "dumb");
    for (size_t i = 0; i < JB_ARRAY_LEN(forms); i++)
        if (jb_streq(ask->as ? ask->as : "table", forms[i].name)) {
            *ret = (struct jb_sheet_style){
                .form = forms[i].form,
                .width = terminal_width(ask),
                .raw = ask->raw,
                .colours = jb_streq(ask->color, "always") ||
                           (jb_streq(ask->color, "auto") && !dumb && isatty(fileno(ask->out))),
            };
            return true;
        }
    return false;
}
