/*
 * words.h - the words of enumerations by value, one table for those who read and those who print them.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#ifndef JB_SPEC_WORDS_H
#define JB_SPEC_WORDS_H

#include "spec/spec.h"

extern const char *const jb_words_cpu_unit[JB_CPU_UNIT_MAX];
extern const char *const jb_words_locality[JB_LOCALITY_MAX];
extern const char *const jb_words_cpu_kind[JB_CPU_KIND_MAX];
extern const char *const jb_words_network[JB_NETWORK_MAX];
extern const char *const jb_words_keep[JB_KEEP_MAX];
extern const char *const jb_words_mount_mode[JB_MOUNT_MODE_MAX];
extern const char *const jb_words_notify[JB_NOTIFY_MAX];
extern const char *const jb_words_when[JB_WHEN_MAX];
extern const char *const jb_words_artifact_when[JB_ARTIFACT_WHEN_MAX];
extern const char *const jb_words_signal[JB_SIGNAL_MAX];
extern const char *const jb_words_warn_to[JB_WARN_TO_MAX];
extern const char *const jb_words_degradable[JB_DEGRADE_MAX];

#endif
