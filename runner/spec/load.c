/*
 * load.c - reads spec and site files from disk or standard input.
 *
 * Owns: the descriptor while it reads. Runs in: the client, unprivileged. Privilege: none.
 */
#include "spec/load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fd.h"

int jb_load_fail(struct jb_diags *diags, const char *path, int errnum, const char *fmt, ...)
{
    va_list ap;
    jb_diags_free(diags);
    va_start(ap, fmt);
    char *text = NULL;
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    diags->file = strdup(path);
    diags->items = calloc(1, sizeof(*diags->items));
    if (n < 0 || !diags->file || !diags->items) {
        if (n >= 0)
            free(text);
        jb_diags_free(diags);
        return -ENOMEM;
    }
    diags->items[0].text = text;
    diags->len = 1;
    return -errnum;
}

static int open_text(const char *path, struct stat *ret_st, struct jb_diags *diags)
{
    jb_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return jb_load_fail(diags, path, ENOENT, "there is no such file; check the name");
    if (fd < 0)
        return jb_load_fail(diags, path, errno, "cannot be opened: %s", strerror(errno));
    if (fstat(fd, ret_st) < 0)
        return jb_load_fail(diags, path, errno, "cannot be examined: %s", strerror(errno));
    if (S_ISDIR(ret_st->st_mode))
        return jb_load_fail(diags, path, EISDIR, "is a directory; name a YAML file in it");
    if (!S_ISREG(ret_st->st_mode))
        return jb_load_fail(diags, path, EINVAL,
                            "is not a regular file; write \"-\" to read from standard input");
    return jb_take_fd(&fd);
}

int jb_load_text(const char *path, bool allow_stdin, char **ret_text, size_t *ret_len, struct stat *ret_st,
                 struct jb_diags *diags)
{
    struct stat st = {0};
    bool standard = allow_stdin && jb_streq(path, "-");
    const char *shown = standard ? "(standard input)" : path;
    jb_autoclose int opened = standard ? -1 : open_text(path, &st, diags);
    if (!standard && opened < 0)
        return opened;
    int r = jb_read_fd(standard ? STDIN_FILENO : opened, JB_SPEC_FILE_MAX, ret_text, ret_len);
    if (r == -EFBIG)
        return jb_load_fail(diags, shown, EFBIG,
                            "is larger than 1 MiB; a job spec or a configuration is not");
    if (r < 0)
        return jb_load_fail(diags, shown, -r, "cannot be read: %s", strerror(-r));
    if (ret_st)
        *ret_st = st;
    return 0;
}

static int load(const char *path,
                int (*parse)(const char *, const char *, size_t, struct jb_spec **, struct jb_diags *),
                struct jb_spec **ret_spec, struct jb_diags *diags)
{
    jb_autofree char *text = NULL;
    size_t len = 0;
    int r = jb_load_text(path, true, &text, &len, NULL, diags);
    if (r < 0)
        return r;
    return parse(jb_streq(path, "-") ? "(standard input)" : path, text, len, ret_spec, diags);
}

int jb_spec_load(const char *path, struct jb_spec **ret_spec, struct jb_diags *diags)
{
    return load(path, jb_spec_parse, ret_spec, diags);
}

int jb_spec_load_box(const char *path, struct jb_spec **ret_spec, struct jb_diags *diags)
{
    return load(path, jb_spec_parse_box, ret_spec, diags);
}
