/*
 * bus.c - asks a systemd manager for a scope, with the sd-bus of libsystemd.
 *
 * Owns: one connection while it asks. Runs in: the supervisor. Privilege: the starter's; the manager decides.
 *
 * libsystemd is loaded here, at the first use, and not linked: a host without it runs all the rest, and a start that
 * needs no scope does not pay for loading it and the libraries that it needs. Its few functions that are used are
 * declared here for the same reason: nothing of it is needed to build. All have been in it since version 237.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/units.h"
#include "cgroup/scope.h"

#define ANSWER_TIME (20 * JB_NS_PER_S)

#define SERVICE "org.freedesktop.systemd1"
#define OBJECT  "/org/freedesktop/systemd1"
#define MANAGER "org.freedesktop.systemd1.Manager"

typedef struct sd_bus sd_bus;
typedef struct sd_bus_message sd_bus_message;
typedef struct sd_bus_slot sd_bus_slot;
typedef struct {
    const char *name;
    const char *message;
    int need_free;
} sd_bus_error;
typedef int sd_bus_handler(sd_bus_message *message, void *ctx, sd_bus_error *ret_error);

struct calls {
    void *library;
    int (*bus_new)(sd_bus **ret);
    int (*set_address)(sd_bus *bus, const char *address);
    int (*set_bus_client)(sd_bus *bus, int yes);
    int (*start)(sd_bus *bus);
    sd_bus *(*unref)(sd_bus *bus);
    void (*close)(sd_bus *bus);
    int (*match_signal)(sd_bus *bus, sd_bus_slot **ret, const char *sender, const char *path,
                        const char *interface, const char *member, sd_bus_handler *handler, void *ctx);
    int (*new_call)(sd_bus *bus, sd_bus_message **ret, const char *to, const char *path,
                    const char *interface, const char *member);
    int (*append)(sd_bus_message *message, const char *types, ...);
    int (*open_container)(sd_bus_message *message, char type, const char *contents);
    int (*close_container)(sd_bus_message *message);
    int (*call)(sd_bus *bus, sd_bus_message *message, uint64_t usec, sd_bus_error *ret_error,
                sd_bus_message **ret);
    int (*read)(sd_bus_message *message, const char *types, ...);
    sd_bus_message *(*message_unref)(sd_bus_message *message);
    int (*process)(sd_bus *bus, sd_bus_message **ret);
    int (*wait)(sd_bus *bus, uint64_t usec);
    int (*get_string)(sd_bus *bus, const char *to, const char *path, const char *interface,
                      const char *member, sd_bus_error *ret_error, char **ret);
    void (*error_free)(sd_bus_error *error);
};

static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
    {"sd_bus_new", offsetof(struct calls, bus_new)},
    {"sd_bus_set_address", offsetof(struct calls, set_address)},
    {"sd_bus_set_bus_client", offsetof(struct calls, set_bus_client)},
    {"sd_bus_start", offsetof(struct calls, start)},
    {"sd_bus_unref", offsetof(struct calls, unref)},
    {"sd_bus_close", offsetof(struct calls, close)},
    {"sd_bus_match_signal", offsetof(struct calls, match_signal)},
    {"sd_bus_message_new_method_call", offsetof(struct calls, new_call)},
    {"sd_bus_message_append", offsetof(struct calls, append)},
    {"sd_bus_message_open_container", offsetof(struct calls, open_container)},
    {"sd_bus_message_close_container", offsetof(struct calls, close_container)},
    {"sd_bus_call", offsetof(struct calls, call)},
    {"sd_bus_message_read", offsetof(struct calls, read)},
    {"sd_bus_message_unref", offsetof(struct calls, message_unref)},
    {"sd_bus_process", offsetof(struct calls, process)},
    {"sd_bus_wait", offsetof(struct calls, wait)},
    {"sd_bus_get_property_string", offsetof(struct calls, get_string)},
    {"sd_bus_error_free", offsetof(struct calls, error_free)},
};

/* One conversation with one manager. */
struct talk {
    struct calls sd;
    sd_bus *bus;
    sd_bus_message *message, *reply;
    const char *job; /* the object of our job, once known; borrowed from reply */
    const char *unit;
    char result[32]; /* how our job ended; empty: not yet */
};

static void hang_up(struct talk *t)
{
    if (t->message)
        (void)t->sd.message_unref(t->message);
    if (t->reply)
        (void)t->sd.message_unref(t->reply);
    if (t->bus) {
        t->sd.close(t->bus);
        (void)t->sd.unref(t->bus);
    }
    if (t->sd.library)
        (void)dlclose(t->sd.library);
}
#define autotalk __attribute__((cleanup(hang_up)))

static int load(struct calls *ret, struct jb_error *err)
{
    ret->library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!ret->library)
        return jb_fail(err, ELIBACC, "libsystemd.so.0 cannot be loaded, install it (%.100s)", dlerror());
    for (size_t i = 0; i < JB_ARRAY_LEN(symbols); i++) {
        void *at = dlsym(ret->library, symbols[i].name);
        if (!at)
            return jb_fail(err, ELIBACC, "libsystemd.so.0 has no %s: it is older than 237", symbols[i].name);
        memcpy((char *)ret + symbols[i].offset, &at, sizeof(at));
    }
    return 0;
}

/* The sockets have fixed places. The environment is not asked: it may be that of somebody else (su, sudo). */
static int dial(struct talk *t, uid_t uid, struct jb_error *err)
{
    char address[64];
    const char *path = uid == 0 ? "/run/dbus/system_bus_socket" : address + sizeof("unix:path=") - 1;
    if (uid == 0)
        (void)snprintf(address, sizeof(address), "unix:path=/run/dbus/system_bus_socket");
    else
        (void)snprintf(address, sizeof(address), "unix:path=/run/user/%u/bus", (unsigned)uid);
    int r = load(&t->sd, err);
    if (r < 0 || !t->sd.bus_new)
        return r;
    r = t->sd.bus_new(&t->bus);
    if (r >= 0)
        r = t->sd.set_address(t->bus, address);
    if (r >= 0)
        r = t->sd.set_bus_client(t->bus, 1);
    if (r >= 0)
        r = t->sd.start(t->bus);
    if (r >= 0)
        return 0;
    if (r == -ENOENT && uid != 0)
        return jb_fail(
            err, r,
            "there is no %s: log in, or have root run 'loginctl enable-linger %u'; dbus-user-session must "
            "be installed",
            path, (unsigned)uid);
    return jb_fail_errno(err, r, "%s does not answer", path);
}

static int refused(struct talk *t, int r, sd_bus_error *error, const char *what, struct jb_error *err)
{
    if (error->message)
        r = jb_fail(err, r, "%s: %s", what, error->message);
    else
        r = jb_fail_errno(err, r, "%s", what);
    t->sd.error_free(error);
    return r;
}

/* JobRemoved: number, object, unit, result. */
static int job_removed(sd_bus_message *message, void *ctx, sd_bus_error *ret_error)
{
    struct talk *t = ctx;
    uint32_t id;
    const char *job;
    const char *unit;
    const char *result;
    (void)ret_error;
    if (t->sd.read(message, "uoss", &id, &job, &unit, &result) >= 0 && t->job && jb_streq(job, t->job))
        (void)snprintf(t->result, sizeof(t->result), "%s", result);
    return 0;
}

/* A process number of 0 means the sender: the bus knows who that is, also across PID namespaces. */
static int write_request(struct talk *t, const struct jb_scope_request *q)
{
    const struct calls *sd = &t->sd;
    sd_bus_message *m = t->message;
    int r = sd->append(m, "ss", q->unit, "fail");
    if (r >= 0)
        r = sd->open_container(m, 'a', "(sv)");
    if (r >= 0)
        r = sd->append(m, "(sv)", "Description", "s", q->description);
    if (r >= 0 && q->slice)
        r = sd->append(m, "(sv)", "Slice", "s", q->slice);
    if (r >= 0) /* all that this manager has: how its controllers are called depends on its version */
        r = sd->append(m, "(sv)", "Delegate", "b", 1);
    if (r >= 0) /* a scope whose job was killed for memory has failed, and would stay listed */
        r = sd->append(m, "(sv)", "CollectMode", "s", "inactive-or-failed");
    if (r >= 0 && (q->tasks_any || q->tasks_max != JB_UNSET))
        r = sd->append(m, "(sv)", "TasksMax", "t", q->tasks_any ? UINT64_MAX : q->tasks_max);
    if (r >= 0)
        r = sd->append(m, "(sv)", "PIDs", "au", 1, (uint32_t)0);
    if (r >= 0)
        r = sd->close_container(m);
    return r < 0 ? r : sd->append(m, "a(sa(sv))", 0);
}

static int await_job(struct talk *t, struct jb_error *err)
{
    uint64_t until = jb_mono_ns(NULL) + ANSWER_TIME;
    while (!*t->result) {
        int r = t->sd.process(t->bus, NULL);
        if (r > 0)
            continue;
        uint64_t now = jb_mono_ns(NULL);
        if (r >= 0 && now >= until)
            return jb_fail(err, ETIMEDOUT, "no word that %s was started, after %llu s", t->unit,
                           (unsigned long long)(ANSWER_TIME / JB_NS_PER_S));
        if (r >= 0)
            r = t->sd.wait(t->bus, (until - now) / JB_NS_PER_US);
        if (r < 0 && r != -EINTR)
            return jb_fail_errno(err, r, "waiting for the start of %s", t->unit);
    }
    return jb_streq(t->result, "done") ? 0
                                       : jb_fail(err, EIO, "starting %s ended as '%s'", t->unit, t->result);
}

static int start_scope(void *ctx, const struct jb_scope_request *request, struct jb_error *err)
{
    autotalk struct talk t = {.unit = request->unit};
    sd_bus_error error = {0};
    (void)ctx;
    int r = dial(&t, request->uid, err);
    if (r < 0)
        return r;
    r = t.sd.match_signal(t.bus, NULL, SERVICE, OBJECT, MANAGER, "JobRemoved", job_removed, &t);
    if (r >= 0)
        r = t.sd.new_call(t.bus, &t.message, SERVICE, OBJECT, MANAGER, "StartTransientUnit");
    if (r >= 0)
        r = write_request(&t, request);
    if (r >= 0)
        r = t.sd.call(t.bus, t.message, ANSWER_TIME / JB_NS_PER_US, &error, &t.reply);
    if (r >= 0)
        r = t.sd.read(t.reply, "o", &t.job);
    if (r < 0)
        return refused(&t, r, &error, "StartTransientUnit", err);
    return await_job(&t, err);
}

static int version(void *ctx, uid_t uid, char *buf, size_t len, struct jb_error *err)
{
    autotalk struct talk t = {0};
    sd_bus_error error = {0};
    jb_autofree char *text = NULL;
    (void)ctx;
    int r = dial(&t, uid, err);
    if (r < 0 || !t.sd.get_string)
        return r;
    r = t.sd.get_string(t.bus, SERVICE, OBJECT, MANAGER, "Version", &error, &text);
    if (r < 0)
        return refused(&t, r, &error, "asking the manager for its version", err);
    (void)snprintf(buf, len, "%s", text);
    return 0;
}

const struct jb_bus jb_bus_systemd = {.start_scope = start_scope, .version = version};
