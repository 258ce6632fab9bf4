/*
 * export_car.c - records as Compute Accounting Records (OGF Usage Record 2), and as BSD process accounting.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: none.
 */
#include <errno.h>
#include <sys/acct.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/id.h"
#include "report/export_forms.h"

/* --- XML --- */

static int element(struct jb_exporting *e, const char *name, const char *attributes, const char *text)
{
    int r = jb_buf_printf(&e->line, "    <urf:%s%s%s>", name, *attributes ? " " : "", attributes);
    if (r == 0)
        r = jb_escape(&e->line, JB_ESCAPE_XML, text);
    return r == 0 ? jb_buf_printf(&e->line, "</urf:%s>\n", name) : r;
}

static int number_element(struct jb_exporting *e, const char *name, const char *attributes, int64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%lld", (long long)value);
    return value == JB_NONE ? 0 : element(e, name, attributes, text);
}

/* Whole seconds: there are readers that know no others. */
static int duration(struct jb_exporting *e, const char *name, const char *attributes, int64_t us)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "PT%lldS", (long long)us / 1000000);
    return us == JB_NONE ? 0 : element(e, name, attributes, text);
}

static char *utc(int64_t at, char buf[32])
{
    struct tm tm;
    time_t s = (time_t)(at / 1000000);
    (void)gmtime_r(&s, &tm);
    (void)strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return buf;
}

static const char *status(struct jb_exporting *e, const struct jb_row *row)
{
    const char *state = jb_slurm_state(e, row, true);
    return jb_streq(state, "COMPLETED") ? "completed" : jb_streq(state, "CANCELLED") ? "aborted" : "failed";
}

static int put_identity(struct jb_exporting *e, const struct jb_row *row)
{
    char id[JB_ID_LEN + 1];
    char when[32];
    jb_line_id_text(row->v[JB_COL_ID_HI], row->v[JB_COL_ID_LO], id);
    int r = jb_buf_printf(
        &e->line,
        "  <urf:UsageRecord>\n    <urf:RecordIdentity urf:recordId=\"%s\" urf:createTime=\"%s\"/>\n"
        "    <urf:JobIdentity>\n      <urf:LocalJobId>%s</urf:LocalJobId>\n    </urf:JobIdentity>\n"
        "    <urf:UserIdentity>\n      <urf:LocalUserId>",
        id, utc(row->v[JB_COL_AT], when), id);
    if (r == 0)
        r = jb_escape(&e->line, JB_ESCAPE_XML, jb_index_text(e->index, row->v[JB_COL_USER]));
    if (r == 0)
        r = jb_buf_puts(&e->line, "</urf:LocalUserId>\n      <urf:LocalGroup>");
    if (r == 0)
        r = jb_escape(&e->line, JB_ESCAPE_XML, jb_export_group(e, row->v[JB_COL_GID]));
    if (r == 0)
        r = jb_buf_puts(&e->line, "</urf:LocalGroup>\n");
    const char *account = jb_index_text(e->index, row->v[JB_COL_ACCOUNT]);
    if (r == 0 && *account) {
        r = jb_buf_puts(&e->line, "      <urf:Group>");
        if (r == 0)
            r = jb_escape(&e->line, JB_ESCAPE_XML, account);
        if (r == 0)
            r = jb_buf_puts(&e->line, "</urf:Group>\n");
    }
    return r == 0 ? jb_buf_puts(&e->line, "    </urf:UserIdentity>\n") : r;
}

static int put_level(struct jb_exporting *e)
{
    char attribute[64];
    const char *level = e->options->service_level;
    const char *equals = level ? strchr(level, '=') : NULL;
    if (!equals)
        return 0;
    (void)snprintf(attribute, sizeof(attribute), "urf:type=\"%.*s\"", (int)(equals - level), level);
    return element(e, "ServiceLevel", attribute, equals + 1);
}

static int put_usage(struct jb_exporting *e, const struct jb_row *row)
{
    char when[32];
    int64_t peak = row->v[JB_COL_MEMORY_PEAK];
    int64_t kib = peak == JB_NONE ? JB_NONE : (peak + 1023) / 1024;
    const char *host = jb_export_site_host(e, row);
    int r = element(e, "JobName", "", jb_export_name(e, row));
    r = r ? r : element(e, "Status", "", status(e, row));
    r = r ? r : number_element(e, "ExitStatus", "", row->v[JB_COL_EXIT_CODE]);
    r = r ? r : element(e, "Infrastructure", "urf:type=\"local\" urf:description=\"jobbox\"", "");
    r = r ? r : element(e, "Middleware", "urf:name=\"jobbox\" urf:version=\"" JOBBOX_VERSION "\"", "jobbox");
    r = r ? r : duration(e, "WallDuration", "", jb_export_elapsed(row));
    r = r ? r : duration(e, "CpuDuration", "urf:usageType=\"all\"", jb_export_cpu(row));
    r = r ? r : duration(e, "CpuDuration", "urf:usageType=\"user\"", row->v[JB_COL_CPU_USER]);
    r = r ? r : duration(e, "CpuDuration", "urf:usageType=\"system\"", row->v[JB_COL_CPU_SYSTEM]);
    r = r ? r : put_level(e);
    r = r ? r
          : number_element(e, "Memory", "urf:type=\"Physical\" urf:metric=\"max\" urf:storageUnit=\"KB\"",
                           kib == 0 ? JB_NONE : kib);
    r = r ? r : element(e, "StartTime", "", utc(row->v[JB_COL_STARTED], when));
    r = r ? r : element(e, "EndTime", "", utc(row->v[JB_COL_AT], when));
    r = r ? r : element(e, "MachineName", "", host);
    r = r ? r : element(e, "SubmitHost", "", jb_index_text(e->index, row->v[JB_COL_SUBMIT_HOST]));
    r = r ? r : element(e, "Queue", "", "jobbox");
    r = r ? r : element(e, "Site", "", e->options->site);
    r = r ? r : element(e, "Host", "urf:primary=\"true\"", host);
    r = r ? r : number_element(e, "NodeCount", "", 1);
    r = r ? r : number_element(e, "Processors", "", row->v[JB_COL_CPU_COUNT]);
    return r;
}

int jb_export_car(struct jb_exporting *e, const struct jb_row *row)
{
    if (row->v[JB_COL_STARTED] == JB_NONE || jb_export_elapsed(row) == JB_NONE)
        return jb_export_leave(e, "they did not run, or nobody saw for how long");
    if (jb_export_cpu(row) == JB_NONE)
        return jb_export_leave(e, "their CPU time is not known");
    if (row->v[JB_COL_AT] < row->v[JB_COL_STARTED])
        return jb_export_leave(e, "they ended before they started");
    e->line.len = 0;
    int r = put_identity(e, row);
    if (r == 0)
        r = put_usage(e, row);
    if (r == 0)
        r = jb_buf_puts(&e->line, "  </urf:UsageRecord>\n");
    if (r == 0)
        (void)fwrite(e->line.data, 1, e->line.len, e->out);
    return r;
}

/* --- BSD --- */

#define TICKS 100 /* a second */

/* 13 bits, and a power of 8 in 3 more; rounded, and at the end of what it can say it stays there. */
static comp_t compress(int64_t value)
{
    uint64_t v = value < 0 ? 0 : (uint64_t)value;
    unsigned exponent = 0;
    bool up = false;
    for (; v > 0x1FFF; v >>= 3, exponent++)
        up = v & 4;
    if (up && ++v > 0x1FFF) {
        v >>= 3;
        exponent++;
    }
    return exponent > 7 ? 0xFFFF : (comp_t)(exponent << 13 | v);
}

static int64_t ticks(int64_t us)
{
    return us == JB_NONE ? 0 : us / (1000000 / TICKS);
}

static int64_t known(int64_t value)
{
    return value == JB_NONE ? 0 : value;
}

int jb_export_acct(struct jb_exporting *e, const struct jb_row *row)
{
    _Static_assert(sizeof(struct acct_v3) == 64, "as the kernel writes it");
    const int64_t *v = row->v;
    int64_t began = v[JB_COL_STARTED];
    if (began == JB_NONE || jb_export_elapsed(row) == JB_NONE)
        return jb_export_leave(e, "they did not run, or nobody saw for how long");
    if (v[JB_COL_UID] == JB_NONE || v[JB_COL_GID] == JB_NONE || began / 1000000 > UINT32_MAX)
        return jb_export_leave(e, "they have no uid, gid or time that fits");
    int64_t sig = known(v[JB_COL_SIGNAL]);
    struct acct_v3 entry = {
        .ac_flag = (char)(sig ? AXSIG : 0),
        .ac_version = (char)(3 | ACCT_BYTEORDER),
        .ac_exitcode = (uint32_t)(sig ? (sig & 0x7F) : (known(v[JB_COL_EXIT_CODE]) & 0xFF) << 8),
        .ac_uid = (uint32_t)v[JB_COL_UID],
        .ac_gid = (uint32_t)v[JB_COL_GID],
        .ac_pid = jb_export_number(e, row, false),
        .ac_btime = (uint32_t)(began / 1000000),
        .ac_etime = (float)ticks(jb_export_elapsed(row)),
        .ac_utime = compress(ticks(v[JB_COL_CPU_USER])),
        .ac_stime = compress(ticks(v[JB_COL_CPU_SYSTEM])),
        .ac_mem = compress(known(v[JB_COL_MEMORY_PEAK]) / 1024),
        .ac_io = compress(known(v[JB_COL_READ_BYTES]) + known(v[JB_COL_WRITTEN_BYTES])),
        .ac_minflt = compress(known(v[JB_COL_MINOR_FAULTS])),
        .ac_majflt = compress(known(v[JB_COL_MAJOR_FAULTS])),
    };
    e->line.len = 0;
    int r = jb_escape(&e->line, JB_ESCAPE_BAR, jb_export_name(e, row));
    if (r < 0)
        return r;
    size_t n = e->line.len < sizeof(entry.ac_comm) - 1 ? e->line.len : sizeof(entry.ac_comm) - 1;
    while (n > 0 && n < e->line.len && ((unsigned char)e->line.data[n] & 0xC0) == 0x80)
        n--;
    memcpy(entry.ac_comm, e->line.data, n);
    (void)fwrite(&entry, sizeof(entry), 1, e->out);
    return 0;
}
