/*
 * gen_records.c - journals of a year that never was: a mix of users, jobs and ends like that of a small site.
 *
 * Owns: the files that it writes below the folder it is given. Runs in: itself. Privilege: none.
 *
 * The same arguments give the same bytes. Records are as jobbox writes them, one journal a month and host.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "report/line.h"

#define DAY_US (INT64_C(86400) * 1000000)

struct options {
    unsigned long count, seed, users, hosts;
    int year;
    const char *folder, *text;
};

struct random {
    uint64_t state;
};

static uint64_t next(struct random *r)
{
    uint64_t z = (r->state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static double unit(struct random *r)
{
    return (double)(next(r) >> 11) / 9007199254740992.0;
}

static double normal(struct random *r)
{
    return sqrt(-2 * log(1 - unit(r))) * cos(6.283185307179586 * unit(r));
}

/* A value around `middle` whose logarithm is normal: most are near, few are far. */
static double spread(struct random *r, double middle, double sigma)
{
    return middle * exp(sigma * normal(r));
}

struct job {
    unsigned user, account, host, cores;
    int64_t submitted, started, ended;
    double wait, wall, user_s, system_s;
    uint64_t memory, peak, limit_s;
    const char *reason;
    int exit_code, signal; /* -1: null */
    char limit[48];
};

static const struct {
    const char *reason;
    double share;
    int exit_code, signal;
} ends[] = {
    {"completed", 0.86, 0, -1},     {"failed", 0.07, 1, -1},        {"timeout", 0.02, -1, 15},
    {"oom", 0.015, -1, 9},          {"cancelled", 0.015, -1, 15},   {"signaled", 0.01, -1, 11},
    {"scratch_full", 0.003, 1, -1}, {"cpu_timeout", 0.002, -1, 15}, {"output_limit", 0.002, -1, 9},
    {"box_error", 0.003, -1, -1},
};

static void make_end(struct random *r, struct job *job)
{
    double x = unit(r);
    size_t i = 0;
    while (i + 1 < JB_ARRAY_LEN(ends) && x >= ends[i].share)
        x -= ends[i++].share;
    job->reason = ends[i].reason;
    job->exit_code = ends[i].exit_code;
    job->signal = ends[i].signal;
    job->limit[0] = '\0';
    if (jb_streq(job->reason, "timeout")) {
        job->wall = (double)job->limit_s;
        (void)snprintf(job->limit, sizeof(job->limit), "wall_time %llu.00s",
                       (unsigned long long)job->limit_s);
    }
    if (jb_streq(job->reason, "oom"))
        job->peak = job->memory;
}

static void make_job(struct random *r, const struct options *o, int64_t at, struct job *job)
{
    static const unsigned sizes[] = {1, 1, 1, 1, 2, 2, 4, 4, 8, 16};
    double busy = unit(r);
    *job = (struct job){.user = (unsigned)(busy * busy * (double)o->users)};
    job->account = job->user % 17;
    job->host = (unsigned)(next(r) % o->hosts);
    job->cores = sizes[next(r) % JB_ARRAY_LEN(sizes)];
    job->submitted = at;
    job->wait = unit(r) < 0.4 ? 0 : spread(r, 60, 1.8);
    job->wall = spread(r, 120, 1.9);
    if (job->wall > 86400)
        job->wall = 86400;
    job->limit_s = job->wall < 3600 ? 3600 : 172800;
    job->memory = (UINT64_C(1) << (next(r) % 6)) << 30;
    job->peak = (uint64_t)((double)job->memory * (0.05 + 0.9 * unit(r) * unit(r)));
    make_end(r, job);
    double share = 0.15 + 0.85 * sqrt(unit(r));
    job->user_s = job->wall * job->cores * share;
    job->system_s = job->user_s * 0.04 * unit(r);
    job->started = at + (int64_t)(job->wait * 1e6) + 17000;
    job->ended = job->started + (int64_t)(job->wall * 1e6);
}

static const char *or_null(int value, char buf[16])
{
    (void)snprintf(buf, 16, value < 0 ? "null" : "%d", value);
    return buf;
}

static void write_identity(FILE *f, const struct job *j, const char *id, const struct options *o,
                           unsigned long n)
{
    (void)fprintf(
        f,
        "{\"record_version\":1,\"id\":\"%s\",\"job\":\"%s\",\"attempt\":1,\"array_index\":null,\"name\":"
        "\"%s-%lu\",\"user\":\"user%03u\",\"uid\":%u,\"gid\":%u,\"account\":\"acct%02u\",\"labels\":{"
        "\"project\":\"p%02u\",\"stage\":\"%s\"},\"host\":\"node%02u\",\"boot_id\":\"9100b94e-3670-4546-b55d-"
        "63e715e29e66\",\"submit_host\":\"node%02u\",\"jobbox_version\":\"0.1.0\",\"spec_file\":\"/home/"
        "user%03u/"
        "job.yaml\",\"spec_sha256\":\"5906788c0050483a507924ad0f2c01d590f7d736d83a174e05601246d25f386e\","
        "\"image\":{"
        "\"ref\":\"%s\",\"kind\":\"host\",\"path\":\"/\",\"digest\":null},\"origin\":{\"kind\":\"cli\"},",
        id, id, j->cores > 4 ? "simulate" : "build", n % 2000, j->user, 1000 + j->user, 1000 + j->user,
        j->account, j->user % 40, n % 3 ? "test" : "prod", j->host, j->host, j->user,
        n % 5 ? "host" : "debian:12");
    (void)o;
}

static void write_times(FILE *f, const struct job *j)
{
    char t[4][JB_TIME_TEXT];
    (void)jb_format_time((uint64_t)j->submitted, t[0], sizeof(t[0]));
    (void)jb_format_time((uint64_t)j->started - 17000, t[1], sizeof(t[1]));
    (void)jb_format_time((uint64_t)j->started, t[2], sizeof(t[2]));
    (void)jb_format_time((uint64_t)j->ended, t[3], sizeof(t[3]));
    (void)fprintf(
        f,
        "\"times\":{\"submitted\":\"%s\",\"eligible\":\"%s\",\"setup_started\":\"%s\",\"wait_s\":%.6f,"
        "\"started\":"
        "\"%s\",\"ended\":\"%s\",\"destroyed\":\"%s\",\"setup_s\":0.016755,\"wall_s\":%.6f,\"paused_s\":0.0,"
        "\"teardown_s\":0.000796},",
        t[0], t[0], t[1], j->wait, t[2], t[3], t[3], j->wall);
}

static void write_grant(FILE *f, const struct job *j)
{
    (void)fprintf(
        f,
        "\"requested\":{\"account\":\"acct%02u\",\"command\":[\"/usr/bin/"
        "make\",\"-j%u\",\"check\"],\"name\":\"job\","
        "\"resources\":{\"cpus\":%u,\"memory\":%llu},\"limits\":{\"wall_time\":%llu},\"version\":1},"
        "\"granted\":{"
        "\"straddles\":{\"l3\":false,\"numa\":false,\"package\":false},\"cpus\":\"0-%u\",\"cpu_count\":%u,"
        "\"cores\":%u,"
        "\"l3s\":1,\"numa_nodes\":1,\"packages\":1,\"memory_nodes\":\"0\",\"kind\":null,\"exclusive\":true,"
        "\"memory_bytes\":%llu,\"swap_bytes\":0,\"pids\":4096,\"scratch_bytes\":2147483648,\"scratch_"
        "inodes\":1000000,"
        "\"devices\":[],\"wall_time_s\":%llu.0,\"cpu_time_s\":null,\"output_bytes\":1073741824},",
        j->account, j->cores, j->cores, (unsigned long long)j->memory, (unsigned long long)j->limit_s,
        j->cores - 1, j->cores, j->cores, (unsigned long long)j->memory, (unsigned long long)j->limit_s);
}

static void write_use(FILE *f, const struct job *j)
{
    (void)fprintf(
        f,
        "\"used\":{\"cpu_user_s\":%.6f,\"cpu_system_s\":%.6f,\"cpu_per_cpu_s\":{\"0\":%.6f},\"throttled_s\":"
        "null,"
        "\"memory_peak_bytes\":%llu,\"memory_peak_anon_bytes\":null,\"swap_peak_bytes\":null,\"oom_kills\":%"
        "d,"
        "\"pids_peak\":%u,\"pids_limit_hits\":0,\"read_bytes\":%llu,\"written_bytes\":%llu,\"read_ops\":null,"
        "\"write_ops\":null,\"scratch_end_bytes\":4096,\"scratch_peak_bytes\":null,\"minor_faults\":4811,"
        "\"major_faults\":1,\"voluntary_switches\":204,\"involuntary_switches\":137,\"pressure\":{\"cpu\":{"
        "\"some_s\":"
        "%.6f},\"memory\":{\"some_s\":0.0,\"full_s\":0.0},\"io\":{\"some_s\":0.0,\"full_s\":0.0}},\"energy_"
        "j\":null,"
        "\"net\":{\"rx_bytes\":0,\"tx_bytes\":0}},",
        j->user_s, j->system_s, j->user_s, (unsigned long long)j->peak, jb_streq(j->reason, "oom"),
        j->cores + 2, (unsigned long long)j->peak / 3, (unsigned long long)j->peak / 7, j->wall * 0.01);
}

static void write_end(FILE *f, const struct job *j)
{
    char code[16];
    char sig[16];
    (void)fprintf(
        f,
        "\"end\":{\"reason\":\"%s\",\"exit_code\":%s,\"signal\":%s,\"core_dumped\":false,\"limit\":%s%s%s,"
        "\"killed_by\":null,\"error\":null},",
        j->reason, or_null(j->exit_code, code), or_null(j->signal, sig), j->limit[0] ? "\"" : "",
        j->limit[0] ? j->limit : "null", j->limit[0] ? "\"" : "");
    (void)fputs(
        "\"isolation\":{\"namespaces\":[\"mount\",\"pid\",\"ipc\",\"uts\",\"network\",\"cgroup\"],\"root\":"
        "\"overlay\","
        "\"network\":\"none\",\"no_new_privs\":true,\"seccomp\":\"filter\",\"seccomp_filters\":1,\"caps\":[],"
        "\"caps_bounding\":[],\"host_uid\":0,\"host_gid\":0,\"cpus_allowed\":\"0\",\"mems_allowed\":\"0\","
        "\"cgroup_version\":{\"cpuset\":1,\"cpu\":null,\"cpuacct\":1,\"memory\":1,\"pids\":1,\"io\":1,"
        "\"unified\":2,"
        "\"devices\":null},\"limits\":{\"cpuset_cpus\":\"0\",\"cpuset_mems\":\"0\",\"cpu_weight\":null,"
        "\"cpu_max_us_per_100ms\":null,\"memory_max_bytes\":67108864,\"swap_max_bytes\":0,\"pids_max\":4096,"
        "\"io\":[]},"
        "\"cpu_pin\":\"cpuset\",\"devices\":null,\"degraded\":[]},\"output\":{\"stdout_bytes\":1811,\"stderr_"
        "bytes\":0,"
        "\"truncated\":false},\"artifacts\":[],\"warnings\":[]}\n",
        f);
}

/* The journal of the month in which it ended. They come nearly in order, so few are open at once; still each stays open. */
static FILE *journal_of(const struct options *o, FILE **files, const struct job *j)
{
    struct jb_utc utc = jb_utc((uint64_t)j->ended);
    size_t month = (size_t)((utc.year - o->year) * 12 + utc.month - 1);
    FILE **slot = &files[(month < 13 ? month : 13) * o->hosts + j->host];
    if (!*slot) {
        jb_autofree char *path =
            o->hosts == 1
                ? jb_asprintf("%s/%04d-%02d.jsonl", o->folder, utc.year, utc.month)
                : jb_asprintf("%s/node%02u/%04d-%02d.jsonl", o->folder, j->host, utc.year, utc.month);
        jb_autofree char *folder = jb_asprintf("%s/node%02u", o->folder, j->host);
        if (o->hosts > 1 && folder)
            (void)mkdir(folder, 0755);
        *slot = path ? fopen(path, "we") : NULL;
    }
    return *slot;
}

/* What sacct -P would say, for who counts with awk(1). */
static void write_text(FILE *f, const struct job *j, const char *id)
{
    char start[JB_TIME_TEXT];
    char end[JB_TIME_TEXT];
    (void)jb_format_time((uint64_t)j->started, start, sizeof(start));
    (void)jb_format_time((uint64_t)j->ended, end, sizeof(end));
    (void)fprintf(f, "%s|user%03u|acct%02u|node%02u|%s|%.19s|%.19s|%.6f|%.6f|%u|%.6f|%llu|%llu\n", id,
                  j->user, j->account, j->host, j->reason, start, end, j->wait, j->wall, j->cores,
                  j->user_s + j->system_s, (unsigned long long)j->memory, (unsigned long long)j->peak);
}

static int generate(const struct options *o)
{
    struct random r = {o->seed};
    struct tm new_year = {.tm_year = o->year - 1900, .tm_mday = 1};
    int64_t begin = (int64_t)timegm(&new_year) * 1000000;
    jb_autofree FILE **files = calloc(14 * o->hosts, sizeof(FILE *));
    jb_autofile FILE *text = o->text ? fopen(o->text, "we") : NULL;
    if (!files || (o->text && !text))
        return -1;
    for (unsigned long n = 0; n < o->count; n++) {
        struct job job;
        char id[27];
        int64_t at = begin + (int64_t)((double)n / (double)o->count * 365.0 * (double)DAY_US);
        make_job(&r, o, at, &job);
        jb_line_id_text((int64_t)((uint64_t)(at / 1000) << 16 | (next(&r) & 0xFFFF)), (int64_t)next(&r), id);
        FILE *f = journal_of(o, files, &job);
        if (!f)
            return -1;
        write_identity(f, &job, id, o, n);
        write_times(f, &job);
        write_grant(f, &job);
        write_use(f, &job);
        write_end(f, &job);
        if (text)
            write_text(text, &job, id);
    }
    int r_close = 0;
    for (size_t i = 0; i < 14 * o->hosts; i++)
        if (files[i] && fclose(files[i]) != 0)
            r_close = -1;
    return r_close;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"count", required_argument, NULL, 'n'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"users", required_argument, NULL, 'u'},
                                            {"hosts", required_argument, NULL, 'h'},
                                            {"year", required_argument, NULL, 'y'},
                                            {"text", required_argument, NULL, 't'},
                                            {0}};
    struct options o = {.count = 1000, .seed = 1, .users = 120, .hosts = 1, .year = 2025};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        unsigned long value = optarg ? strtoul(optarg, NULL, 10) : 0;
        if (c == 'n')
            o.count = value;
        else if (c == 's')
            o.seed = value;
        else if (c == 'u')
            o.users = value;
        else if (c == 'h')
            o.hosts = value;
        else if (c == 'y')
            o.year = (int)value;
        else if (c == 't')
            o.text = optarg;
        else
            return 2;
    }
    if (optind + 1 != argc || o.hosts == 0 || o.hosts > 64 || o.users == 0) {
        (void)fputs("Usage: gen_records [--count N] [--seed N] [--users N] [--hosts N] [--year N] [--text "
                    "FILE] FOLDER\n"
                    "Writes journals of a year into a folder that is there.\n",
                    stderr);
        return 2;
    }
    o.folder = argv[optind];
    if (generate(&o) == 0)
        return 0;
    (void)fprintf(stderr, "gen_records: %s: %s\n", o.folder, strerror(errno));
    return 1;
}
