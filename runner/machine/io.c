/*
 * io.c - from hwloc's PCI and OS devices to one line for each.
 *
 * Owns: nothing beyond the result. Runs in: the client; discovery in the hwloc child. Privilege: none.
 */
#include "machine/io.h"

#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

struct list {
    struct jb_io_device *items;
    size_t len, room;
};

const char *jb_io_class_name(enum jb_io_class class)
{
    static const char *const names[JB_IO_CLASS_MAX] = {
        [JB_IO_GPU] = "gpu",         [JB_IO_COPROCESSOR] = "coprocessor",
        [JB_IO_NETWORK] = "network", [JB_IO_FABRIC] = "fabric",
        [JB_IO_BLOCK] = "block",     [JB_IO_DMA] = "dma",
        [JB_IO_OTHER] = "other",
    };
    return names[class];
}

static enum jb_io_class class_of_os(hwloc_obj_osdev_type_t type)
{
    switch (type) {
    case HWLOC_OBJ_OSDEV_BLOCK:
        return JB_IO_BLOCK;
    case HWLOC_OBJ_OSDEV_GPU:
        return JB_IO_GPU;
    case HWLOC_OBJ_OSDEV_NETWORK:
        return JB_IO_NETWORK;
    case HWLOC_OBJ_OSDEV_OPENFABRICS:
        return JB_IO_FABRIC;
    case HWLOC_OBJ_OSDEV_COPROC:
        return JB_IO_COPROCESSOR;
    case HWLOC_OBJ_OSDEV_DMA:
        return JB_IO_DMA;
    default:
        return JB_IO_OTHER;
    }
}

/* PCI base class, and for serial buses the subclass. */
static enum jb_io_class class_of_pci(unsigned class_id)
{
    switch (class_id >> 8) {
    case 0x01:
        return JB_IO_BLOCK;
    case 0x02:
        return class_id == 0x0207 ? JB_IO_FABRIC : JB_IO_NETWORK;
    case 0x03:
        return JB_IO_GPU;
    case 0x0b:
    case 0x12:
        return JB_IO_COPROCESSOR;
    case 0x0c:
        return class_id == 0x0c06 || class_id == 0x0c04 ? JB_IO_FABRIC : JB_IO_OTHER;
    default:
        return JB_IO_OTHER;
    }
}

/* Names come from firmware, drivers and files of the user. */
static void copy_plain(char *buf, size_t len, const char *text)
{
    (void)snprintf(buf, len, "%s", text ? text : "");
    for (char *p = buf; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
}

static void copy_set(hwloc_const_bitmap_t from, struct jb_cpus *into)
{
    for (int i = from ? hwloc_bitmap_first(from) : -1; i >= 0 && i < JB_CPUS_MAX;
         i = hwloc_bitmap_next(from, i))
        jb_cpus_add(into, (unsigned)i);
}

static hwloc_obj_t pci_above(hwloc_obj_t obj)
{
    while (obj && obj->type != HWLOC_OBJ_PCI_DEVICE)
        obj = obj->parent;
    return obj;
}

static const char *model_of(hwloc_obj_t obj, hwloc_obj_t pci)
{
    const char *model = hwloc_obj_get_info_by_name(obj, "Model");
    if (!model && obj != pci)
        model = hwloc_obj_get_info_by_name(obj, "GPUModel");
    if (!model && pci)
        model = hwloc_obj_get_info_by_name(pci, "PCIDevice");
    return model;
}

/* One more name for a device of the same bus address and class that is there already. */
static bool joined(struct list *list, const struct jb_io_device *device)
{
    for (size_t i = list->len; *device->bus && i-- > 0;) {
        struct jb_io_device *other = &list->items[i];
        if (other->class != device->class || !jb_streq(other->bus, device->bus))
            continue;
        size_t used = strlen(other->name);
        if (*device->name && used + strlen(device->name) + 2 < sizeof(other->name))
            (void)snprintf(other->name + used, sizeof(other->name) - used, "%s%s", used ? "," : "",
                           device->name);
        return true;
    }
    return false;
}

static int add(struct list *list, hwloc_topology_t topology, hwloc_obj_t obj, enum jb_io_class class)
{
    struct jb_io_device device = {.class = class};
    hwloc_obj_t pci = pci_above(obj);
    hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology, obj);
    if (obj != pci)
        copy_plain(device.name, sizeof(device.name), obj->name);
    copy_plain(device.model, sizeof(device.model), model_of(obj, pci));
    if (pci)
        (void)snprintf(device.bus, sizeof(device.bus), "%04x:%02x:%02x.%01x",
                       pci->attr->pcidev.domain & 0xffffff, pci->attr->pcidev.bus, pci->attr->pcidev.dev,
                       pci->attr->pcidev.func & 0xf);
    copy_set(near ? near->cpuset : NULL, &device.cpus);
    copy_set(near ? near->nodeset : NULL, &device.nodes);
    if (joined(list, &device))
        return 0;
    if (list->len == JB_IO_DEVICES_MAX)
        return -EFBIG;
    if (list->len == list->room) {
        size_t room = list->room ? list->room * 2 : 16;
        struct jb_io_device *grown = realloc(list->items, room * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        list->items = grown;
        list->room = room;
    }
    list->items[list->len++] = device;
    return 0;
}

static bool has_os_device(hwloc_obj_t pci)
{
    for (hwloc_obj_t child = pci->io_first_child; child; child = child->next_sibling)
        if (child->type == HWLOC_OBJ_OS_DEVICE)
            return true;
    return false;
}

static int by_place(const void *a, const void *b)
{
    const struct jb_io_device *x = a;
    const struct jb_io_device *y = b;
    int r = (int)x->class - (int)y->class;
    if (r == 0)
        r = strcmp(x->bus, y->bus);
    return r ? r : strverscmp(x->name, y->name);
}

int jb_io_discover(struct hwloc_topology *topology, struct jb_io_device **ret, size_t *ret_n)
{
    struct list list = {0};
    int r = 0;
    for (hwloc_obj_t o = NULL; r == 0 && (o = hwloc_get_next_osdev(topology, o));)
        r = add(&list, topology, o, class_of_os(o->attr->osdev.type));
    for (hwloc_obj_t o = NULL; r == 0 && (o = hwloc_get_next_pcidev(topology, o));)
        if (!has_os_device(o))
            r = add(&list, topology, o, class_of_pci(o->attr->pcidev.class_id));
    if (r < 0) {
        free(list.items);
        return r;
    }
    if (list.len)
        qsort(list.items, list.len, sizeof(*list.items), by_place);
    *ret = list.items;
    *ret_n = list.len;
    return 0;
}

static bool plain(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (!text[i])
            return true;
        if (text[i] < ' ' || text[i] > '~')
            return false;
    }
    return false;
}

bool jb_io_sound(const struct jb_io_device *devices, size_t n)
{
    if (n > JB_IO_DEVICES_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned)devices[i].class >= JB_IO_CLASS_MAX ||
            !plain(devices[i].name, sizeof(devices[i].name)) ||
            !plain(devices[i].bus, sizeof(devices[i].bus)) ||
            !plain(devices[i].model, sizeof(devices[i].model)))
            return false;
    return true;
}

char *jb_io_where(const struct jb_io_device *device, const struct jb_cpus *all, char *buf, size_t len)
{
    struct jb_cpus cpus = device->cpus;
    jb_cpus_and(&cpus, all);
    jb_autofree char *list = jb_cpus_list(&cpus);
    jb_autofree char *nodes = jb_cpus_list(&device->nodes);
    if (jb_cpus_equal(&cpus, all))
        (void)snprintf(buf, len, "near all CPUs");
    else if (jb_cpus_empty(&cpus))
        (void)snprintf(buf, len, "near no CPU%s%s", nodes && *nodes ? ", node " : "", nodes ? nodes : "");
    else
        (void)snprintf(buf, len, "near CPUs %s%s%s%s", list ? list : "", nodes && *nodes ? " (node " : "",
                       nodes ? nodes : "", nodes && *nodes ? ")" : "");
    return buf;
}
