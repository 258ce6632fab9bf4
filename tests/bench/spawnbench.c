/*
 * spawnbench.c - measures commands against each other: start to end, one run each in turn.
 *
 * Owns: the processes it starts, until they end. Runs in: scripts/bench. Privilege: that of the commands.
 *
 *   spawnbench [OPTION...] NAME PROGRAM [ARGUMENT...] [::: NAME PROGRAM [ARGUMENT...]]...
 *
 * Every round runs each alternative once, in an order shuffled from a fixed seed: what the machine does
 * meanwhile hits all alike, and none always runs in the wake of the same other (the kernel takes network
 * namespaces apart behind the back of who made them). Wall time is from before the spawn to after the wait;
 * CPU time is the child's and of what it waited for, kernel threads are not in it. A run that fails ends the
 * measurement: a wrong result has no speed.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ALTERNATIVES_MAX 16
#define PARALLEL_MAX     64
#define SEPARATOR        ":::"

struct alternative {
    const char *name, *program;
    char **argv;              /* argv[0] is program */
    double *wall_ms, *cpu_ms; /* one of each run */
    double busy_ms;           /* sum over its rounds, first start to last end: for runs per second */
    size_t n;
};

struct bench {
    struct alternative alternatives[ALTERNATIVES_MAX];
    size_t n_alternatives;
    long count, warmup, gap_ms, parallel;
    const char *json, *title;
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double timeval_ms(struct timeval t)
{
    return (double)t.tv_sec * 1e3 + (double)t.tv_usec / 1e3;
}

static void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (ms > 0 && nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

static int start(const struct alternative *a, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int r = posix_spawn(ret_pid, a->program, &actions, NULL, a->argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (r)
        fprintf(stderr, "spawnbench: %s: cannot start %s: %s\n", a->name, a->program, strerror(r));
    return -r;
}

/* Waits for one of `pids`. Returns its index, or -1 when it failed; its usage is in *ret. */
static int wait_one(const struct alternative *a, const pid_t *pids, long n, struct rusage *ret)
{
    int status = 0;
    pid_t pid = wait4(-1, &status, 0, ret);
    for (long i = 0; i < n; i++) {
        if (pids[i] != pid)
            continue;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            return (int)i;
        fprintf(stderr, "spawnbench: %s: run %zu ended with %s %d\n", a->name, a->n + 1,
                WIFSIGNALED(status) ? "signal" : "exit status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return -1;
    }
    fprintf(stderr, "spawnbench: %s: wait: %s\n", a->name, pid < 0 ? strerror(errno) : "a process not ours");
    return -1;
}

/* Runs the alternative `parallel` times at once. All that were started are waited for, also on failure. */
static int run_round(struct alternative *a, long parallel, bool keep)
{
    pid_t pids[PARALLEL_MAX] = {0};
    double begin[PARALLEL_MAX] = {0};
    long started = 0;
    int result = 0;
    double first = now_ms();
    while (started < parallel && result == 0) {
        begin[started] = now_ms();
        result = start(a, &pids[started]);
        started += result == 0;
    }
    for (long done = 0; done < started; done++) {
        struct rusage usage;
        int i = wait_one(a, pids, started, &usage);
        double end = now_ms();
        if (i < 0) {
            result = -ECHILD;
        } else if (keep && result == 0) {
            a->wall_ms[a->n] = end - begin[i];
            a->cpu_ms[a->n++] = timeval_ms(usage.ru_utime) + timeval_ms(usage.ru_stime);
        }
    }
    if (keep)
        a->busy_ms += now_ms() - first;
    return result;
}

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static int run_all(struct bench *b)
{
    size_t order[ALTERNATIVES_MAX] = {0};
    uint32_t seed = 2463534242U;
    for (size_t i = 0; i < b->n_alternatives; i++)
        order[i] = i;
    for (long round = -b->warmup; round < b->count; round++) {
        for (size_t i = b->n_alternatives; i > 1; i--) {
            size_t j = next_random(&seed) % i;
            size_t t = order[i - 1];
            order[i - 1] = order[j];
            order[j] = t;
        }
        for (size_t i = 0; i < b->n_alternatives; i++) {
            pause_ms(round < 0 ? 0 : b->gap_ms);
            int r = run_round(&b->alternatives[order[i]], b->parallel, round >= 0);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest-rank percentile of a sorted list. */
static double rank(const double *sorted, size_t n, unsigned percent)
{
    size_t at = (n * percent + 99) / 100;
    return sorted[at ? at - 1 : 0];
}

static void sort_all(struct bench *b)
{
    for (size_t i = 0; i < b->n_alternatives; i++) {
        struct alternative *a = &b->alternatives[i];
        qsort(a->wall_ms, a->n, sizeof(double), compare);
        qsort(a->cpu_ms, a->n, sizeof(double), compare);
    }
}

static void print_table(const struct bench *b)
{
    if (b->title)
        printf("%s\n", b->title);
    printf("%-16s %6s %10s %10s %10s %10s %8s %8s\n", "", "runs", "median ms", "p90 ms", "p99 ms", "CPU ms",
           "runs/s", "ratio");
    for (size_t i = 0; i < b->n_alternatives; i++) {
        const struct alternative *a = &b->alternatives[i];
        printf("%-16s %6zu %10.2f %10.2f %10.2f %10.2f %8.0f %8.2f\n", a->name, a->n,
               rank(a->wall_ms, a->n, 50), rank(a->wall_ms, a->n, 90), rank(a->wall_ms, a->n, 99),
               rank(a->cpu_ms, a->n, 50), (double)a->n * 1e3 / a->busy_ms,
               rank(a->wall_ms, a->n, 50) / rank(b->alternatives[0].wall_ms, b->alternatives[0].n, 50));
    }
}

/* One object; names are plain words (checked when read), so nothing needs escaping. */
static int write_json(const struct bench *b)
{
    FILE *f = fopen(b->json, "we");
    if (!f) {
        fprintf(stderr, "spawnbench: %s: %s\n", b->json, strerror(errno));
        return -1;
    }
    fprintf(f, "{\"gap_ms\":%ld,\"parallel\":%ld,\"rounds\":%ld,\"alternatives\":[", b->gap_ms, b->parallel,
            b->count);
    for (size_t i = 0; i < b->n_alternatives; i++) {
        const struct alternative *a = &b->alternatives[i];
        fprintf(f,
                "%s{\"name\":\"%s\",\"runs\":%zu,\"median_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,"
                "\"cpu_median_ms\":%.3f,\"runs_per_s\":%.1f}",
                i ? "," : "", a->name, a->n, rank(a->wall_ms, a->n, 50), rank(a->wall_ms, a->n, 90),
                rank(a->wall_ms, a->n, 99), rank(a->cpu_ms, a->n, 50), (double)a->n * 1e3 / a->busy_ms);
    }
    fputs("]}\n", f);
    if (fclose(f) != 0) {
        fprintf(stderr, "spawnbench: %s: %s\n", b->json, strerror(errno));
        return -1;
    }
    return 0;
}

static void usage(FILE *to)
{
    fputs("usage: spawnbench [OPTION...] NAME PROGRAM [ARGUMENT...] [::: NAME PROGRAM [ARGUMENT...]]...\n"
          "\n"
          "Runs each PROGRAM (a path) once a round and prints wall and CPU times; ratios are to the first.\n"
          "  --count N      rounds that count (default 100)\n"
          "  --warmup N     rounds before them that do not (default 3)\n"
          "  --gap MS       idle time before each run (default 0)\n"
          "  --parallel N   runs of one alternative at the same time (default 1)\n"
          "  --title TEXT   first line of the table\n"
          "  --json FILE    the figures as JSON too\n",
          to);
}

static int parse_long(const char *text, long min, long max, long *ret)
{
    char *end = NULL;
    errno = 0;
    long value = text ? strtol(text, &end, 10) : 0;
    if (!text || end == text || *end || errno || value < min || value > max)
        return -EINVAL;
    *ret = value;
    return 0;
}

/* Takes the options off the front. Returns the index of the first other argument, or -1. */
static int parse_options(int argc, char **argv, struct bench *b)
{
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        const char *value = argv[i + 1];
        int r = 0;
        if (strcmp(argv[i], "--count") == 0)
            r = parse_long(value, 1, 1000000, &b->count);
        else if (strcmp(argv[i], "--warmup") == 0)
            r = parse_long(value, 0, 1000000, &b->warmup);
        else if (strcmp(argv[i], "--gap") == 0)
            r = parse_long(value, 0, 3600000, &b->gap_ms);
        else if (strcmp(argv[i], "--parallel") == 0)
            r = parse_long(value, 1, PARALLEL_MAX, &b->parallel);
        else if (strcmp(argv[i], "--title") == 0)
            b->title = value;
        else if (strcmp(argv[i], "--json") == 0)
            b->json = value;
        else
            r = -EINVAL;
        if (r < 0) {
            fprintf(stderr, "spawnbench: %s %s: not an option or value it takes; see --help\n", argv[i],
                    value);
            return -1;
        }
    }
    return i;
}

/* NAME PROGRAM ... ::: NAME PROGRAM ...; the separators become the NULL that ends each argv. */
static int parse_alternatives(char **args, struct bench *b)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+";
    size_t runs = (size_t)(b->count * b->parallel);
    while (*args) {
        if (b->n_alternatives == ALTERNATIVES_MAX || !args[1] || strcmp(args[1], SEPARATOR) == 0 ||
            args[0][strspn(args[0], plain)] != '\0') {
            fprintf(stderr, "spawnbench: %s: expected NAME PROGRAM, %d alternatives at most; see --help\n",
                    args[0], ALTERNATIVES_MAX);
            return -1;
        }
        struct alternative *a = &b->alternatives[b->n_alternatives++];
        a->name = args[0];
        a->program = args[1];
        a->argv = args + 1;
        a->wall_ms = calloc(runs, sizeof(double));
        a->cpu_ms = calloc(runs, sizeof(double));
        if (!a->wall_ms || !a->cpu_ms) {
            fputs("spawnbench: out of memory\n", stderr);
            return -1;
        }
        while (*args && strcmp(*args, SEPARATOR) != 0)
            args++;
        if (*args)
            *args++ = NULL;
    }
    return b->n_alternatives ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct bench b = {.count = 100, .warmup = 3, .parallel = 1};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    int first = parse_options(argc, argv, &b);
    if (first == argc)
        usage(stderr);
    int result = first < 0 || parse_alternatives(argv + first, &b) < 0 ? 2 : 0;
    if (result == 0 && run_all(&b) < 0)
        result = 1;
    if (result == 0) {
        sort_all(&b);
        print_table(&b);
        if (b.json && write_json(&b) < 0)
            result = 1;
    }
    for (size_t i = 0; i < b.n_alternatives; i++) {
        free(b.alternatives[i].wall_ms);
        free(b.alternatives[i].cpu_ms);
    }
    return result;
}
