/*
 * export_slurm.c - records as lines of Slurm's accounting: for people who know sacct(1), for Open XDMoD, for APEL.
 *
 * Owns: nothing. Runs in: jobbox-report. Privilege: the user's.
 */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/id.h"
#include "report/export_forms.h"

#define PARTITION "jobbox" /* there are none; loaders want a word */

typedef int field_fn(struct jb_exporting *e, const struct jb_row *row);

/* --- pieces --- */

static int put_text(struct jb_exporting *e, const char *text)
{
    return jb_escape(&e->line, JB_ESCAPE_BAR, text);
}

static int put_column(struct jb_exporting *e, const struct jb_row *row, enum jb_col col)
{
    return put_text(e, jb_index_text(e->index, row->v[col]));
}

static int put_number(struct jb_exporting *e, int64_t value)
{
    return value == JB_NONE ? 0 : jb_buf_printf(&e->line, "%lld", (long long)value);
}

/* SLURM_TIME_FORMAT is a format of strftime(3) for sacct; what loaders read is always the standard one. */
static int put_time(struct jb_exporting *e, int64_t at)
{
    const char *wanted = e->n_fields && !e->numbers ? getenv("SLURM_TIME_FORMAT") : NULL;
    size_t (*format)(char *, size_t, const char *, const struct tm *) = strftime;
    char buf[128];
    struct tm tm;
    time_t s = (time_t)(at / 1000000);
    if (at == JB_NONE || !(e->utc ? gmtime_r(&s, &tm) : localtime_r(&s, &tm)))
        return jb_buf_puts(&e->line, "Unknown");
    if (!wanted || !*wanted || strcmp(wanted, "standard") == 0 || strcmp(wanted, "relative") == 0 ||
        !strchr(wanted, '%'))
        wanted = "%Y-%m-%dT%H:%M:%S";
    return format(buf, sizeof(buf), wanted, &tm) ? put_text(e, buf) : jb_buf_puts(&e->line, "Unknown");
}

/* [D-]HH:MM:SS; nothing when it is not known */
static int put_elapsed(struct jb_exporting *e, int64_t us)
{
    if (us == JB_NONE)
        return 0;
    long long s = us / 1000000;
    if (s >= 86400 && jb_buf_printf(&e->line, "%lld-", s / 86400) < 0)
        return -ENOMEM;
    return jb_buf_printf(&e->line, "%02lld:%02lld:%02lld", s / 3600 % 24, s / 60 % 60, s % 60);
}

/* CPU time: below an hour with milliseconds, and without hours. */
static int put_cpu(struct jb_exporting *e, int64_t us)
{
    if (us == JB_NONE)
        return 0;
    if (us >= INT64_C(3600) * 1000000)
        return put_elapsed(e, us);
    return jb_buf_printf(&e->line, "%02lld:%02lld.%03lld", (long long)us / 60000000,
                         (long long)us / 1000000 % 60, (long long)us / 1000 % 1000);
}

/* Used memory in KiB, rounded up: 0K would be an error to some. */
static int put_kib(struct jb_exporting *e, int64_t bytes)
{
    return bytes == JB_NONE || bytes == 0
               ? 0
               : jb_buf_printf(&e->line, "%lldK", (long long)(bytes + 1023) / 1024);
}

/* A limit, in the greatest unit that divides it. */
static int put_size(struct jb_exporting *e, int64_t bytes)
{
    static const char units[] = "KMGT";
    size_t i = 0;
    if (bytes == JB_NONE)
        return 0;
    int64_t n = (bytes + 1023) / 1024;
    for (; n % 1024 == 0 && n > 0 && units[i + 1]; i++)
        n /= 1024;
    return jb_buf_printf(&e->line, "%lld%c", (long long)n, units[i]);
}

static int put_id(struct jb_exporting *e, const struct jb_row *row, bool raw)
{
    char id[JB_ID_LEN + 1];
    const char *job = jb_index_text(e->index, row->v[JB_COL_JOB]);
    int64_t index = row->v[JB_COL_ARRAY_INDEX];
    jb_line_id_text(row->v[JB_COL_ID_HI], row->v[JB_COL_ID_LO], id);
    if (e->numbers && jb_buf_printf(&e->line, "%u", jb_export_number(e, row, !raw && index != JB_NONE)) < 0)
        return -ENOMEM;
    if (!e->numbers && put_text(e, !raw && index != JB_NONE && *job ? job : id) < 0)
        return -ENOMEM;
    return raw || index == JB_NONE ? 0 : jb_buf_printf(&e->line, "_%lld", (long long)index);
}

static bool has_run(const struct jb_row *row)
{
    return row->v[JB_COL_STARTED] != JB_NONE;
}

/* --- states --- */

static const struct {
    const char *reason, *state, *few;
} states[] = {
    {"completed", "COMPLETED", "COMPLETED"},
    {"failed", "FAILED", "FAILED"},
    {"signaled", "FAILED", "FAILED"},
    {"timeout", "TIMEOUT", "TIMEOUT"},
    {"cpu_timeout", "TIMEOUT", "TIMEOUT"},
    {"idle_timeout", "TIMEOUT", "TIMEOUT"},
    {"oom", "OUT_OF_MEMORY", "FAILED"},
    {"output_limit", "FAILED", "FAILED"},
    {"scratch_full", "FAILED", "FAILED"},
    {"cancelled", "CANCELLED", "CANCELLED"},
    {"box_error", "BOOT_FAIL", "FAILED"},
    {"supervisor_lost", "NODE_FAIL", "NODE_FAIL"},
    {"host_restarted", "NODE_FAIL", "NODE_FAIL"},
};

const char *jb_slurm_state(struct jb_exporting *e, const struct jb_row *row, bool few)
{
    const char *reason = jb_index_text(e->index, row->v[JB_COL_REASON]);
    for (size_t i = 0; i < JB_ARRAY_LEN(states); i++)
        if (jb_streq(reason, states[i].reason))
            return few ? states[i].few : states[i].state;
    return "FAILED"; /* a reason of a later version is no success */
}

/* --- fields --- */

#define FIELD(name, expression)                                                         \
    static int field_##name(struct jb_exporting *e, JB_UNUSED const struct jb_row *row) \
    {                                                                                   \
        return expression;                                                              \
    }

static int field_ExitCode(struct jb_exporting *e, const struct jb_row *row)
{
    int64_t code = row->v[JB_COL_EXIT_CODE];
    int64_t sig = row->v[JB_COL_SIGNAL];
    return jb_buf_printf(&e->line, "%lld:%lld", code == JB_NONE ? 0LL : (long long)code,
                         sig == JB_NONE ? 0LL : (long long)sig);
}

static int put_tres(struct jb_exporting *e, int64_t cpus, int64_t memory, int64_t devices)
{
    int r = 0;
    if (cpus != JB_NONE)
        r = jb_buf_printf(&e->line, "billing=%lld,cpu=%lld,", (long long)cpus, (long long)cpus);
    if (r == 0 && devices != JB_NONE && devices > 0)
        r = jb_buf_printf(&e->line, "gres/device=%lld,", (long long)devices);
    if (r == 0 && memory != JB_NONE)
        r = jb_buf_printf(&e->line, "mem=%lldM,", (long long)(memory + 1048575) / 1048576);
    return r == 0 ? jb_buf_puts(&e->line, "node=1") : r;
}

static int64_t requested_cpus(const struct jb_row *row)
{
    return row->v[JB_COL_REQ_CPUS] == JB_NONE ? row->v[JB_COL_CPU_COUNT] : row->v[JB_COL_REQ_CPUS];
}

static int64_t requested_memory(const struct jb_row *row)
{
    return row->v[JB_COL_REQ_MEMORY] == JB_NONE ? row->v[JB_COL_MEMORY] : row->v[JB_COL_REQ_MEMORY];
}

/* CPUs times time, as sacct counts: what was held, used or not. */
static int64_t held(const struct jb_row *row)
{
    int64_t wall = jb_export_elapsed(row);
    int64_t cpus = row->v[JB_COL_CPU_COUNT];
    return wall == 0 ? 0 : wall == JB_NONE || cpus == JB_NONE ? JB_NONE : wall * cpus;
}

static int64_t seconds(int64_t us)
{
    return us == JB_NONE ? JB_NONE : us / 1000000;
}

static int put_limit(struct jb_exporting *e, const struct jb_row *row)
{
    int64_t limit = row->v[JB_COL_WALL_LIMIT];
    return limit == JB_NONE ? jb_buf_puts(&e->line, "UNLIMITED") : put_elapsed(e, limit);
}

FIELD(JobID, put_id(e, row, false))
FIELD(JobIDRaw, put_id(e, row, true))
FIELD(JobName, put_text(e, jb_export_name(e, row)))
FIELD(User, put_column(e, row, JB_COL_USER))
FIELD(UID, put_number(e, row->v[JB_COL_UID]))
FIELD(Group, put_text(e, jb_export_group(e, row->v[JB_COL_GID])))
FIELD(GID, put_number(e, row->v[JB_COL_GID]))
FIELD(Account, put_column(e, row, JB_COL_ACCOUNT))
FIELD(Cluster, put_text(e, e->options->cluster ? e->options->cluster : jb_export_site_host(e, row)))
FIELD(Partition, put_text(e, PARTITION))
FIELD(QOS, put_text(e, "normal"))
FIELD(Submit, put_time(e, row->v[JB_COL_SUBMITTED]))
FIELD(Eligible, put_time(e, row->v[JB_COL_ELIGIBLE]))
FIELD(Start, put_time(e, row->v[JB_COL_STARTED]))
FIELD(End, put_time(e, row->v[JB_COL_AT]))
FIELD(Elapsed, put_elapsed(e, jb_export_elapsed(row)))
FIELD(ElapsedRaw, put_number(e, seconds(jb_export_elapsed(row))))
FIELD(Planned, put_elapsed(e, row->v[JB_COL_WAIT]))
FIELD(State, put_text(e, jb_slurm_state(e, row, false)))
FIELD(StateFew, put_text(e, jb_slurm_state(e, row, true)))
FIELD(NNodes, put_number(e, 1))
FIELD(NCPUS, put_number(e, row->v[JB_COL_CPU_COUNT]))
FIELD(ReqCPUS, put_number(e, requested_cpus(row)))
FIELD(ReqMem, put_size(e, requested_memory(row)))
FIELD(ReqTRES, put_tres(e, requested_cpus(row), requested_memory(row), row->v[JB_COL_DEVICES]))
FIELD(AllocTRES, put_tres(e, row->v[JB_COL_CPU_COUNT], row->v[JB_COL_MEMORY], row->v[JB_COL_DEVICES]))
FIELD(Timelimit, put_limit(e, row))
FIELD(NodeList, put_text(e, has_run(row) ? jb_export_site_host(e, row) : "None assigned"))
FIELD(MaxRSS, put_kib(e, row->v[JB_COL_MEMORY_PEAK]))
FIELD(Nothing, row ? jb_buf_puts(&e->line, "") : 0)
FIELD(TotalCPU, put_cpu(e, jb_export_cpu(row)))
FIELD(UserCPU, put_cpu(e, row->v[JB_COL_CPU_USER]))
FIELD(SystemCPU, put_cpu(e, row->v[JB_COL_CPU_SYSTEM]))
FIELD(CPUTime, put_elapsed(e, held(row)))
FIELD(CPUTimeRAW, put_number(e, seconds(held(row))))
FIELD(UsedCPURAW, put_number(e, seconds(jb_export_cpu(row))))
FIELD(MaxDiskRead, put_kib(e, row->v[JB_COL_READ_BYTES]))
FIELD(MaxDiskWrite, put_kib(e, row->v[JB_COL_WRITTEN_BYTES]))
FIELD(MaxPages, put_number(e, row->v[JB_COL_MAJOR_FAULTS]))
FIELD(ConsumedEnergy,
      put_number(e, row->v[JB_COL_ENERGY] == JB_NONE ? JB_NONE : row->v[JB_COL_ENERGY] / 1000))
FIELD(Restarts, put_number(e, row->v[JB_COL_ATTEMPT] == JB_NONE ? JB_NONE : row->v[JB_COL_ATTEMPT] - 1))
FIELD(Reason, put_column(e, row, JB_COL_REASON))
FIELD(Comment, put_column(e, row, JB_COL_LABELS))

static const struct {
    const char *name;
    field_fn *put;
} fields[] = {
    {"JobID", field_JobID},
    {"JobIDRaw", field_JobIDRaw},
    {"JobName", field_JobName},
    {"User", field_User},
    {"UID", field_UID},
    {"Group", field_Group},
    {"GID", field_GID},
    {"Account", field_Account},
    {"Cluster", field_Cluster},
    {"Partition", field_Partition},
    {"QOS", field_QOS},
    {"Submit", field_Submit},
    {"Eligible", field_Eligible},
    {"Start", field_Start},
    {"End", field_End},
    {"Elapsed", field_Elapsed},
    {"ElapsedRaw", field_ElapsedRaw},
    {"Planned", field_Planned},
    {"State", field_State},
    {"ExitCode", field_ExitCode},
    {"NNodes", field_NNodes},
    {"AllocNodes", field_NNodes},
    {"NCPUS", field_NCPUS},
    {"AllocCPUS", field_NCPUS},
    {"ReqCPUS", field_ReqCPUS},
    {"ReqMem", field_ReqMem},
    {"ReqTRES", field_ReqTRES},
    {"AllocTRES", field_AllocTRES},
    {"Timelimit", field_Timelimit},
    {"NodeList", field_NodeList},
    {"MaxRSS", field_MaxRSS},
    {"MaxVMSize", field_Nothing}, /* nobody measures it: it says nothing about memory */
    {"TotalCPU", field_TotalCPU},
    {"UserCPU", field_UserCPU},
    {"SystemCPU", field_SystemCPU},
    {"CPUTime", field_CPUTime},
    {"CPUTimeRAW", field_CPUTimeRAW},
    {"MaxDiskRead", field_MaxDiskRead},
    {"MaxDiskWrite", field_MaxDiskWrite},
    {"MaxPages", field_MaxPages},
    {"ConsumedEnergy", field_ConsumedEnergy},
    {"ConsumedEnergyRaw", field_ConsumedEnergy},
    {"Restarts", field_Restarts},
    {"Reason", field_Reason},
    {"Comment", field_Comment},
    {"UsedCPURAW", field_UsedCPURAW}, /* not of sacct: CPU time that was used, where it has what was held */
    {"StateFew", field_StateFew},
};

int jb_slurm_field(const char *name, size_t len)
{
    for (size_t i = 0; i < JB_ARRAY_LEN(fields); i++)
        if (strlen(fields[i].name) == len && strncasecmp(fields[i].name, name, len) == 0)
            return (int)i;
    return -1;
}

const char *jb_slurm_near(const char *name)
{
    const char *names[JB_ARRAY_LEN(fields)];
    for (size_t i = 0; i < JB_ARRAY_LEN(fields); i++)
        names[i] = fields[i].name;
    return jb_did_you_mean(name, names, JB_ARRAY_LEN(names));
}

/* APEL takes no record that lacks one of these, or ends before it starts. Open XDMoD takes one without a time for one of 0. */
static const char *no_place(const struct jb_exporting *e, const struct jb_row *row)
{
    bool apel = false;
    for (size_t i = 0; i < e->n_fields; i++)
        apel = apel || fields[e->fields[i]].put == field_UsedCPURAW;
    if ((apel || e->numbers) && jb_export_elapsed(row) == JB_NONE)
        return "nobody saw for how long they ran";
    if (!apel)
        return NULL;
    if (!has_run(row))
        return "they did not run";
    if (jb_export_cpu(row) == JB_NONE)
        return "their CPU time is not known";
    return row->v[JB_COL_AT] < row->v[JB_COL_STARTED] ? "they ended before they started" : NULL;
}

int jb_export_line(struct jb_exporting *e, const struct jb_row *row)
{
    const char *why = no_place(e, row);
    if (why)
        return jb_export_leave(e, why);
    e->line.len = 0;
    for (size_t i = 0; i < e->n_fields; i++) {
        int r = i ? jb_buf_puts(&e->line, "|") : 0;
        if (r == 0)
            r = fields[e->fields[i]].put(e, row);
        if (r < 0)
            return r;
    }
    (void)fprintf(e->out, "%.*s\n", (int)e->line.len, e->line.data ? e->line.data : "");
    return 0;
}
