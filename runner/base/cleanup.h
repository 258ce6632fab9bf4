/*
 * cleanup.h - scope-bound ownership: what is declared with these is released at the end of its block.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#ifndef JB_BASE_CLEANUP_H
#define JB_BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define JB_UNUSED __attribute__((unused))

static inline void jb_cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void jb_cleanup_close(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static inline void jb_cleanup_dir(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

static inline void jb_cleanup_file(FILE **f)
{
    if (*f)
        (void)fclose(*f);
}

#define jb_autofree  __attribute__((cleanup(jb_cleanup_free)))
#define jb_autoclose __attribute__((cleanup(jb_cleanup_close)))
#define jb_autodir   __attribute__((cleanup(jb_cleanup_dir)))
#define jb_autofile  __attribute__((cleanup(jb_cleanup_file)))

/* Hands ownership on: the variable is emptied, so its cleanup does nothing. */
static inline int jb_take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

static inline void *jb_take_ptr_(void *p)
{
    void **slot = p;
    void *taken = *slot;
    *slot = NULL;
    return taken;
}
#define jb_take_ptr(p) ((__typeof__(p))jb_take_ptr_(&(p)))

/* Closes *fd if open and marks it closed. */
static inline void jb_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

#define JB_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
