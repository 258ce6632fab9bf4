/*
 * site.h - what the administrator decides: jobbox.conf.yaml.
 *
 * Owns: all memory a struct jb_site points to. Runs in: every process. Privilege: none; pure function of the
 * text. Source of every field: the key of the same name, documented in configs/jobbox.conf.yaml.
 *
 * A missing file means the defaults; a file that cannot be read or holds an error stops every command.
 */
#ifndef JB_SITE_SITE_H
#define JB_SITE_SITE_H

#include "cgroup/scope.h"
#include "image/policy.h"
#include "spec/spec.h"

enum jb_scratch_backend { JB_SCRATCH_TMPFS, JB_SCRATCH_DISK, JB_SCRATCH_MAX };
/* How an ordinary user's box gets its throwaway layer. */
enum jb_site_overlay {
    JB_SITE_OVERLAY_AUTO,   /* the kernel's, and fuse-overlayfs where that cannot serve */
    JB_SITE_OVERLAY_KERNEL, /* the kernel's alone */
    JB_SITE_OVERLAY_FUSE,   /* fuse-overlayfs always */
    JB_SITE_OVERLAY_MAX
};
enum jb_sink_kind {
    JB_SINK_FILE,     /* path: a line is added */
    JB_SINK_PROGRAM,  /* argv: reads the record on standard input */
    JB_SINK_JOURNALD, /* path: a socket; NULL: systemd's own */
    JB_SINK_SYSLOG,   /* path: a socket; NULL: /dev/log */
    JB_SINK_TEXTFILE, /* path: counters for Prometheus */
    JB_SINK_MAX,
};
enum jb_site_net { JB_SITE_NET_AUTO, JB_SITE_NET_PASTA, JB_SITE_NET_SLIRP, JB_SITE_NET_MAX };
enum jb_site_hooks { JB_SITE_HOOKS_REFUSE, JB_SITE_HOOKS_ALLOW, JB_SITE_HOOKS_MAX };
enum jb_sync { JB_SYNC_ALWAYS, JB_SYNC_NEVER, JB_SYNC_BATCH, JB_SYNC_MAX };

enum jb_budget_of {
    JB_BUDGET_CORE_HOURS,
    JB_BUDGET_GIB_HOURS,
    JB_BUDGET_DEVICE_HOURS,
    JB_BUDGET_COST,
    JB_BUDGET_MAX
};

/* A default and a maximum of one resource; JB_UNSET: none. */
struct jb_bound {
    uint64_t deflt;
    uint64_t max;
};

struct jb_bind_rule {
    char *path; /* absolute and clean: this and everything beneath, by components */
    bool rw;    /* may be bound read-write too */
};

/* Names of accounts or users, and what each is promised against others, in millionths. */
struct jb_site_share {
    char *name;
    uint64_t micro;
};
struct jb_site_shares {
    struct jb_site_share *items;
    size_t len;
};

/* Who may book on an account: login names, and "@" with the name or the number of a group. */
struct jb_site_account {
    char *name;
    struct jb_strv members;
};

/* What each user or account may have in the queue at most; JB_UNSET: no limit. */
struct jb_site_limits {
    uint64_t running, queued, cpus;
};

/* Time in which room of the machine is kept for some; for nobody: maintenance. */
struct jb_site_window {
    char *name;
    uint64_t from_us, to_us;
    uint64_t cpus; /* hardware threads; JB_UNSET: all */
    struct jb_strv users, accounts;
};

struct jb_site_sink {
    enum jb_sink_kind kind;
    char *path;
    struct jb_strv argv;
};

/* What an hour costs; the last one that fits counts. */
struct jb_site_price {
    char *account;   /* a pattern as of fnmatch(3); NULL: every account, none too */
    char *from, *to; /* days or months (report/period.h), both included; NULL: no bound */
    uint64_t core_hour, gib_hour, device_hour; /* millionths of the currency */
};

/* What an account may use in a month. */
struct jb_site_budget {
    char *account;        /* a pattern; each account that fits has it for itself */
    enum jb_budget_of of; /* what is counted */
    uint64_t soft, hard;  /* millionths; JB_UNSET: none */
};

struct jb_site {
    char *file; /* what was read; NULL when built-in defaults */

    struct {
        char *runtime;       /* /run/jobbox; rootless: NULL = decided by jb_state_open */
        char *state;         /* /var/lib/jobbox */
        char *cgroup_parent; /* NULL: below the starter's own cgroup, in every hierarchy */
    } paths;

    struct jb_bound cpus;           /* default 1 */
    struct jb_bound memory;         /* default none: only what the outer cgroup allows */
    struct jb_bound swap;           /* default 0 */
    struct jb_bound pids;           /* default 4096, never unlimited */
    struct jb_bound scratch;        /* default 2 GiB */
    struct jb_bound scratch_inodes; /* default 1,000,000 */
    struct jb_bound wall_time;      /* ns; default none */
    struct jb_bound cpu_time;
    struct jb_bound output; /* bytes; default 1 GiB */
    struct jb_bound grace;  /* ns; default 10 s, max 5 min */
    struct jb_bound idle;

    struct jb_cpus reserved_cpus; /* never granted */
    enum jb_scratch_backend scratch_backend;
    enum jb_site_overlay overlay; /* default auto */
    struct {
        enum jb_cg_backend backend;  /* how groups are made and filled; default direct */
        enum jb_systemd_use systemd; /* whether its manager is asked for a scope; default auto */
        char *slice;                 /* the scope's; NULL: the one that the starter is in */
    } cgroups;

    struct {
        struct jb_bind_rule *allow; /* for submitters who are not root; n == 0 and !any: none allowed */
        size_t n_allow;
        bool any; /* default true: a submitter may bind what he can read himself */
        struct jb_strv
            deny; /* nobody may bind these or anything beneath (/proc, /sys, /dev, state folders) */
    } binds;

    struct {
        struct jb_strv hide; /* paths of the host shown as empty in `image: host` */
    } host_image;

    struct jb_image_policy images;

    struct {
        bool root_in_box;  /* may ask for `user: root-in-box`; default true */
        bool any_ids;      /* root may ask for `user: uid:gid`; default true */
        bool host_network; /* may ask for `network: host`; default true */
        bool user_network; /* may ask for `network: user`; default true */
    } policy;

    struct {
        struct jb_strv cdi_dirs;  /* where CDI files are; a later one wins. Default /etc/cdi, /var/run/cdi */
        struct jb_strv allow;     /* patterns of plain nodes that may be asked for; default none */
        struct jb_strv exclusive; /* patterns of those of them that one box has at a time; default none */
        struct jb_strv shared; /* patterns of CDI names that several boxes may have at once; default none */
        enum jb_site_hooks hooks; /* of CDI files; default refuse */
    } devices;

    struct {
        struct jb_strv allow;    /* "10.0.0.0/8": where `network: user` leads; default 0.0.0.0/0 and ::/0 */
        enum jb_site_net helper; /* what carries packets; default what is here, pasta first */
        bool host_loopback;      /* and to what listens on the host's 127.0.0.1; default false */
        bool dns;                /* and to the host's name service; default true */
    } network;

    struct {
        uint64_t max_bytes; /* of one job's artifacts; default 64 GiB */
        uint64_t max_files; /* default 100,000 */
    } artifacts;

    struct {                           /* what `keep` keeps of one submitter's boxes; JB_UNSET: no limit */
        uint64_t max_count;            /* default 20; 0: nothing is kept */
        uint64_t max_bytes, max_files; /* together; default 20 GiB, 1,000,000 */
        uint64_t max_age;              /* ns; default 7 days */
    } kept;

    bool allow_degraded[JB_DEGRADE_MAX]; /* what every box may do without */

    struct {
        bool private_jobs;                /* others' jobs are not even listed; default false */
        struct jb_strv operators, admins; /* login names; root is both */
        bool any_account;                 /* accounts are whatever a spec says; default true */
        struct jb_site_account *accounts; /* else these alone, for their members and administrators */
        size_t n_accounts;
        uint64_t half_life; /* ns; of use, for fair share; default 14 days */
        struct jb_site_shares account_shares, user_shares;
        struct jb_site_limits user_limits, account_limits;
        uint64_t array;       /* tasks of one array at most; default 10,000 */
        uint64_t assume_wall; /* ns; how long a job without wall_time is taken to run; default 1 h */
        uint64_t idle;        /* ns; a user's own daemon with nothing to do ends after this; default 10 min */
        uint64_t keep;        /* ns; how long after its end a job is kept; default 30 d; JB_UNSET: for ever */
        uint64_t scratch;     /* bytes that jobs may promise each other; JB_UNSET: as much as there is */
        uint64_t pids;        /* likewise */
        struct jb_site_window *windows;
        size_t n_windows;
        struct jb_strv mail; /* argv of a program that takes a whole mail on standard input; empty: no mail */
        bool notify_programs; /* submitters may have a program of theirs run; default false */
        char *metrics;        /* file that metrics are written to; NULL: none */
    } queue;

    struct jb_strv env; /* KEY=value given to every job; the spec wins */

    struct jb_site_sink *sinks; /* besides the journal */
    size_t n_sinks;
    enum jb_sync journal_sync; /* default always */

    struct jb_site_price *prices; /* default none */
    size_t n_prices;
    struct jb_site_budget *budgets; /* default none */
    size_t n_budgets;
    char *currency; /* a word for columns of cost; NULL: none */
};

/* Built-in defaults. */
int jb_site_default(struct jb_site **ret);

/* Parses text over the defaults; diagnostics as for specs. */
int jb_site_parse(const char *file, const char *text, size_t len, struct jb_site **ret,
                  struct jb_diags *diags);

/*
 * Loads `path`; NULL: $JOBBOX_CONFIG when the real and effective uids agree, else
 * /etc/jobbox/jobbox.conf.yaml (absent: defaults). A file named by the user that is absent is an error. A
 * config read by root must belong to root and be writable by nobody else.
 */
int jb_site_load(const char *path, struct jb_site **ret, struct jb_diags *diags);

void jb_site_free(struct jb_site *site);
static inline void jb_cleanup_site(struct jb_site **site)
{
    jb_site_free(*site);
}
#define jb_autosite __attribute__((cleanup(jb_cleanup_site)))

#endif
