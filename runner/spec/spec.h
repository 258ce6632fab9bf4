/*
 * spec.h - the job spec: what the submitter wishes, as YAML text and as struct jb_spec.
 *
 * Owns: all memory a struct jb_spec points to. Runs in: the client, unprivileged. Privilege: none; pure
 * functions of the text. Source of every field: the key of the same name in the spec, see docs/jobspec.md.
 *
 * A uint64_t that was not said is JB_UNSET; a string that was not said is NULL. Defaults are the plan's
 * business (they depend on the site), not the parser's, but for those written at the field.
 */
#ifndef JB_SPEC_SPEC_H
#define JB_SPEC_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpus.h"
#include "base/error.h"
#include "base/str.h"
#include "base/units.h"

#define JB_SPEC_FILE_MAX  (1U << 20) /* bytes of a spec file */
#define JB_SPEC_DEPTH_MAX 16         /* nesting of collections */
#define JB_SPEC_NODES_MAX 20000      /* scalars and collections */

#define JB_SPEC_HUGE_SIZES_MAX 8 /* sizes of huge pages in one spec; no machine has as many */

#define JB_DEVICES_MAX  1024 /* that can be counted in one wish */
#define JB_DEVICE_COUNT " x" /* between a class of devices and how many: no name holds a blank */

/* Every key that can be named in a message, by full path. The order is that of the reference documentation.
 */
enum jb_key {
    JB_KEY_VERSION,
    JB_KEY_NAME,
    JB_KEY_IMAGE,
    JB_KEY_COMMAND,
    JB_KEY_SCRIPT,
    JB_KEY_WORKDIR,
    JB_KEY_USER,
    JB_KEY_ENV,
    JB_KEY_PASS_ENV,
    JB_KEY_RESOURCES,
    JB_KEY_CPUS,
    JB_KEY_CPU_UNIT,
    JB_KEY_LOCALITY,
    JB_KEY_STRICT,
    JB_KEY_CPU_KIND,
    JB_KEY_CPU_SET,
    JB_KEY_EXCLUSIVE,
    JB_KEY_CPU_LIMIT,
    JB_KEY_CPU_WEIGHT,
    JB_KEY_MEMORY,
    JB_KEY_MEMORY_HIGH,
    JB_KEY_SWAP,
    JB_KEY_PIDS,
    JB_KEY_SCRATCH,
    JB_KEY_SCRATCH_INODES,
    JB_KEY_IO,
    JB_KEY_HUGEPAGES,
    JB_KEY_DEVICES,
    JB_KEY_LIMITS,
    JB_KEY_WALL_TIME,
    JB_KEY_CPU_TIME,
    JB_KEY_OUTPUT,
    JB_KEY_GRACE,
    JB_KEY_IDLE,
    JB_KEY_SIGNAL,
    JB_KEY_WARN,
    JB_KEY_MOUNTS,
    JB_KEY_NETWORK,
    JB_KEY_HOSTNAME,
    JB_KEY_REPRODUCIBLE,
    JB_KEY_STDIN,
    JB_KEY_STDOUT,
    JB_KEY_STDERR,
    JB_KEY_ARTIFACTS,
    JB_KEY_CHANGES,
    JB_KEY_KEEP,
    JB_KEY_PRIORITY,
    JB_KEY_DEPENDS_ON,
    JB_KEY_ARRAY,
    JB_KEY_RETRY,
    JB_KEY_BEGIN,
    JB_KEY_DEADLINE,
    JB_KEY_NOTIFY,
    JB_KEY_ACCOUNT,
    JB_KEY_LABELS,
    JB_KEY_ALLOW_DEGRADED,
    JB_KEY_MAX,
};

/* "resources.memory" and the like. */
const char *jb_key_path(enum jb_key key);

struct jb_pos {
    unsigned line; /* from 1; 0: not in the file */
    unsigned column;
};

enum jb_cpu_unit { JB_CPU_UNIT_CORE, JB_CPU_UNIT_THREAD, JB_CPU_UNIT_MAX };
enum jb_locality { JB_LOCALITY_NONE, JB_LOCALITY_L3, JB_LOCALITY_NUMA, JB_LOCALITY_PACKAGE, JB_LOCALITY_MAX };
enum jb_cpu_kind { JB_CPU_KIND_ANY, JB_CPU_KIND_PERFORMANCE, JB_CPU_KIND_EFFICIENCY, JB_CPU_KIND_MAX };
enum jb_network { JB_NETWORK_NONE, JB_NETWORK_HOST, JB_NETWORK_USER, JB_NETWORK_MAX };
enum jb_keep { JB_KEEP_NEVER, JB_KEEP_ON_FAILURE, JB_KEEP_ALWAYS, JB_KEEP_MAX };
enum jb_mount_mode { JB_MOUNT_RO, JB_MOUNT_RW, JB_MOUNT_MODE_MAX };
/* Signals that a spec may name: those that a program can be expected to handle. */
enum jb_job_signal {
    JB_SIGNAL_TERM,
    JB_SIGNAL_INT,
    JB_SIGNAL_HUP,
    JB_SIGNAL_QUIT,
    JB_SIGNAL_USR1,
    JB_SIGNAL_USR2,
    JB_SIGNAL_ALRM,
    JB_SIGNAL_XCPU,
    JB_SIGNAL_MAX,
};
enum jb_warn_to { JB_WARN_ALL, JB_WARN_MAIN, JB_WARN_TO_MAX }; /* every process, or the first one alone */
enum jb_artifact_when {
    JB_ARTIFACT_ON_SUCCESS,
    JB_ARTIFACT_ON_FAILURE,
    JB_ARTIFACT_ALWAYS,
    JB_ARTIFACT_WHEN_MAX
};
enum jb_depend_when { JB_WHEN_SUCCESS, JB_WHEN_FAILURE, JB_WHEN_ANY, JB_WHEN_MAX };

/* Who the job is inside the box. */
enum jb_user_kind { JB_USER_SUBMITTER, JB_USER_ROOT_IN_BOX, JB_USER_IDS, JB_USER_KIND_MAX };

/* What a box may be made without, when the spec or the site names it; names as in `allow_degraded`. */
enum jb_degradable {
    JB_DEGRADE_CPUSET,    /* pin by affinity only: the job could undo it */
    JB_DEGRADE_CPU,       /* no CPU weight or bandwidth limit */
    JB_DEGRADE_MEMORY,    /* no memory limit */
    JB_DEGRADE_PIDS,      /* no process limit */
    JB_DEGRADE_IO,        /* no I/O limit */
    JB_DEGRADE_SCRATCH,   /* no hard cap on the upper */
    JB_DEGRADE_NETWORK,   /* no network namespace of its own: the host's */
    JB_DEGRADE_HUGEPAGES, /* no limit of huge pages */
    JB_DEGRADE_DEVICES,   /* nothing but the box's /dev keeps the job from devices it was not granted */
    JB_DEGRADE_MAX,
};

/* Names of enum values, as written in the spec. NULL beyond the last. */
const char *jb_cpu_unit_name(enum jb_cpu_unit v);
const char *jb_locality_name(enum jb_locality v);
const char *jb_cpu_kind_name(enum jb_cpu_kind v);
const char *jb_network_name(enum jb_network v);
const char *jb_keep_name(enum jb_keep v);
const char *jb_mount_mode_name(enum jb_mount_mode v);
const char *jb_artifact_when_name(enum jb_artifact_when v);
const char *jb_degradable_name(enum jb_degradable v);
const char *jb_job_signal_name(enum jb_job_signal v);
/* The sizes of huge pages that there are on any machine: "2MiB" and 2097152. 0 and NULL for any other. */
uint64_t jb_huge_page_size(const char *name);
const char *jb_huge_page_name(uint64_t bytes);
int jb_job_signal_number(enum jb_job_signal v); /* SIGTERM ... */

struct jb_spec_mount {
    bool is_tmpfs;
    uint64_t tmpfs_bytes;    /* when is_tmpfs */
    char *source;            /* when not: absolute host path, or relative to where jobbox is started */
    char *target;            /* absolute and clean, in the box */
    enum jb_mount_mode mode; /* default ro; a tmpfs is always rw */
    struct jb_pos pos;
};

struct jb_spec_artifact {
    char *path;                 /* glob, absolute or relative to workdir; no ".." component */
    char *to;                   /* host folder (ends in "/") or file; relative to where jobbox was started */
    enum jb_artifact_when when; /* default on_success */
    uint64_t max_bytes, max_files; /* JB_UNSET: the site's */
    struct jb_pos pos;
};

struct jb_spec_dependency {
    bool singleton; /* every earlier job of the same name and user; `job` and `when` mean nothing then */
    uint64_t job;
    enum jb_depend_when when;
};

/* Of what in a job's life somebody is told. */
enum jb_notify_on { JB_NOTIFY_BEGIN, JB_NOTIFY_END, JB_NOTIFY_FAIL, JB_NOTIFY_MAX };

struct jb_spec {
    char *file; /* as given by the user, for messages */
    char *text; /* what it was parsed from, text_len bytes */
    size_t text_len;
    char sha256[65]; /* of the text, in hexadecimal */

    unsigned version; /* 1 */
    char *name;       /* [A-Za-z0-9._-]{1,64}, not starting with '-' or '.'; NULL: the file's base name */
    char *image;      /* default "host" */
    struct jb_strv command; /* exactly one of command and script is set */
    char *script;
    char *workdir; /* absolute and clean */
    enum jb_user_kind user_kind;
    uint32_t uid, gid;       /* with JB_USER_IDS */
    struct jb_strv env;      /* KEY=value, in file order */
    struct jb_strv pass_env; /* names, or prefixes ending in '*' */

    struct {
        uint64_t cpus;
        enum jb_cpu_unit cpu_unit;
        enum jb_locality locality;
        bool locality_said;
        bool strict;
        enum jb_cpu_kind cpu_kind;
        bool cpu_set_said;
        struct jb_cpus cpu_set;
        bool exclusive_said;
        bool exclusive;           /* default true */
        bool partition;           /* exclusive: partition; `exclusive` too then */
        uint64_t cpu_limit_micro; /* CPUs, in millionths */
        uint64_t cpu_weight;      /* 1-10000 as cgroup v2, where 100 is the kernel's default */
        uint64_t memory;
        uint64_t memory_high; /* less than memory */
        uint64_t swap;
        uint64_t pids;
        uint64_t scratch;
        uint64_t scratch_inodes;
        uint64_t io_read_bps, io_write_bps, io_read_iops, io_write_iops;
        struct jb_spec_hugepages {
            uint64_t page, bytes;            /* bytes of one page; most bytes in such pages */
        } hugepages[JB_SPEC_HUGE_SIZES_MAX]; /* each size once, the smallest first */
        size_t n_hugepages;
        struct jb_strv
            devices; /* "/dev/fuse", "vendor.com/gpu=0"; "vendor.com/gpu x2" for a class and a count */
    } resources;

    struct {
        uint64_t wall_time_ns;
        uint64_t cpu_time_ns;
        uint64_t output_bytes;
        uint64_t grace_ns;
        uint64_t idle_ns;
        enum jb_job_signal signal; /* begins the end; default TERM */
        struct {
            bool at_said;              /* rightly or not */
            unsigned percent;          /* of the limit; 0: `left_ns` says */
            uint64_t left_ns;          /* before the limit; JB_UNSET with percent 0: no warning is wished */
            enum jb_job_signal signal; /* default USR1 */
            enum jb_warn_to to;
        } warn;
    } limits;

    struct jb_spec_mount *mounts;
    size_t n_mounts;
    enum jb_network network; /* default none */
    char *hostname;          /* NULL: made of the name */
    bool reproducible;       /* default false */
    char *stdin_path;        /* NULL: /dev/null */
    char *stdout_path;       /* NULL: jobbox's own; may hold %j %n %a %u %% */
    char *stderr_path;
    bool stderr_merge; /* stderr: merge */
    struct jb_spec_artifact *artifacts;
    size_t n_artifacts;
    char *changes_path; /* NULL: not asked for; patterns as in stdout_path */
    enum jb_keep keep;

    int64_t priority;
    struct jb_spec_dependency *depends_on;
    size_t n_depends_on;
    char *array; /* checked text "1-100%10", "0,3,5-9:2" */
    uint64_t retry_max;
    struct jb_strv retry_on; /* end reasons and "exit:N" */
    uint64_t
        retry_backoff_ns; /* before the first retry, twice as long before each further one; default 10 s */
    uint64_t retry_memory_micro; /* what memory grows by after oom, in millionths; JB_UNSET: not */
    char *begin, *deadline;      /* as jb_parse_when reads them; relative ones count from submission */
    struct {
        bool on[JB_NOTIFY_MAX]; /* default: end and fail */
        char *mail;             /* an address */
        struct jb_strv program; /* argv, run as the submitter with the news on standard input */
    } notify;
    char *account;
    struct jb_strv labels; /* key=value */
    bool allow_degraded[JB_DEGRADE_MAX];

    struct jb_pos pos[JB_KEY_MAX]; /* where each key stood */
};

/* One fault in a spec or site file. */
struct jb_diag {
    unsigned line, column; /* from 1 */
    char *text;            /* "key.path: what is wrong; what was expected", without file and position */
};

/* All faults of one file, in order of position. Zero-initialise; release with jb_diags_free, empty after success. */
struct jb_diags {
    char *file;
    struct jb_diag *items;
    size_t len;
};
void jb_diags_free(struct jb_diags *diags);

/* "file:line:column: text\n" for each, allocated. */
char *jb_diags_format(const struct jb_diags *diags);

/*
 * Parses `len` bytes of YAML. On success *ret_spec is the caller's (jb_spec_free). On failure returns -EINVAL
 * and `diags` holds every fault found, at least one; -ENOMEM otherwise. `file` is only used in messages.
 */
int jb_spec_parse(const char *file, const char *text, size_t len, struct jb_spec **ret_spec,
                  struct jb_diags *diags);

/* The same for a box that stands (jobbox create): it need not say what to run. */
int jb_spec_parse_box(const char *file, const char *text, size_t len, struct jb_spec **ret_spec,
                      struct jb_diags *diags);
int jb_spec_load_box(const char *path, struct jb_spec **ret_spec, struct jb_diags *diags);

/* Reads and parses a file ("-": standard input). A file that cannot be read is a diagnostic at line 0. */
int jb_spec_load(const char *path, struct jb_spec **ret_spec, struct jb_diags *diags);

void jb_spec_free(struct jb_spec *spec);
static inline void jb_cleanup_spec(struct jb_spec **spec)
{
    jb_spec_free(*spec);
}
#define jb_autospec __attribute__((cleanup(jb_cleanup_spec)))

/* "job.yaml:12:3: resources.memory" for a key the plan finds fault with; without position if it was not said.
 */
const char *jb_spec_where(const struct jb_spec *spec, enum jb_key key, char *buf, size_t len);

/* Canonical JSON of everything the spec says (unsaid keys left out), sorted keys. The record's `requested`
 * uses it. */
struct json_t;
struct json_t *jb_spec_to_json(const struct jb_spec *spec);

#endif
