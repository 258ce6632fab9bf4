/*
 * crashpoint.c - stopping where a test says.
 *
 * Owns: nothing. Runs in: every process of an attempt, of a build for the crash suite; empty otherwise. Privilege: none.
 */
#include "base/crashpoint.h"

#ifdef JB_CRASH_POINTS

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRACE_MAX (256 * 1024)

static const char *const names[JB_STEP_MAX] = {
#define JB_STEP(name, who, meaning) [JB_STEP_##name] = #name,
#include "base/steps.def"
#undef JB_STEP
};

static int open_in(const char *name, int flags)
{
    char path[PATH_MAX];
    const char *dir = getenv("JOBBOX_CRASH_DIR");
    if (!dir)
        return -1;
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return open(path, flags | O_CLOEXEC);
}

/* What the file begins with; an empty text when it is not there. */
static void read_in(const char *name, char *buf, size_t len)
{
    int fd = open_in(name, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, buf, len - 1);
    buf[n > 0 ? n : 0] = '\0';
    if (fd >= 0)
        (void)close(fd);
}

static void write_in(const char *name, int flags, const char *line)
{
    int fd = open_in(name, O_WRONLY | flags);
    if (fd < 0)
        return;
    (void)!write(fd, line, strlen(line));
    (void)close(fd);
}

/* How often the step is in the trace. */
static long times_reached(const char *name)
{
    char *text = malloc(TRACE_MAX);
    long n = 0;
    size_t len = strlen(name);
    if (!text)
        return 0;
    read_in("trace", text, TRACE_MAX);
    for (const char *line = text; *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : "")
        n += strncmp(line, name, len) == 0 && line[len] == ' ';
    free(text);
    return n;
}

static void stop(const char *line)
{
    char byte;
    write_in("hit", 0, line);
    int fd = open_in("go", O_RDONLY);
    if (fd < 0)
        return;
    while (read(fd, &byte, 1) < 0 && errno == EINTR) {
    }
    (void)close(fd);
}

void jb_crash_point(enum jb_step step)
{
    int saved = errno;
    char line[64];
    char where[64];
    char wanted[64] = "";
    long time = 0;
    (void)snprintf(line, sizeof(line), "%s %ld\n", names[step], (long)getpid());
    write_in("trace", O_APPEND, line);
    read_in("stop", where, sizeof(where));
    if (sscanf(where, "%63s %ld", wanted, &time) == 2 && strcmp(wanted, names[step]) == 0 &&
        times_reached(names[step]) == time)
        stop(line);
    errno = saved;
}

long long jb_crash_clock_us(void)
{
    int saved = errno;
    char text[32];
    read_in("clock", text, sizeof(text));
    errno = saved;
    return strtoll(text, NULL, 10) * 1000000;
}

#endif
