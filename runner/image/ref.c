/*
 * ref.c - names of images and digests.
 *
 * Owns: nothing. Runs in: the client. Privilege: none; pure.
 */
#include "image/ref.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sha2.h>

#include "base/cleanup.h"
#include "base/str.h"

#define ALGORITHM "sha256:"
#define LOWER     "abcdefghijklmnopqrstuvwxyz0123456789"
#define UPPER     "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_MOST 200
#define TAG_MOST  128

bool jb_digest_valid(const char *text)
{
    size_t start = sizeof(ALGORITHM) - 1;
    return jb_starts_with(text, ALGORITHM) && strspn(text + start, "0123456789abcdef") == JB_HEX_LEN &&
           text[start + JB_HEX_LEN] == '\0';
}

const char *jb_digest_hex(const struct jb_digest *digest)
{
    return digest->text + sizeof(ALGORITHM) - 1;
}

bool jb_digest_set(struct jb_digest *ret, const char *text)
{
    if (!text || !jb_digest_valid(text))
        return false;
    memcpy(ret->text, text, sizeof(ret->text));
    return true;
}

void jb_digest_of(const void *data, size_t len, struct jb_digest *ret)
{
    (void)snprintf(ret->text, sizeof(ret->text), ALGORITHM);
    (void)SHA256Data(data, len, ret->text + sizeof(ALGORITHM) - 1);
}

/* Words with separators between them: one of ". /", or any number of "-" or "_". */
static bool name_valid(const char *name, size_t len)
{
    bool word = false; /* the last character was of a word */
    if (len == 0 || len > NAME_MOST)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool now = strchr(LOWER, name[i]) != NULL;
        bool again = i > 0 && name[i] == name[i - 1] && strchr("-_", name[i]);
        if (!now && (!strchr("._-/", name[i]) || (!word && !again)))
            return false;
        if (now || !again)
            word = now;
    }
    return word;
}

static bool tag_valid(const char *tag, size_t len)
{
    return len > 0 && len <= TAG_MOST && tag[0] != '.' && tag[0] != '-' &&
           strspn(tag, LOWER UPPER "._-") >= len;
}

int jb_ref_parse(const char *text, struct jb_ref *ret, struct jb_error *err)
{
    struct jb_ref ref = {0};
    const char *at = strchr(text, '@');
    const char *digest = at ? at + 1 : jb_digest_valid(text) ? text : NULL;
    size_t len = at ? (size_t)(at - text) : strlen(text);
    if (digest && !jb_digest_set(&ref.digest, digest))
        return jb_fail(err, EINVAL,
                       "\"%.200s\" is no digest; write sha256: and 64 hexadecimal digits in lower case",
                       digest);
    if (digest != text) {
        const char *colon = memchr(text, ':', len);
        size_t name = colon ? (size_t)(colon - text) : len;
        const char *tag = colon ? colon + 1 : "latest";
        size_t tag_len = colon ? len - name - 1 : strlen(tag);
        if (!name_valid(text, name) || !tag_valid(tag, tag_len))
            return jb_fail(
                err, EINVAL,
                "\"%.200s\" is no name of an image; write name:tag, the name in lower-case letters, "
                "digits and . _ - / between them, and without a registry",
                text);
        (void)snprintf(ref.name, sizeof(ref.name), "%.*s:%.*s", (int)name, text, (int)tag_len, tag);
        ref.tag_said = colon != NULL;
    }
    *ret = ref;
    return 0;
}

void jb_ref_to_file(const char *name, char ret[JB_REF_MAX])
{
    (void)snprintf(ret, JB_REF_MAX, "%s", name);
    for (char *p = ret; (p = strchr(p, '/'));)
        *p++ = '%';
}

bool jb_ref_from_file(const char *file, char ret[JB_REF_MAX])
{
    struct jb_ref ref = {0};
    if (strlen(file) >= JB_REF_MAX)
        return false;
    (void)snprintf(ret, JB_REF_MAX, "%s", file);
    for (char *p = ret; (p = strchr(p, '%'));)
        *p++ = '/';
    return jb_ref_parse(ret, &ref, NULL) == 0 && ref.tag_said && !ref.digest.text[0];
}

/* The last two parts of a path such as "dir/app:1" are "app" and "1"; of a file "app.tar", "app" and "latest". */
static int suggest_from_path(const char *path, char ret[JB_REF_MAX])
{
    char text[JB_REF_MAX];
    const char *slash = strrchr(path, '/');
    if (strlen(slash ? slash + 1 : path) >= sizeof(text) - 8)
        return -EINVAL;
    (void)snprintf(text, sizeof(text), "%s", slash ? slash + 1 : path);
    static const char *const ends[] = {".tar", ".sqfs", ".squashfs", ".erofs"};
    for (size_t i = 0; i < JB_ARRAY_LEN(ends); i++) {
        char *end = strstr(text, ends[i]);
        if (end &&
            (end[strlen(ends[i])] == '\0' || end[strlen(ends[i])] == ':' || end[strlen(ends[i])] == '.')) {
            char *colon = strchr(end, ':');
            memmove(end, colon ? colon : "", strlen(colon ? colon : "") + 1);
            break;
        }
    }
    struct jb_ref ref;
    int r = jb_ref_parse(text, &ref, NULL);
    if (r == 0)
        (void)snprintf(ret, JB_REF_MAX, "%s", ref.name);
    return r;
}

int jb_ref_suggest(const char *source, char ret[JB_REF_MAX])
{
    struct jb_ref ref;
    char text[JB_REF_MAX];
    if (!jb_starts_with(source, "docker://")) {
        const char *colon = strchr(source, ':');
        return suggest_from_path(colon && !memchr(source, '/', (size_t)(colon - source)) ? colon + 1 : source,
                                 ret);
    }
    const char *name = source + strlen("docker://");
    const char *slash = strchr(name, '/');
    if (slash && (memchr(name, '.', (size_t)(slash - name)) || memchr(name, ':', (size_t)(slash - name)) ||
                  jb_starts_with(name, "localhost/")))
        name = slash + 1; /* a registry */
    if (jb_starts_with(name, "library/"))
        name += strlen("library/");
    if (strlen(name) >= sizeof(text))
        return -EINVAL;
    (void)snprintf(text, sizeof(text), "%s", name);
    text[strcspn(text, "@")] = '\0';
    int r = jb_ref_parse(text, &ref, NULL);
    if (r == 0)
        (void)snprintf(ret, JB_REF_MAX, "%s", ref.name);
    return r;
}
