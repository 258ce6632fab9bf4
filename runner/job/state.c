/*
 * state.c - runtime and state directories.
 *
 * Owns: nothing beyond the result. Runs in: see state.h. Privilege: see state.h.
 */
#include "job/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

#define IN_HOME "/.local/state/jobbox"

static char *user_dir(const struct jb_submitter *who, const char *variable, const char *otherwise)
{
    const char *base = jb_env_get(&who->env, variable);
    if (base && base[0] == '/')
        return jb_asprintf("%s/jobbox", base);
    return otherwise[0] == '~' ? jb_asprintf("%s%s", jb_streq(who->home, "/") ? "" : who->home, otherwise + 1)
                               : jb_asprintf("%s-%u", otherwise, (unsigned)who->uid);
}

int jb_state_paths(const struct jb_site *site, const struct jb_submitter *who, struct jb_state *ret,
                   struct jb_error *err)
{
    struct jb_state state = JB_STATE_INIT;
    bool system_config = !site->file || jb_starts_with(site->file, "/etc/");
    bool by_site = who->uid == 0 || !system_config;
    if (by_site && site->paths.runtime)
        state.runtime_dir = strdup(site->paths.runtime);
    else if (who->uid == 0)
        state.runtime_dir = strdup("/run/jobbox");
    else
        state.runtime_dir = user_dir(who, "XDG_RUNTIME_DIR", "/tmp/jobbox");
    if (by_site && site->paths.state)
        state.state_dir = strdup(site->paths.state);
    else if (who->uid == 0)
        state.state_dir = strdup("/var/lib/jobbox");
    else
        state.state_dir = user_dir(who, "XDG_STATE_HOME", "~" IN_HOME);
    if (!state.runtime_dir || !state.state_dir) {
        jb_state_close(&state);
        return jb_fail_errno(err, ENOMEM, "state directories");
    }
    *ret = state;
    return 0;
}

/* Parents are made like mkdir -p would: they are the administrator's or the user's own and may hold symlinks.
 */
static int make_parents(const char *path)
{
    jb_autofree char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    for (char *slash = copy + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        if (mkdir(copy, 0755) < 0 && errno != EEXIST)
            return -errno;
    }
    return 0;
}

static int open_dir(const char *path, mode_t mode, uid_t uid, int *ret, struct jb_error *err)
{
    int r = jb_open_owned_dir(AT_FDCWD, path, uid, ret, err);
    if (r != -ENOENT)
        return r < 0 ? jb_wrap(err, "state directory") : 0;
    jb_error_clear(err);
    r = mkdir(path, mode) < 0 ? -errno : 0;
    if (r == -ENOENT) {
        r = make_parents(path);
        if (r == 0 && mkdir(path, mode) < 0)
            r = -errno;
    }
    if (r < 0 && r != -EEXIST)
        return jb_fail_errno(err, r, "making the state directory %s", path);
    r = jb_open_owned_dir(AT_FDCWD, path, uid, ret, err);
    return r < 0 ? jb_wrap(err, "state directory") : 0;
}

/* The place was nobody's choice: a user without a home, or with one that he may not write to. */
static bool is_by_default(const struct jb_state *state, const struct jb_submitter *who)
{
    jb_autofree char *otherwise = jb_asprintf("%s" IN_HOME, jb_streq(who->home, "/") ? "" : who->home);
    return who->uid != 0 && otherwise && jb_streq(state->state_dir, otherwise);
}

int jb_state_open(struct jb_state *state, const struct jb_submitter *who, struct jb_error *err)
{
    int r = open_dir(state->runtime_dir, 0755, who->uid, &state->runtime_fd, err);
    if (r == 0) {
        r = open_dir(state->state_dir, 0700, who->uid, &state->state_fd, err);
        if (r < 0 && err && is_by_default(state, who))
            r = jb_fail(err, -r, "%s; XDG_STATE_HOME can name another place", err->text);
    }
    return r == 0 ? jb_ledger_dir_open(state->runtime_fd, &state->ledger, err) : r;
}

void jb_state_close(struct jb_state *state)
{
    jb_ledger_dir_close(&state->ledger);
    jb_close(&state->runtime_fd);
    jb_close(&state->state_fd);
    free(state->runtime_dir);
    free(state->state_dir);
    *state = JB_STATE_INIT;
}
