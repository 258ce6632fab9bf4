/*
 * keys.c - the names of keys and of the values of enumerations.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include "spec/words.h"

#include <signal.h>

#include "base/cleanup.h"

const char *jb_key_path(enum jb_key key)
{
    static const char *const paths[JB_KEY_MAX] = {
        [JB_KEY_VERSION] = "version",
        [JB_KEY_NAME] = "name",
        [JB_KEY_IMAGE] = "image",
        [JB_KEY_COMMAND] = "command",
        [JB_KEY_SCRIPT] = "script",
        [JB_KEY_WORKDIR] = "workdir",
        [JB_KEY_USER] = "user",
        [JB_KEY_ENV] = "env",
        [JB_KEY_PASS_ENV] = "pass_env",
        [JB_KEY_RESOURCES] = "resources",
        [JB_KEY_CPUS] = "resources.cpus",
        [JB_KEY_CPU_UNIT] = "resources.cpu_unit",
        [JB_KEY_LOCALITY] = "resources.locality",
        [JB_KEY_STRICT] = "resources.strict",
        [JB_KEY_CPU_KIND] = "resources.cpu_kind",
        [JB_KEY_CPU_SET] = "resources.cpu_set",
        [JB_KEY_EXCLUSIVE] = "resources.exclusive",
        [JB_KEY_CPU_LIMIT] = "resources.cpu_limit",
        [JB_KEY_CPU_WEIGHT] = "resources.cpu_weight",
        [JB_KEY_MEMORY] = "resources.memory",
        [JB_KEY_MEMORY_HIGH] = "resources.memory_high",
        [JB_KEY_SWAP] = "resources.swap",
        [JB_KEY_PIDS] = "resources.pids",
        [JB_KEY_SCRATCH] = "resources.scratch",
        [JB_KEY_SCRATCH_INODES] = "resources.scratch_inodes",
        [JB_KEY_IO] = "resources.io",
        [JB_KEY_HUGEPAGES] = "resources.hugepages",
        [JB_KEY_DEVICES] = "resources.devices",
        [JB_KEY_LIMITS] = "limits",
        [JB_KEY_WALL_TIME] = "limits.wall_time",
        [JB_KEY_CPU_TIME] = "limits.cpu_time",
        [JB_KEY_OUTPUT] = "limits.output",
        [JB_KEY_GRACE] = "limits.grace",
        [JB_KEY_IDLE] = "limits.idle",
        [JB_KEY_SIGNAL] = "limits.signal",
        [JB_KEY_WARN] = "limits.warn",
        [JB_KEY_MOUNTS] = "mounts",
        [JB_KEY_NETWORK] = "network",
        [JB_KEY_HOSTNAME] = "hostname",
        [JB_KEY_REPRODUCIBLE] = "reproducible",
        [JB_KEY_STDIN] = "stdin",
        [JB_KEY_STDOUT] = "stdout",
        [JB_KEY_STDERR] = "stderr",
        [JB_KEY_ARTIFACTS] = "artifacts",
        [JB_KEY_CHANGES] = "changes",
        [JB_KEY_KEEP] = "keep",
        [JB_KEY_PRIORITY] = "priority",
        [JB_KEY_DEPENDS_ON] = "depends_on",
        [JB_KEY_ARRAY] = "array",
        [JB_KEY_RETRY] = "retry",
        [JB_KEY_BEGIN] = "begin",
        [JB_KEY_DEADLINE] = "deadline",
        [JB_KEY_NOTIFY] = "notify",
        [JB_KEY_ACCOUNT] = "account",
        [JB_KEY_LABELS] = "labels",
        [JB_KEY_ALLOW_DEGRADED] = "allow_degraded",
    };
    return (unsigned)key < JB_KEY_MAX ? paths[key] : NULL;
}

const char *const jb_words_cpu_unit[JB_CPU_UNIT_MAX] = {
    [JB_CPU_UNIT_CORE] = "core",
    [JB_CPU_UNIT_THREAD] = "thread",
};
const char *const jb_words_locality[JB_LOCALITY_MAX] = {
    [JB_LOCALITY_NONE] = "none",
    [JB_LOCALITY_L3] = "l3",
    [JB_LOCALITY_NUMA] = "numa",
    [JB_LOCALITY_PACKAGE] = "package",
};
const char *const jb_words_cpu_kind[JB_CPU_KIND_MAX] = {
    [JB_CPU_KIND_ANY] = "any",
    [JB_CPU_KIND_PERFORMANCE] = "performance",
    [JB_CPU_KIND_EFFICIENCY] = "efficiency",
};
const char *const jb_words_network[JB_NETWORK_MAX] = {
    [JB_NETWORK_NONE] = "none",
    [JB_NETWORK_HOST] = "host",
    [JB_NETWORK_USER] = "user",
};
const char *const jb_words_keep[JB_KEEP_MAX] = {
    [JB_KEEP_NEVER] = "never",
    [JB_KEEP_ON_FAILURE] = "on_failure",
    [JB_KEEP_ALWAYS] = "always",
};
const char *const jb_words_mount_mode[JB_MOUNT_MODE_MAX] = {
    [JB_MOUNT_RO] = "ro",
    [JB_MOUNT_RW] = "rw",
};
const char *const jb_words_notify[JB_NOTIFY_MAX] = {
    [JB_NOTIFY_BEGIN] = "begin",
    [JB_NOTIFY_END] = "end",
    [JB_NOTIFY_FAIL] = "fail",
};
const char *const jb_words_when[JB_WHEN_MAX] = {
    [JB_WHEN_SUCCESS] = "success",
    [JB_WHEN_FAILURE] = "failure",
    [JB_WHEN_ANY] = "any",
};
const char *const jb_words_artifact_when[JB_ARTIFACT_WHEN_MAX] = {
    [JB_ARTIFACT_ON_SUCCESS] = "on_success",
    [JB_ARTIFACT_ON_FAILURE] = "on_failure",
    [JB_ARTIFACT_ALWAYS] = "always",
};
const char *const jb_words_degradable[JB_DEGRADE_MAX] = {
    [JB_DEGRADE_CPUSET] = "cpuset",   [JB_DEGRADE_CPU] = "cpu",         [JB_DEGRADE_MEMORY] = "memory",
    [JB_DEGRADE_PIDS] = "pids",       [JB_DEGRADE_IO] = "io",           [JB_DEGRADE_SCRATCH] = "scratch",
    [JB_DEGRADE_NETWORK] = "network", [JB_DEGRADE_DEVICES] = "devices", [JB_DEGRADE_HUGEPAGES] = "hugepages",
};

const char *const jb_words_signal[JB_SIGNAL_MAX] = {
    [JB_SIGNAL_TERM] = "TERM", [JB_SIGNAL_INT] = "INT",   [JB_SIGNAL_HUP] = "HUP",
    [JB_SIGNAL_QUIT] = "QUIT", [JB_SIGNAL_USR1] = "USR1", [JB_SIGNAL_USR2] = "USR2",
    [JB_SIGNAL_ALRM] = "ALRM", [JB_SIGNAL_XCPU] = "XCPU",
};
const char *const jb_words_warn_to[JB_WARN_TO_MAX] = {
    [JB_WARN_ALL] = "all",
    [JB_WARN_MAIN] = "main",
};

/* Every size that some architecture has. */
static const struct {
    const char *name;
    uint64_t bytes;
} huge_pages[] = {
    {"64KiB", UINT64_C(64) << 10},   {"512KiB", UINT64_C(512) << 10}, {"1MiB", UINT64_C(1) << 20},
    {"2MiB", UINT64_C(2) << 20},     {"4MiB", UINT64_C(4) << 20},     {"8MiB", UINT64_C(8) << 20},
    {"16MiB", UINT64_C(16) << 20},   {"32MiB", UINT64_C(32) << 20},   {"256MiB", UINT64_C(256) << 20},
    {"512MiB", UINT64_C(512) << 20}, {"1GiB", UINT64_C(1) << 30},     {"2GiB", UINT64_C(2) << 30},
    {"16GiB", UINT64_C(16) << 30},
};

uint64_t jb_huge_page_size(const char *name)
{
    for (size_t i = 0; i < JB_ARRAY_LEN(huge_pages); i++)
        if (jb_streq(huge_pages[i].name, name))
            return huge_pages[i].bytes;
    return 0;
}

const char *jb_huge_page_name(uint64_t bytes)
{
    for (size_t i = 0; i < JB_ARRAY_LEN(huge_pages); i++)
        if (huge_pages[i].bytes == bytes)
            return huge_pages[i].name;
    return NULL;
}

const char *jb_job_signal_name(enum jb_job_signal v)
{
    return (unsigned)v < JB_SIGNAL_MAX ? jb_words_signal[v] : NULL;
}

int jb_job_signal_number(enum jb_job_signal v)
{
    static const int numbers[JB_SIGNAL_MAX] = {
        [JB_SIGNAL_TERM] = SIGTERM, [JB_SIGNAL_INT] = SIGINT,   [JB_SIGNAL_HUP] = SIGHUP,
        [JB_SIGNAL_QUIT] = SIGQUIT, [JB_SIGNAL_USR1] = SIGUSR1, [JB_SIGNAL_USR2] = SIGUSR2,
        [JB_SIGNAL_ALRM] = SIGALRM, [JB_SIGNAL_XCPU] = SIGXCPU,
    };
    return (unsigned)v < JB_SIGNAL_MAX ? numbers[v] : SIGTERM;
}

const char *jb_cpu_unit_name(enum jb_cpu_unit v)
{
    return (unsigned)v < JB_CPU_UNIT_MAX ? jb_words_cpu_unit[v] : NULL;
}

const char *jb_locality_name(enum jb_locality v)
{
    return (unsigned)v < JB_LOCALITY_MAX ? jb_words_locality[v] : NULL;
}

const char *jb_cpu_kind_name(enum jb_cpu_kind v)
{
    return (unsigned)v < JB_CPU_KIND_MAX ? jb_words_cpu_kind[v] : NULL;
}

const char *jb_network_name(enum jb_network v)
{
    return (unsigned)v < JB_NETWORK_MAX ? jb_words_network[v] : NULL;
}

const char *jb_keep_name(enum jb_keep v)
{
    return (unsigned)v < JB_KEEP_MAX ? jb_words_keep[v] : NULL;
}

const char *jb_mount_mode_name(enum jb_mount_mode v)
{
    return (unsigned)v < JB_MOUNT_MODE_MAX ? jb_words_mount_mode[v] : NULL;
}

const char *jb_artifact_when_name(enum jb_artifact_when v)
{
    return (unsigned)v < JB_ARTIFACT_WHEN_MAX ? jb_words_artifact_when[v] : NULL;
}

const char *jb_degradable_name(enum jb_degradable v)
{
    return (unsigned)v < JB_DEGRADE_MAX ? jb_words_degradable[v] : NULL;
}
