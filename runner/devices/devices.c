/*
 * devices.c - the whole way from a wish to a grant of devices.
 *
 * Owns: the struct jb_devices. Runs in: the client. Privilege: none.
 */
#include "devices/devices.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "devices/choice.h"

void jb_devices_free(struct jb_devices *devices)
{
    if (!devices)
        return;
    jb_strv_free(&devices->env);
    jb_held_free(&devices->held);
    jb_arena_free(&devices->arena);
    free(devices);
}

int jb_devices_held(const struct jb_spec *spec, const struct jb_ledger_dir *dir,
                    const struct jb_ledger *ledger, struct jb_held *ret, struct jb_error *err)
{
    if (spec->resources.devices.len == 0)
        return 0;
    return jb_ledger_devices(dir, ledger, ret, err);
}

/* "vendor.com/gpu=1 and vendor.com/gpu=3 (local to the CPUs), which were chosen beside them" */
static int explain(struct jb_devices *d, bool moved, struct jb_error *err)
{
    static const char *const words[JB_NEAR_MAX] = {
        [JB_NEAR_ANYWHERE] = "close to no CPU in particular",
        [JB_NEAR_LOCAL] = "local to the CPUs",
        [JB_NEAR_PACKAGE] = "on the CPUs' package",
        [JB_NEAR_REMOTE] = "remote from the CPUs",
    };
    jb_autobuf struct jb_buf buf = {0};
    int r = jb_buf_puts(&buf, "");
    for (enum jb_near near = 0; r == 0 && near < JB_NEAR_MAX; near++) {
        size_t n = 0;
        for (size_t i = 0; r == 0 && i < d->len; i++)
            if (d->items[i].near == near)
                r = jb_buf_printf(&buf, "%s%s", n++ ? ", " : buf.len ? "; " : "", d->items[i].name);
        if (r == 0 && n)
            r = jb_buf_printf(&buf, " (%s)", words[near]);
    }
    if (r == 0 && moved)
        r = jb_buf_puts(&buf, "; the CPUs were chosen beside them");
    d->explain = r == 0 ? jb_arena_strdup(&d->arena, buf.data) : NULL;
    return d->explain ? 0 : jb_fail_errno(err, ENOMEM, "devices");
}

static int make(const struct jb_devices_input *in, const struct jb_request *request,
                struct jb_grant *ret_grant, struct jb_devices *into, struct jb_error *err)
{
    struct jb_choice choice;
    struct jb_grant grant;
    bool moved = false;
    int r = jb_choice_init(in, &choice, err);
    if (r < 0)
        return r;
    r = jb_choice_place(&choice, request, &grant, &moved, err);
    if (r == 0)
        r = jb_choice_give(&choice, &grant, into, err);
    if (r == 0)
        r = explain(into, moved, err);
    if (r == 0)
        *ret_grant = grant;
    jb_choice_free(&choice);
    return r;
}

int jb_devices_place(const struct jb_devices_input *in, const struct jb_request *request,
                     struct jb_grant *ret_grant, struct jb_devices **ret_devices, struct jb_error *err)
{
    if (in->spec->resources.devices.len == 0) {
        int r = jb_place(in->machine, in->ledger, request, ret_grant, err);
        *ret_devices = NULL;
        return r < 0 ? jb_wrap(err, "%s", in->spec->file) : 0;
    }
    jb_autodevices struct jb_devices *devices = calloc(1, sizeof(*devices));
    if (!devices)
        return jb_fail_errno(err, ENOMEM, "devices");
    int r = make(in, request, ret_grant, devices, err);
    if (r == 0)
        *ret_devices = jb_take_ptr(devices);
    return r;
}

json_t *jb_devices_json(const struct jb_devices *devices)
{
    json_t *list = json_array();
    for (size_t i = 0; devices && i < devices->len; i++) {
        const struct jb_device *d = &devices->items[i];
        json_t *item = json_object();
        bool ok = jb_json_set(item, "name", jb_json_text(d->name)) &&
                  jb_json_set(item, "source", jb_json_text(d->source)) &&
                  jb_json_set(item, "exclusive", json_boolean(d->exclusive)) &&
                  jb_json_set(item, "near", json_string(jb_near_name(d->near))) &&
                  jb_json_set(item, "numa_node", d->node < 0 ? json_null() : json_integer(d->node));
        if (json_array_append_new(list, item) < 0 || !ok) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}
