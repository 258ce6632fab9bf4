/*
 * reading.c - the ledger as it is read: who lives and has what, and who is dead.
 *
 * Owns: the arrays of a struct jb_ledger. Runs in: every jobbox process that starts, lists or recovers boxes.
 * Privilege: that of the runtime directory.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/units.h"
#include "machine/ledger.h"
#include "machine/slots.h"

#define TORN_NS      UINT64_C(2000000000) /* for an owner that is halted while it writes */
#define PAUSE_MAX_NS 16000000

void jb_ledger_free(struct jb_ledger *ledger)
{
    free(ledger->items);
    free(ledger->wide);
    *ledger = (struct jb_ledger){0};
}

void jb_ledger_get(const struct jb_ledger *ledger, size_t i, struct jb_holding *ret)
{
    const struct jb_slot *slot = &ledger->items[i];
    if (jb_slot_wide(slot))
        *ret = ledger->wide[slot->sets[0]];
    else
        jb_slot_unpack(slot, ret);
}

/* A wide slot in memory names its place in `wide` by sets[0]. */
static int add_wide(struct jb_ledger *ledger, struct jb_slot *slot, const struct jb_holding *h)
{
    struct jb_holding *grown = realloc(ledger->wide, (ledger->n_wide + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    ledger->wide = grown;
    grown[ledger->n_wide] = *h;
    slot->sets[0] = ledger->n_wide++;
    jb_cpus_or(&ledger->used, &h->cpus);
    jb_cpus_or(&ledger->used, &h->held);
    if (h->exclusive)
        jb_cpus_or(&ledger->held, &h->held);
    return 0;
}

static void add_packed(struct jb_ledger *ledger, const struct jb_slot *slot)
{
    jb_slot_or(slot, 0, &ledger->used);
    jb_slot_or(slot, 1, &ledger->used);
    if (slot->exclusive)
        jb_slot_or(slot, 1, &ledger->held);
}

int jb_ledger_add(struct jb_ledger *ledger, const struct jb_holding *holding)
{
    struct jb_slot slot;
    bool wide = jb_slot_pack(holding, &slot) > 0;
    struct jb_slot *grown = realloc(ledger->items, (ledger->len + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    ledger->items = grown;
    if (wide) {
        int r = add_wide(ledger, &slot, holding);
        if (r < 0)
            return r;
    } else {
        add_packed(ledger, &slot);
    }
    ledger->items[ledger->len++] = slot;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct jb_slot *)a)->id.text, ((const struct jb_slot *)b)->id.text);
}

void jb_ledger_sort(struct jb_ledger *ledger)
{
    if (ledger->len)
        qsort(ledger->items, ledger->len, sizeof(*ledger->items), by_id);
}

/*
 * A filled slot that makes no sense: another look, as its owner may have been writing it. It may also have been taken off
 * its CPU in the midst of that, so it is given time. 1: it lives and is sound now, 0: it does not live.
 */
static int look_again(const struct jb_ledger_dir *dir, size_t g, struct jb_slot *slot)
{
    uint64_t until = jb_mono_ns(NULL) + TORN_NS;
    for (long pause_ns = 1000;; pause_ns = pause_ns < PAUSE_MAX_NS ? pause_ns * 2 : pause_ns) {
        int r = jb_slot_fetch(dir, g, slot);
        if (r < 0 || jb_slot_empty(slot))
            return r;
        if (jb_slot_sound(slot))
            return 1;
        r = jb_slot_locked(dir, g);
        if (r <= 0)
            return r;
        if (jb_mono_ns(NULL) >= until)
            return -EUCLEAN;
        const struct timespec pause = {.tv_nsec = pause_ns};
        (void)nanosleep(&pause, NULL);
    }
}

static int add_live(const struct jb_ledger_dir *dir, size_t g, struct jb_slot *slot, struct jb_ledger *ledger)
{
    if (!jb_slot_wide(slot)) {
        add_packed(ledger, slot);
        return 0;
    }
    struct jb_holding h;
    jb_slot_unpack(slot, &h);
    int r = jb_slot_wide_fetch(dir, g, &h);
    return r < 0 ? r : add_wide(ledger, slot, &h);
}

/* Whether the box of a filled slot lives: 1, 0, or -EUCLEAN when it does and cannot be understood. */
static int lives(const struct jb_ledger_dir *dir, size_t g, struct jb_slot *slot)
{
    int r = jb_slot_locked(dir, g);
    return r <= 0 || jb_slot_sound(slot) ? r : look_again(dir, g, slot);
}

/* Which of the filled slots have their lock tested: so many in a row, beginning at another one each time. */
struct sample {
    size_t filled, tests, first, seen;
};

static struct sample sample_of(const struct jb_slots *slots, size_t tests)
{
    struct sample s = {.tests = tests};
    for (size_t f = 0; f < JB_LEDGER_FILES; f++)
        for (size_t i = 0; i < slots->per_file[f]; i++)
            s.filled += !jb_slot_empty(&slots->items[slots->start[f] + i]);
    if (s.filled > tests)
        s.first = (size_t)(jb_mono_ns(NULL) / JB_NS_PER_US) % s.filled;
    return s;
}

/* Of the next filled slot. */
static bool in_sample(struct sample *s)
{
    return (s->seen++ + s->filled - s->first) % s->filled < s->tests;
}

/* Boxes whose lock is not tested live, for all that is known. */
static int read_boxes(const struct jb_ledger_dir *dir, size_t tests, struct jb_ledger *ret,
                      struct jb_error *err)
{
    struct jb_slots slots = {0};
    struct jb_ledger ledger = {0};
    int r = jb_slots_read(dir, &slots);
    if (r < 0)
        return jb_fail_errno(err, r, "reading the ledger");
    struct sample sample = sample_of(&slots, tests);
    /* live slots move to the front of the very memory they were read into */
    ledger.items = slots.items;
    for (size_t f = 0; f < JB_LEDGER_FILES; f++)
        for (size_t i = 0; i < slots.per_file[f]; i++) {
            struct jb_slot *slot = &slots.items[slots.start[f] + i];
            if (jb_slot_empty(slot))
                continue;
            bool test = in_sample(&sample) || !jb_slot_sound(slot);
            r = test ? lives(dir, i * JB_LEDGER_FILES + f, slot) : 1;
            ledger.untested += !test;
            ledger.dead += r == 0 && !jb_slot_empty(slot);
            if (r > 0)
                r = add_live(dir, i * JB_LEDGER_FILES + f, slot, &ledger);
            else if (r == 0)
                continue;
            if (r < 0) {
                jb_ledger_free(&ledger);
                return r != -EUCLEAN ? jb_fail_errno(err, r, "ledger.%zu: reading slot %zu", f, i)
                                     : jb_fail(err, r,
                                               "ledger.%zu: slot %zu is in use but damaged; end its job, or "
                                               "all of them",
                                               f, i);
            }
            ledger.items[ledger.len++] = *slot;
        }
    *ret = ledger;
    return 0;
}

int jb_ledger_read(const struct jb_ledger_dir *dir, struct jb_ledger *ret, struct jb_error *err)
{
    return read_boxes(dir, JB_LEDGER_ALL, ret, err);
}

int jb_ledger_glance(const struct jb_ledger_dir *dir, struct jb_ledger *ret, struct jb_error *err)
{
    return read_boxes(dir, JB_LEDGER_TESTS, ret, err);
}

struct ids {
    struct jb_id *items;
    size_t len, cap;
};

static int add_id(struct ids *ids, const char *text)
{
    if (ids->len == ids->cap) {
        size_t cap = ids->cap ? ids->cap * 2 : 16;
        struct jb_id *grown = realloc(ids->items, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        ids->items = grown;
        ids->cap = cap;
    }
    memset(ids->items[ids->len].text, 0, sizeof(ids->items[0].text));
    memcpy(ids->items[ids->len++].text, text, JB_ID_LEN);
    return 0;
}

/* Folders that no slot names. */
static int add_orphans(const struct jb_ledger_dir *dir, struct ids *ids)
{
    struct ids seen = {0};
    jb_autoclose int fd = openat(dir->boxes_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    jb_autodir DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return -errno;
    (void)jb_take_fd(&fd);
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(d));) {
        const char *name = e->d_name + (e->d_name[0] == '.');
        if (jb_id_valid(name))
            r = add_id(&seen, name);
    }
    /* slots are read after the folders: a box claimed meanwhile had its slot before its folder */
    jb_autoslots struct jb_slots slots = {0};
    if (r == 0)
        r = jb_slots_read(dir, &slots);
    for (size_t i = 0; r == 0 && i < seen.len; i++)
        if (jb_slots_find(dir, &slots, &seen.items[i]) == -ENOENT)
            r = add_id(ids, seen.items[i].text);
    free(seen.items);
    return r;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(((const struct jb_id *)a)->text, ((const struct jb_id *)b)->text);
}

static int find_dead(const struct jb_ledger_dir *dir, size_t tests, struct ids *ids)
{
    jb_autoslots struct jb_slots slots = {0};
    int r = jb_slots_read(dir, &slots);
    if (r < 0)
        return r;
    size_t end = jb_slots_end(&slots);
    struct sample sample = sample_of(&slots, tests);
    size_t sound = 0;
    for (size_t g = 0; g < end; g++) {
        const struct jb_slot *slot = jb_slots_at(&slots, g);
        if (!slot || jb_slot_empty(slot))
            continue;
        bool test = in_sample(&sample);
        if (!jb_slot_sound(slot))
            continue;
        sound++;
        r = test ? jb_slot_locked(dir, g) : 1;
        if (r == 0)
            r = add_id(ids, slot->id.text);
        if (r < 0)
            return r;
    }
    /* on most file systems a folder's link count tells how many folders it holds: no need to list them */
    struct stat st;
    if (fstat(dir->boxes_fd, &st) < 0)
        return -errno;
    return st.st_nlink == sound + 2 ? 0 : add_orphans(dir, ids);
}

int jb_ledger_dead(const struct jb_ledger_dir *dir, size_t tests, struct jb_id **ret_ids, size_t *ret_n,
                   struct jb_error *err)
{
    struct ids ids = {0};
    int r = find_dead(dir, tests, &ids);
    if (r < 0) {
        free(ids.items);
        return jb_fail_errno(err, r, "looking for boxes whose supervisor died");
    }
    if (ids.len)
        qsort(ids.items, ids.len, sizeof(*ids.items), compare_ids);
    *ret_ids = ids.items;
    *ret_n = ids.len;
    return 0;
}
