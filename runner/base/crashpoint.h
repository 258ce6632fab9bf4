/*
 * crashpoint.h - the places where a test stops a process, to kill it or to change the world around it.
 *
 * Owns: nothing. Runs in: every process of an attempt, jobbox-init included; so this includes nothing but the C library.
 * Privilege: none. Nothing of it is in a build without JB_CRASH_POINTS (cmake -DJOBBOX_CRASH_POINTS=ON).
 *
 * The folder that the environment variable JOBBOX_CRASH_DIR names is the test's:
 *   trace   gets a line "step pid" at each point; the file must be there. A pid is that of the process's own namespace
 *   stop    "step N": whoever reaches the step for the Nth time writes "step pid" to the FIFO `hit` and waits until it
 *           can read a byte from the FIFO `go`
 *   clock   seconds by which the wall clock is off
 * Without the variable, and without a file, nothing happens.
 */
#ifndef JB_BASE_CRASHPOINT_H
#define JB_BASE_CRASHPOINT_H

#ifdef JB_CRASH_POINTS

enum jb_step {
#define JB_STEP(name, who, meaning) JB_STEP_##name,
#include "base/steps.def"
#undef JB_STEP
    JB_STEP_MAX,
};

void jb_crash_point(enum jb_step step);
/* Microseconds to add to the wall clock. */
long long jb_crash_clock_us(void);

#define JB_CRASH_POINT(name) jb_crash_point(JB_STEP_##name)

#else

#define JB_CRASH_POINT(name) ((void)0)

#endif
#endif
