/*
 * slots.c - the unit of the ledger on disk.
 *
 * Owns: nothing. Runs in: every jobbox process that uses the ledger. Privilege: that of the runtime
 * directory.
 *
 * Slots are aligned and smaller than a page, so the kernel copies one without a point at which a kill could
 * split it.
 */
#include "machine/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

enum form {
    FORM_PACKED = 1,   /* cpus, held, mems one after another in `sets` */
    FORM_HELD_IS_CPUS, /* cpus, mems; held equals cpus */
    FORM_WIDE,         /* the sets are elsewhere */
};

#define WIDE_SIZE (3 * sizeof(struct jb_cpus))
#define WIDE_NAME "ledger.wide"

static void file_name(size_t file, char buf[16])
{
    (void)snprintf(buf, 16, "ledger.%u", (unsigned)(file % 100));
}

static off_t offset_of(size_t g)
{
    return (off_t)(g / JB_LEDGER_FILES * JB_SLOT_SIZE);
}

static uint64_t sum_of(const struct jb_slot *slot)
{
    uint64_t w[JB_SLOT_SIZE / 8];
    uint64_t a = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t b = ~a;
    memcpy(w, slot, sizeof(w));
    for (size_t i = 1; i + 1 < JB_SLOT_SIZE / 8; i += 2) { /* two chains: the products overlap in time */
        a = (a ^ w[i]) * UINT64_C(0xff51afd7ed558ccd);
        b = (b ^ w[i + 1]) * UINT64_C(0xc4ceb9fe1a85ec53);
    }
    a = (a ^ w[JB_SLOT_SIZE / 8 - 1]) * UINT64_C(0xff51afd7ed558ccd);
    return a ^ b >> 31 ^ b << 33;
}

int jb_slots_read(const struct jb_ledger_dir *dir, struct jb_slots *ret)
{
    struct jb_slots s = {0};
    size_t total = 0;
    for (size_t f = 0; f < JB_LEDGER_FILES; f++) {
        struct stat st;
        if (fstat(dir->slots_fd[f], &st) < 0)
            return -errno;
        s.per_file[f] = (size_t)st.st_size / JB_SLOT_SIZE;
        if (s.per_file[f] > JB_SLOTS_MAX / JB_LEDGER_FILES)
            s.per_file[f] = JB_SLOTS_MAX / JB_LEDGER_FILES;
        s.start[f] = total;
        total += s.per_file[f];
    }
    s.items = malloc(total ? total * JB_SLOT_SIZE : 1);
    if (!s.items)
        return -ENOMEM;
    for (size_t f = 0; f < JB_LEDGER_FILES; f++) {
        ssize_t n = pread(dir->slots_fd[f], s.items + s.start[f], s.per_file[f] * JB_SLOT_SIZE, 0);
        if (n < 0) {
            int r = -errno;
            jb_slots_free(&s);
            return r;
        }
        s.per_file[f] = (size_t)n / JB_SLOT_SIZE;
    }
    *ret = s;
    return 0;
}

void jb_slots_free(struct jb_slots *slots)
{
    free(slots->items);
    *slots = (struct jb_slots){0};
}

struct jb_slot *jb_slots_at(const struct jb_slots *slots, size_t g)
{
    size_t file = g % JB_LEDGER_FILES;
    size_t i = g / JB_LEDGER_FILES;
    return i < slots->per_file[file] ? slots->items + slots->start[file] + i : NULL;
}

size_t jb_slots_end(const struct jb_slots *slots)
{
    size_t most = 0;
    for (size_t f = 0; f < JB_LEDGER_FILES; f++)
        if (slots->per_file[f] > most)
            most = slots->per_file[f];
    return most * JB_LEDGER_FILES;
}

/* The id of a slot stays as long as its box does, so it is whole even where its owner was writing all else just then. */
int jb_slots_find(const struct jb_ledger_dir *dir, const struct jb_slots *slots, const struct jb_id *id)
{
    size_t end = jb_slots_end(slots);
    for (size_t g = 0; g < end; g++) {
        const struct jb_slot *slot = jb_slots_at(slots, g);
        if (!slot || memcmp(slot->id.text, id->text, JB_ID_LEN) != 0)
            continue;
        int r = jb_slot_sound(slot) ? 1 : jb_slot_locked(dir, g);
        if (r != 0)
            return r < 0 ? r : (int)g;
    }
    return -ENOENT;
}

bool jb_slot_empty(const struct jb_slot *slot)
{
    return slot->id.text[0] == '\0';
}

bool jb_slot_sound(const struct jb_slot *slot)
{
    if (slot->sum != sum_of(slot) || slot->form < FORM_PACKED || slot->form > FORM_WIDE)
        return false;
    if (slot->id.text[JB_ID_LEN] != '\0' || slot->name[sizeof(slot->name) - 1] != '\0')
        return false;
    unsigned words = 0;
    for (int i = 0; i < 3; i++) {
        words += slot->words[i];
        if ((unsigned)slot->first[i] + slot->words[i] > JB_CPUS_WORDS)
            return false;
    }
    return words <= JB_ARRAY_LEN(slot->sets);
}

static struct flock range_of(size_t g)
{
    return (struct flock){
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = offset_of(g), .l_len = JB_SLOT_SIZE};
}

int jb_slot_locked(const struct jb_ledger_dir *dir, size_t g)
{
    struct flock fl = range_of(g);
    if (fcntl(dir->slots_fd[g % JB_LEDGER_FILES], F_OFD_GETLK, &fl) < 0)
        return -errno;
    return fl.l_type != F_UNLCK;
}

int jb_slot_take(const struct jb_ledger_dir *dir, size_t g, int *ret_lock_fd)
{
    char name[16];
    file_name(g % JB_LEDGER_FILES, name);
    jb_autoclose int fd = openat(dir->runtime_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    struct flock fl = range_of(g);
    if (fcntl(fd, F_OFD_SETLK, &fl) < 0)
        return errno == EACCES ? -EAGAIN : -errno;
    *ret_lock_fd = jb_take_fd(&fd);
    return 0;
}

int jb_slot_fetch(const struct jb_ledger_dir *dir, size_t g, struct jb_slot *ret)
{
    struct jb_slot slot = {0};
    ssize_t n = pread(dir->slots_fd[g % JB_LEDGER_FILES], &slot, sizeof(slot), offset_of(g));
    if (n < 0)
        return -errno;
    if ((size_t)n < sizeof(slot)) /* beyond the end: never used */
        slot = (struct jb_slot){0};
    *ret = slot;
    return 0;
}

void jb_slot_set_ends(struct jb_slot *slot, uint64_t ends_ns)
{
    slot->ends_ns = ends_ns;
    slot->sum = sum_of(slot);
}

int jb_slot_store(const struct jb_ledger_dir *dir, size_t g, const struct jb_slot *slot)
{
    ssize_t n = pwrite(dir->slots_fd[g % JB_LEDGER_FILES], slot, sizeof(*slot), offset_of(g));
    if (n < 0)
        return -errno;
    return (size_t)n == sizeof(*slot) ? 0 : -ENOSPC;
}

static void extent(const struct jb_cpus *set, uint8_t *ret_first, uint8_t *ret_words)
{
    size_t first = 0;
    size_t end = JB_CPUS_WORDS;
    while (first < end && !set->w[first])
        first++;
    while (end > first && !set->w[end - 1])
        end--;
    *ret_first = (uint8_t)(end > first ? first : 0);
    *ret_words = (uint8_t)(end - first);
}

int jb_slot_pack(const struct jb_holding *h, struct jb_slot *ret)
{
    struct jb_slot s = {.id = h->id,
                        .exclusive = h->exclusive,
                        .devices = h->has_devices || h->devices,
                        .uid = h->uid,
                        .memory = h->memory,
                        .ends_ns = h->ends_ns};
    memcpy(s.name, h->name, sizeof(s.name));
    s.name[sizeof(s.name) - 1] = '\0';
    s.form = jb_cpus_equal(&h->cpus, &h->held) ? FORM_HELD_IS_CPUS : FORM_PACKED;
    const struct jb_cpus *sets[3] = {&h->cpus, s.form == FORM_PACKED ? &h->held : NULL, &h->mems};
    size_t used = 0;
    for (int i = 0; i < 3; i++) {
        if (!sets[i])
            continue;
        extent(sets[i], &s.first[i], &s.words[i]);
        if (used + s.words[i] > JB_ARRAY_LEN(s.sets)) {
            s.form = FORM_WIDE;
            break;
        }
        memcpy(s.sets + used, sets[i]->w + s.first[i], s.words[i] * sizeof(uint64_t));
        used += s.words[i];
    }
    if (s.form == FORM_WIDE) {
        memset(s.first, 0, sizeof(s.first));
        memset(s.words, 0, sizeof(s.words));
        memset(s.sets, 0, sizeof(s.sets));
    }
    s.sum = sum_of(&s);
    *ret = s;
    return s.form == FORM_WIDE;
}

bool jb_slot_wide(const struct jb_slot *slot)
{
    return slot->form == FORM_WIDE;
}

static const uint64_t *words_of(const struct jb_slot *slot, int *which)
{
    if (*which == 1 && slot->form == FORM_HELD_IS_CPUS)
        *which = 0;
    const uint64_t *words = slot->sets;
    for (int i = 0; i < *which; i++)
        words += slot->words[i];
    return words;
}

int jb_slot_only(const struct jb_slot *slot, int which)
{
    const uint64_t *words = words_of(slot, &which);
    if (slot->words[which] != 1 || __builtin_popcountll(words[0]) != 1)
        return -1;
    return slot->first[which] * 64 + __builtin_ctzll(words[0]);
}

void jb_slot_or(const struct jb_slot *slot, int which, struct jb_cpus *into)
{
    const uint64_t *words = words_of(slot, &which);
    for (unsigned i = 0; i < slot->words[which]; i++)
        into->w[slot->first[which] + i] |= words[i];
}

void jb_slot_unpack(const struct jb_slot *slot, struct jb_holding *ret)
{
    struct jb_holding h = {.id = slot->id,
                           .uid = slot->uid,
                           .exclusive = slot->exclusive,
                           .has_devices = slot->devices,
                           .memory = slot->memory,
                           .ends_ns = slot->ends_ns};
    memcpy(h.name, slot->name, sizeof(h.name));
    jb_slot_or(slot, 0, &h.cpus);
    jb_slot_or(slot, 1, &h.held);
    jb_slot_or(slot, 2, &h.mems);
    *ret = h;
}

static int open_wide(const struct jb_ledger_dir *dir, int flags)
{
    int fd = openat(dir->runtime_fd, WIDE_NAME, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : fd;
}

int jb_slot_wide_fetch(const struct jb_ledger_dir *dir, size_t g, struct jb_holding *into)
{
    struct jb_cpus sets[3];
    jb_autoclose int fd = open_wide(dir, O_RDONLY);
    if (fd < 0)
        return fd;
    ssize_t n = pread(fd, sets, sizeof(sets), (off_t)(g * WIDE_SIZE));
    if (n < 0)
        return -errno;
    if ((size_t)n < sizeof(sets))
        return -EUCLEAN;
    into->cpus = sets[0];
    into->held = sets[1];
    into->mems = sets[2];
    return 0;
}

int jb_slot_wide_store(const struct jb_ledger_dir *dir, size_t g, const struct jb_holding *h)
{
    struct jb_cpus sets[3] = {h->cpus, h->held, h->mems};
    jb_autoclose int fd = open_wide(dir, O_RDWR | O_CREAT);
    if (fd < 0)
        return fd;
    ssize_t n = pwrite(fd, sets, sizeof(sets), (off_t)(g * WIDE_SIZE));
    if (n < 0)
        return -errno;
    return (size_t)n == sizeof(sets) ? 0 : -ENOSPC;
}
