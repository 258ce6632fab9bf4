/*
 * draw_json.c - a view as JSON, with nothing left out.
 *
 * Owns: nothing beyond the result. Runs in: the client. Privilege: none.
 */
#include "base/json.h"
#include "base/units.h"
#include "machine/draw.h"

json_t *jb_draw_json_box(const struct jb_holding *h, const char *code, const char *user)
{
    json_t *o = json_object();
    bool ok =
        o && jb_json_set(o, "code", jb_json_text(code)) && jb_json_set(o, "id", jb_json_text(h->id.text)) &&
        jb_json_set(o, "name", jb_json_text(h->name)) &&
        jb_json_set(o, "uid", json_integer((json_int_t)h->uid)) &&
        jb_json_set(o, "user", jb_json_text(user)) &&
        jb_json_set(o, "exclusive", json_boolean(h->exclusive)) &&
        jb_json_set(o, "cpus", jb_json_cpus(&h->cpus)) && jb_json_set(o, "held", jb_json_cpus(&h->held)) &&
        jb_json_set(o, "memory_nodes", jb_json_cpus(&h->mems)) &&
        jb_json_set(o, "memory_bytes", jb_json_u64(h->memory));
    if (ok)
        return o;
    json_decref(o);
    return NULL;
}

static json_t *one_node(const struct jb_numa *node)
{
    return json_pack("{s:i, s:b, s:o, s:o}", "node", (int)node->os, "usable", (int)node->usable,
                     "memory_bytes", jb_json_u64(node->memory ? node->memory : JB_UNSET), "cpus",
                     jb_json_cpus(&node->cpus));
}

/* The boxes that run on a PU or hold it, by code. */
static json_t *holders(const struct jb_view *v, unsigned os)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < v->n_boxes; i++) {
        const struct jb_holding *h = &v->boxes[i].holding;
        if (jb_cpus_has(&h->cpus, os) || (h->exclusive && jb_cpus_has(&h->held, os)))
            (void)json_array_append_new(list, jb_json_text(v->boxes[i].code));
    }
    return list;
}

static json_t *one_cpu(const struct jb_view *v, size_t i)
{
    const struct jb_pu *pu = &v->machine->pus[i];
    char kind[32];
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:b, s:b, s:s, s:o}", "cpu", (int)pu->os, "core",
                     (int)pu->core, "l3", (int)pu->l3, "numa_node", (int)v->machine->nodes[pu->numa].os,
                     "package", (int)pu->package, "die", (int)pu->die, "kind",
                     jb_json_text(jb_view_kind_name(v->machine, pu->kind, kind, sizeof(kind))), "allowed",
                     (int)jb_cpus_has(&v->machine->allowed, pu->os), "reserved",
                     (int)jb_cpus_has(&v->machine->reserved, pu->os), "state",
                     jb_pu_state_name(v->pus[i].state), "boxes", holders(v, pu->os));
}

static json_t *totals(const struct jb_view *v)
{
    const struct jb_machine *m = v->machine;
    struct jb_cpus free_cpus = jb_view_cpus(v, JB_PU_FREE);
    return json_pack("{s:o, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:i}", "source",
                     jb_json_text(v->source), "packages", (int)m->n_packages, "dies", (int)m->n_dies,
                     "numa_nodes", (int)m->n_nodes, "l3s", (int)m->n_l3s, "cores", (int)v->n_cores, "cpus",
                     (int)m->n_pus, "kinds", (int)m->n_kinds, "memory_bytes",
                     jb_json_u64(m->memory ? m->memory : JB_UNSET), "allowed", jb_json_cpus(&m->allowed),
                     "not_allowed", jb_json_cpus(&m->disallowed), "offline", jb_json_cpus(&m->offline),
                     "reserved", jb_json_cpus(&m->reserved), "free", jb_json_cpus(&free_cpus), "free_cores",
                     (int)v->free_cores);
}

static json_t *one_device(const struct jb_io_device *d)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "class", jb_io_class_name(d->class), "name",
                     jb_json_text(*d->name ? d->name : NULL), "bus_id", jb_json_text(*d->bus ? d->bus : NULL),
                     "model", jb_json_text(*d->model ? d->model : NULL), "cpus", jb_json_cpus(&d->cpus),
                     "numa_nodes", jb_json_cpus(&d->nodes));
}

json_t *jb_draw_json(const struct jb_view *view)
{
    json_t *nodes = json_array();
    json_t *cpus = json_array();
    json_t *boxes = json_array();
    json_t *devices = json_array();
    bool ok = nodes && cpus && boxes && devices;
    for (size_t i = 0; ok && i < view->machine->n_nodes; i++)
        ok = json_array_append_new(nodes, one_node(&view->machine->nodes[i])) == 0;
    for (size_t i = 0; ok && i < view->machine->n_pus; i++)
        ok = json_array_append_new(cpus, one_cpu(view, i)) == 0;
    for (size_t i = 0; ok && i < view->n_boxes; i++)
        ok = json_array_append_new(boxes, jb_draw_json_box(&view->boxes[i].holding, view->boxes[i].code,
                                                           view->boxes[i].user)) == 0;
    for (size_t i = 0; ok && i < view->machine->n_devices; i++)
        ok = json_array_append_new(devices, one_device(&view->machine->devices[i])) == 0;
    json_t *root = json_pack("{s:o, s:o, s:o, s:o, s:o}", "machine", totals(view), "nodes", nodes, "cpus",
                             cpus, "boxes", boxes, "devices", devices);
    if (ok)
        return root;
    json_decref(root);
    return NULL;
}
