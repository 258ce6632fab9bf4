/*
 * bell.c - events for what the kernel only blocks for, or tells about files.
 *
 * Owns: one thread with a small stack while a waiter stands behind another. Runs in: a `jobbox run` that waits.
 * Privilege: that of the runtime directory.
 */
#include "machine/bell.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/units.h"

#define STACK   (256 * 1024)
#define NUDGE   SIGURG /* ignored by default, and of no other use here */
#define NUDGE_T (2 * JB_NS_PER_MS)

int jb_bell_ledger(const struct jb_ledger_dir *dir)
{
    jb_autoclose int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0)
        return -errno;
    for (int f = 0; f < JB_LEDGER_FILES; f++) {
        char path[32];
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", dir->slots_fd[f]);
        if (inotify_add_watch(fd, path, IN_MODIFY | IN_CLOSE_WRITE) < 0)
            return -errno;
    }
    return jb_take_fd(&fd);
}

void jb_bell_quiet(int fd)
{
    char events[4096] __attribute__((aligned(8)));
    while (read(fd, events, sizeof(events)) > 0) {
    }
}

/* Shared, and given back at once by the one who closes the description: sleepers do not hold each other up. */
static void *sleep_on_lock(void *p)
{
    struct jb_bell_turn *turn = p;
    struct flock fl = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = jb_waitline_byte(turn->number), .l_len = 1};
    while (!atomic_load(&turn->stop) && fcntl(turn->lock_fd, F_OFD_SETLKW, &fl) < 0 && errno == EINTR) {
    }
    uint64_t one = 1; /* an error rings too: the waiter looks for itself */
    (void)!write(turn->event_fd, &one, sizeof(one));
    return NULL;
}

/* All signals stay with the thread that waits for them, but the one that ends this sleep. */
static int start(struct jb_bell_turn *turn)
{
    pthread_attr_t attr;
    sigset_t mask;
    sigset_t old;
    sigfillset(&mask);
    sigdelset(&mask, NUDGE);
    int r = pthread_attr_init(&attr);
    if (r)
        return -r;
    (void)pthread_attr_setstacksize(&attr, STACK);
    (void)pthread_sigmask(SIG_SETMASK, &mask, &old);
    r = pthread_create(&turn->thread, &attr, sleep_on_lock, turn);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
    return -r;
}

int jb_bell_turn_begin(int runtime_fd, uint64_t number, struct jb_bell_turn *turn)
{
    jb_autoclose int lock_fd = jb_waitline_open(runtime_fd, NULL);
    jb_autoclose int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lock_fd < 0)
        return lock_fd;
    if (event_fd < 0)
        return -errno;
    turn->lock_fd = lock_fd;
    turn->event_fd = event_fd;
    turn->number = number;
    atomic_init(&turn->stop, false);
    int r = start(turn);
    if (r < 0)
        return r;
    turn->running = true;
    (void)jb_take_fd(&lock_fd);
    (void)jb_take_fd(&event_fd);
    return 0;
}

static void nothing(int sig)
{
    (void)sig;
}

static struct timespec soon(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (long)NUDGE_T;
    t.tv_sec += t.tv_nsec / (long)JB_NS_PER_S;
    t.tv_nsec %= (long)JB_NS_PER_S;
    return t;
}

/* A signal that comes just before the thread falls asleep is lost on it: so again, until it has gone. */
void jb_bell_turn_end(struct jb_bell_turn *turn)
{
    struct sigaction act = {.sa_handler = nothing};
    struct sigaction old;
    struct timespec until = {0};
    if (!turn->running)
        return;
    atomic_store(&turn->stop, true);
    (void)sigaction(NUDGE, &act, &old);
    while (pthread_clockjoin_np(turn->thread, NULL, CLOCK_MONOTONIC, &until) == ETIMEDOUT) {
        (void)pthread_kill(turn->thread, NUDGE);
        until = soon();
    }
    (void)sigaction(NUDGE, &old, NULL);
    turn->running = false;
    jb_close(&turn->lock_fd);
    jb_close(&turn->event_fd);
}
