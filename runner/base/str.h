/*
 * str.h - growing buffers and lists of strings.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#ifndef JB_BASE_STR_H
#define JB_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"

/* A byte buffer that is always NUL-terminated once something was added. Zero-initialise; release with
 * jb_buf_free. */
struct jb_buf {
    char *data;
    size_t len;
    size_t cap;
};

int jb_buf_add(struct jb_buf *buf, const void *data, size_t len); /* -ENOMEM */
int jb_buf_puts(struct jb_buf *buf, const char *text);
int jb_buf_printf(struct jb_buf *buf, const char *fmt, ...) JB_PRINTF(2, 3);
void jb_buf_free(struct jb_buf *buf);
#define jb_autobuf __attribute__((cleanup(jb_buf_free)))

/* A NULL-terminated list of allocated strings. Zero-initialise; release with jb_strv_free. */
struct jb_strv {
    char **items; /* NULL while empty */
    size_t len;
};

int jb_strv_add(struct jb_strv *list, const char *text); /* copies; -ENOMEM */
int jb_strv_addn(struct jb_strv *list, const char *text, size_t n);
int jb_strv_printf(struct jb_strv *list, const char *fmt, ...) JB_PRINTF(2, 3);
int jb_strv_take(struct jb_strv *list,
                 char *text); /* owns text, also on failure; -ENOMEM also when text is NULL */
int jb_strv_copy(struct jb_strv *into, const struct jb_strv *from);
bool jb_strv_has(const struct jb_strv *list, const char *text);
void jb_strv_free(struct jb_strv *list);
#define jb_autostrv __attribute__((cleanup(jb_strv_free)))

/* KEY=value lists: the value of `key`, or NULL; and set, replacing an older one. */
const char *jb_env_get(const struct jb_strv *env, const char *key);
int jb_env_set(struct jb_strv *env, const char *key, const char *value);
void jb_env_unset(struct jb_strv *env, const char *key);

/* An allocated formatted string, NULL when out of memory. */
char *jb_asprintf(const char *fmt, ...) JB_PRINTF(1, 2);

static inline bool jb_streq(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* Control bytes of what a stranger wrote must not reach a terminal or forge a second line. */
static inline void jb_one_line(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
}

static inline bool jb_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Edit distance with transpositions, for "did you mean"; capped at 64 bytes a word (longer: SIZE_MAX). */
size_t jb_edit_distance(const char *a, const char *b);

/* The nearest of `n` words when it is near enough to be a slip of the finger, else NULL. */
const char *jb_did_you_mean(const char *word, const char *const *words, size_t n);

/* True when absolute `path` is `dir` or lies beneath it, by components ("/scratch2" is not in "/scratch"). */
bool jb_path_beneath(const char *path, const char *dir);

/*
 * Lexical clean-up of an absolute path: no "//", no ".", no trailing slash. -EINVAL when it is relative or
 * holds a ".." component, -ENAMETOOLONG at PATH_MAX.
 */
int jb_path_clean(const char *path, char **ret);

#endif
