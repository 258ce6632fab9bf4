/*
 * export.c - one record after the other into the form that is wanted.
 *
 * Owns: what the forms remember. Runs in: jobbox-report. Privilege: the user's.
 */
#include "report/export.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <strings.h>

#include "base/cleanup.h"
#include "report/export_forms.h"

static const struct {
    const char *name;
    jb_export_fn *write;
} forms[] = {
    [JB_EXPORT_SACCT] = {"sacct", jb_export_line}, [JB_EXPORT_XDMOD] = {"xdmod", jb_export_line},
    [JB_EXPORT_APEL] = {"apel", jb_export_line},   [JB_EXPORT_CAR] = {"car", jb_export_car},
    [JB_EXPORT_ACCT] = {"acct", jb_export_acct},
};

static const char *const field_lists[] = {
    [JB_EXPORT_SACCT] = "JobID,JobName,Partition,Account,AllocCPUS,State,ExitCode",
    [JB_EXPORT_XDMOD] =
        "JobID,JobIDRaw,Cluster,Partition,QOS,Account,Group,GID,User,UID,Submit,Eligible,Start,End,Elapsed,"
        "ExitCode,State,NNodes,NCPUS,ReqCPUS,ReqMem,ReqTRES,AllocTRES,Timelimit,NodeList,JobName",
    [JB_EXPORT_APEL] =
        "JobID,JobName,User,Group,Start,End,Elapsed,UsedCPURAW,Partition,NCPUS,NNodes,NodeList,MaxRSS,"
        "MaxVMSize,StateFew",
};

struct pass {
    struct jb_exporting e;
    jb_export_fn *write;
    struct jb_error *err;
};

bool jb_export_parse(const char *name, enum jb_export *ret)
{
    for (size_t i = 0; i < JB_ARRAY_LEN(forms); i++)
        if (jb_streq(name, forms[i].name)) {
            *ret = (enum jb_export)i;
            return true;
        }
    return false;
}

static int parse_fields(const char *text, int **ret, size_t *ret_n, struct jb_error *err)
{
    jb_autofree int *list = NULL;
    size_t n = 0;
    for (;; text++) {
        size_t len = strcspn(text, ",");
        size_t name = strcspn(text, ",%"); /* "JobName%30": a width that -P does not heed either */
        int *grown = realloc(list, (n + 1) * sizeof(*list));
        if (!grown)
            return jb_fail_errno(err, ENOMEM, "export");
        list = grown;
        list[n] = jb_slurm_field(text, name);
        if (list[n++] < 0) {
            jb_autofree char *word = strndup(text, name);
            const char *near = word ? jb_slurm_near(word) : NULL;
            return jb_fail(err, EINVAL, "\"%.40s\" is no field of sacct that jobbox has%s%s",
                           word ? word : "", near ? "; did you mean " : "", near ? near : "");
        }
        text += len;
        if (!*text)
            break;
    }
    *ret = jb_take_ptr(list);
    *ret_n = n;
    return 0;
}

static int check_level(const char *text, struct jb_error *err)
{
    static const char *const types[] = {"hepspec", "si2k", "hepscore23"};
    const char *equals = strchr(text, '=');
    char *rest = NULL;
    bool ok = false;
    for (size_t i = 0; equals && i < JB_ARRAY_LEN(types); i++)
        ok = ok ||
             (strlen(types[i]) == (size_t)(equals - text) && strncmp(types[i], text, strlen(types[i])) == 0);
    ok = ok && equals[1] >= '0' && equals[1] <= '9' && strtod(equals + 1, &rest) > 0 && *rest == '\0';
    return ok ? 0 : jb_fail(err, EINVAL, "--service-level is hepspec=N, si2k=N or hepscore23=N");
}

int jb_export_check(enum jb_export form, const struct jb_export_options *options, struct jb_error *err)
{
    jb_autofree int *list = NULL;
    size_t n;
    if (form == JB_EXPORT_CAR && (!options->site || !*options->site))
        return jb_fail(err, EINVAL, "--as car needs --site NAME: a Usage Record must say whose it is");
    if (options->fields && form != JB_EXPORT_SACCT)
        return jb_fail(err, EINVAL, "--format is for --as sacct; the fields of this form are fixed");
    if (options->service_level && check_level(options->service_level, err) < 0)
        return -EINVAL;
    return options->fields ? parse_fields(options->fields, &list, &n, err) : 0;
}

int jb_export_leave(struct jb_exporting *e, const char *why)
{
    if (e->note->left_out++ == 0)
        e->note->why = why;
    return 0;
}

static int each(const struct jb_block *block, const uint32_t *rows, size_t n, void *ctx)
{
    struct pass *p = ctx;
    for (size_t i = 0; i < n; i++) {
        struct jb_row row;
        for (enum jb_col c = 0; c < JB_COL_MAX; c++)
            row.v[c] = block->col[c] ? block->col[c][rows[i]] : JB_NONE;
        int r = p->write(&p->e, &row);
        if (r == 0 && ferror(p->e.out))
            r = errno ? -errno : -EIO;
        if (r < 0)
            return jb_fail_errno(p->err, r, "writing the export");
    }
    return 0;
}

static void header(struct jb_exporting *e, const char *fields)
{
    for (const char *p = fields; *p;) {
        size_t len = strcspn(p, ",");
        (void)fprintf(e->out, "%s%.*s", p == fields ? "" : "|", (int)strcspn(p, ",%"), p);
        p += len + (p[len] == ',');
    }
    (void)fputc('\n', e->out);
}

int jb_export_jobs(FILE *out, enum jb_export form, struct jb_index *index, const struct jb_filter *filter,
                   const struct jb_export_options *options, struct jb_export_note *ret_note,
                   struct jb_error *err)
{
    static const char car_open[] =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<urf:UsageRecords xmlns:urf=\"http://eu-emi.eu/namespaces/2012/11/computerecord\">\n";
    struct pass p = {.e = {.out = out, .index = index, .options = options, .note = ret_note},
                     .write = forms[form].write,
                     .err = err};
    jb_autofree int *fields = NULL;
    int r = jb_export_check(form, options, err);
    if (r < 0)
        return r;
    p.e.utc = form != JB_EXPORT_SACCT && form != JB_EXPORT_APEL;
    p.e.numbers = form == JB_EXPORT_XDMOD;
    const char *list = form == JB_EXPORT_SACCT && options->fields ? options->fields
                       : form <= JB_EXPORT_APEL                   ? field_lists[form]
                                                                  : NULL;
    r = list ? parse_fields(list, &fields, &p.e.n_fields, err) : 0;
    p.e.fields = fields;
    if (r == 0 && form == JB_EXPORT_SACCT && !options->no_header)
        header(&p.e, list);
    if (r == 0 && form == JB_EXPORT_CAR)
        (void)fputs(car_open, out);
    if (r == 0)
        r = jb_query_rows(index, filter, ~UINT64_C(0) >> (64 - JB_COL_MAX), each, &p, err);
    if (r == 0 && form == JB_EXPORT_CAR)
        (void)fputs("</urf:UsageRecords>\n", out);
    jb_memo_free(&p.e.groups);
    jb_strv_free(&p.e.names);
    jb_buf_free(&p.e.line);
    return r;
}

int64_t jb_export_cpu(const struct jb_row *row)
{
    int64_t user = row->v[JB_COL_CPU_USER];
    int64_t system = row->v[JB_COL_CPU_SYSTEM];
    return user == JB_NONE || system == JB_NONE ? JB_NONE : user + system;
}

int64_t jb_export_elapsed(const struct jb_row *row)
{
    int64_t started = row->v[JB_COL_STARTED];
    int64_t ended = row->v[JB_COL_ENDED];
    if (row->v[JB_COL_WALL] != JB_NONE)
        return row->v[JB_COL_WALL];
    if (started == JB_NONE)
        return 0;
    return ended == JB_NONE || ended < started ? JB_NONE : ended - started;
}

const char *jb_export_group(struct jb_exporting *e, int64_t gid)
{
    bool fresh;
    if (gid == JB_NONE)
        return "";
    int64_t *slot = jb_memo_get(&e->groups, gid, &fresh);
    if (!slot)
        return "";
    if (fresh) {
        const struct group *g = getgrgid((gid_t)gid); /* NOLINT(concurrency-mt-unsafe): one thread */
        *slot = (int64_t)e->names.len;
        if ((g ? jb_strv_add(&e->names, g->gr_name) : jb_strv_printf(&e->names, "%lld", (long long)gid)) < 0)
            return "";
    }
    return e->names.items[*slot];
}

const char *jb_export_name(struct jb_exporting *e, const struct jb_row *row)
{
    const char *name = jb_index_text(e->index, row->v[JB_COL_NAME]);
    return *name ? name : "unnamed";
}

const char *jb_export_site_host(struct jb_exporting *e, const struct jb_row *row)
{
    const char *host = jb_index_text(e->index, row->v[JB_COL_HOST]);
    return *host ? host : "unknown";
}

uint32_t jb_export_number(struct jb_exporting *e, const struct jb_row *row, bool of_array)
{
    int64_t hi;
    int64_t lo = row->v[JB_COL_ID_LO];
    const char *job = jb_index_text(e->index, row->v[JB_COL_JOB]);
    if (of_array && *job && !jb_line_id(job, strlen(job), &hi, &lo))
        lo = row->v[JB_COL_ID_LO];
    uint32_t number = (uint32_t)((uint64_t)lo & INT32_MAX);
    return number ? number : 1;
}
