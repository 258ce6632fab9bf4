/*
 * str.c - growing buffers, lists of strings, path words.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include "base/str.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

static int buf_reserve(struct jb_buf *buf, size_t more)
{
    if (more >= SIZE_MAX / 2 - buf->len)
        return -ENOMEM;
    size_t need = buf->len + more + 1;
    if (need <= buf->cap)
        return 0;
    size_t cap = buf->cap ? buf->cap : 256;
    while (cap < need)
        cap *= 2;
    char *grown = realloc(buf->data, cap);
    if (!grown)
        return -ENOMEM;
    buf->data = grown;
    buf->cap = cap;
    return 0;
}

int jb_buf_add(struct jb_buf *buf, const void *data, size_t len)
{
    int r = buf_reserve(buf, len);
    if (r < 0)
        return r;
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return 0;
}

int jb_buf_puts(struct jb_buf *buf, const char *text)
{
    return jb_buf_add(buf, text, strlen(text));
}

int jb_buf_printf(struct jb_buf *buf, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    size_t room = buf->cap - buf->len; /* which may do already */
    int n = vsnprintf(room ? buf->data + buf->len : NULL, room, fmt, ap);
    va_end(ap);
    int r = n < 0 ? -EINVAL : buf_reserve(buf, (size_t)n);
    if (r == 0 && (size_t)n < room) {
        buf->len += (size_t)n;
    } else if (r == 0) {
        (void)vsnprintf(buf->data + buf->len, (size_t)n + 1, fmt, again);
        buf->len += (size_t)n;
    } else if (room) {
        buf->data[buf->len] = '\0';
    }
    va_end(again);
    return r;
}

void jb_buf_free(struct jb_buf *buf)
{
    free(buf->data);
    *buf = (struct jb_buf){0};
}

int jb_strv_take(struct jb_strv *list, char *text)
{
    if (!text)
        return -ENOMEM;
    char **grown = realloc(list->items, (list->len + 2) * sizeof(*grown));
    if (!grown) {
        free(text);
        return -ENOMEM;
    }
    list->items = grown;
    list->items[list->len++] = text;
    list->items[list->len] = NULL;
    return 0;
}

int jb_strv_add(struct jb_strv *list, const char *text)
{
    return jb_strv_take(list, strdup(text));
}

int jb_strv_addn(struct jb_strv *list, const char *text, size_t n)
{
    return jb_strv_take(list, strndup(text, n));
}

int jb_strv_printf(struct jb_strv *list, const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    return jb_strv_take(list, n < 0 ? NULL : text);
}

int jb_strv_copy(struct jb_strv *into, const struct jb_strv *from)
{
    for (size_t i = 0; i < from->len; i++) {
        int r = jb_strv_add(into, from->items[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

bool jb_strv_has(const struct jb_strv *list, const char *text)
{
    for (size_t i = 0; i < list->len; i++)
        if (jb_streq(list->items[i], text))
            return true;
    return false;
}

void jb_strv_free(struct jb_strv *list)
{
    for (size_t i = 0; i < list->len; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct jb_strv){0};
}

static size_t env_index(const struct jb_strv *env, const char *key)
{
    size_t len = strlen(key);
    size_t i = 0;
    while (i < env->len && !(strncmp(env->items[i], key, len) == 0 && env->items[i][len] == '='))
        i++;
    return i;
}

const char *jb_env_get(const struct jb_strv *env, const char *key)
{
    size_t i = env_index(env, key);
    return i < env->len ? env->items[i] + strlen(key) + 1 : NULL;
}

int jb_env_set(struct jb_strv *env, const char *key, const char *value)
{
    size_t i = env_index(env, key);
    if (i == env->len)
        return jb_strv_printf(env, "%s=%s", key, value);
    char *text = jb_asprintf("%s=%s", key, value);
    if (!text)
        return -ENOMEM;
    free(env->items[i]);
    env->items[i] = text;
    return 0;
}

void jb_env_unset(struct jb_strv *env, const char *key)
{
    size_t i = env_index(env, key);
    if (i == env->len)
        return;
    free(env->items[i]);
    env->len--;
    memmove(&env->items[i], &env->items[i + 1], (env->len - i) * sizeof(*env->items));
    env->items[env->len] = NULL;
}

char *jb_asprintf(const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    return n < 0 ? NULL : text;
}

#define WORD_MAX 64

size_t jb_edit_distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t la = strlen(a);
    size_t lb = strlen(b);
    if (la > WORD_MAX || lb > WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                rows[(i - 2) % 3][j - 2] + 1 < best)
                best = rows[(i - 2) % 3][j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[la % 3][lb];
}

const char *jb_did_you_mean(const char *word, const char *const *words, size_t n)
{
    size_t len = strlen(word);
    size_t best = len < 4 ? 2 : len < 8 ? 3 : 4; /* strictly nearer than this counts */
    const char *nearest = NULL;
    for (size_t i = 0; i < n; i++) {
        size_t d = jb_edit_distance(word, words[i]);
        if (d < best) {
            best = d;
            nearest = words[i];
        }
    }
    return nearest;
}

bool jb_path_beneath(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    if (len == 1 && dir[0] == '/')
        return path[0] == '/';
    return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

int jb_path_clean(const char *path, char **ret)
{
    if (path[0] != '/')
        return -EINVAL;
    jb_autobuf struct jb_buf buf = {0};
    const char *p = path;
    while (*p) {
        size_t slashes = strspn(p, "/");
        p += slashes;
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.')
            return -EINVAL;
        if (len > 0 && !(len == 1 && p[0] == '.')) {
            int r = jb_buf_puts(&buf, "/");
            if (r == 0)
                r = jb_buf_add(&buf, p, len);
            if (r < 0)
                return r;
        }
        p += len;
    }
    if (buf.len >= PATH_MAX)
        return -ENAMETOOLONG;
    if (buf.len == 0 && jb_buf_puts(&buf, "/") < 0)
        return -ENOMEM;
    *ret = jb_take_ptr(buf.data);
    return 0;
}
