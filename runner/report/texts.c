/*
 * texts.c - texts by number, with a table of those that came last.
 *
 * Owns: the table. Runs in: whoever fills an index. Privilege: none.
 */
#include "report/texts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define SLOTS (1u << 19) /* twice as many as texts, at least: the shortest takes up bytes too */

struct jb_text_entry {
    uint64_t hash; /* 0: free */
    uint32_t at, len;
    int32_t id;
    bool bad;
};

int jb_texts_init(struct jb_texts *texts)
{
    *texts =
        (struct jb_texts){.table = calloc(SLOTS, sizeof(*texts->table)), .bytes = malloc(JB_TEXTS_BYTES)};
    if (texts->table && texts->bytes)
        return 0;
    jb_texts_free(texts);
    return -ENOMEM;
}

void jb_texts_free(struct jb_texts *texts)
{
    free(texts->table);
    free(texts->bytes);
    *texts = (struct jb_texts){0};
}

static uint64_t hash_of(const char *p, size_t len)
{
    uint64_t h = UINT64_C(0x9E3779B97F4A7C15) ^ len;
    uint64_t w;
    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * UINT64_C(0xFF51AFD7ED558CCD);
        h ^= h >> 32;
    }
    w = 0;
    memcpy(&w, p, len);
    h = (h ^ w) * UINT64_C(0xC4CEB9FE1A85EC53);
    h ^= h >> 29;
    return h ? h : 1;
}

static struct jb_text_entry *look(const struct jb_texts *texts, uint64_t hash, const struct jb_slice *slice)
{
    for (size_t i = hash & (SLOTS - 1);; i = (i + 1) & (SLOTS - 1)) {
        struct jb_text_entry *e = &texts->table[i];
        if (!e->hash ||
            (e->hash == hash && e->len == slice->len && memcmp(texts->bytes + e->at, slice->at, e->len) == 0))
            return e;
    }
}

/* Numbers never change, so forgetting all of the table is never wrong. */
static void forget(struct jb_texts *texts)
{
    memset(texts->table, 0, SLOTS * sizeof(*texts->table));
    texts->used = texts->n = 0;
}

static int ask(struct jb_store *store, const char *text, size_t len, int64_t *ret, struct jb_error *err)
{
    sqlite3_stmt *stmt = jb_store_sql(store, JB_SQL_TEXT_BY_VALUE, err);
    if (!stmt)
        return -EIO;
    (void)sqlite3_bind_text(stmt, 1, text, (int)len, SQLITE_STATIC);
    int code = jb_store_step(stmt);
    if (code == SQLITE_ROW)
        *ret = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_reset(stmt);
    if (code == SQLITE_ROW)
        return 0;
    if (code != SQLITE_DONE || !(stmt = jb_store_sql(store, JB_SQL_TEXT_ADD, err)))
        return jb_store_failed(store, "reading", err);
    (void)sqlite3_bind_text(stmt, 1, text, (int)len, SQLITE_STATIC);
    code = jb_store_step(stmt);
    *ret = sqlite3_last_insert_rowid(store->db);
    (void)sqlite3_reset(stmt);
    return code == SQLITE_DONE ? 0 : jb_store_failed(store, "filling", err);
}

/* Not in the middle of a character. */
static size_t cut(const char *text, size_t len)
{
    if (len <= JB_TEXT_MAX)
        return len;
    for (len = JB_TEXT_MAX; len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80;)
        len--;
    return len;
}

static int resolve(struct jb_store *store, const struct jb_slice *slice, bool whole, int64_t *ret,
                   bool *ret_bad, struct jb_error *err)
{
    struct jb_slice some = *slice;
    if (whole && some.len > JB_LABELS_MAX) {
        *ret = 0;
        return 0;
    }
    if (!whole && some.len > (size_t)6 * JB_TEXT_MAX) /* \u0041 is one character */
        some.len = (size_t)6 * JB_TEXT_MAX;
    jb_autofree char *text = malloc(3 * some.len + 1);
    if (!text)
        return jb_fail_errno(err, ENOMEM, "index");
    size_t len = jb_slice_decode(&some, text);
    *ret_bad = false;
    for (const char *p = text; !*ret_bad && (p = memmem(p, len - (size_t)(p - text), "\xEF\xBF\xBD", 3));
         p += 3)
        *ret_bad = !memmem(some.at, some.len, "\xEF\xBF\xBD", 3);
    return ask(store, text, whole ? len : cut(text, len), ret, err);
}

int jb_texts_id(struct jb_texts *texts, struct jb_store *store, const struct jb_slice *slice, bool whole,
                int64_t *ret, bool *ret_bad, struct jb_error *err)
{
    uint64_t hash = hash_of(slice->at, slice->len);
    struct jb_text_entry *e = look(texts, hash, slice);
    if (e->hash) {
        *ret = e->id;
        *ret_bad = e->bad;
        return 0;
    }
    int r = resolve(store, slice, whole, ret, ret_bad, err);
    if (r < 0 || slice->len > JB_TEXT_MAX)
        return r;
    if (texts->n >= SLOTS / 2 || slice->len > JB_TEXTS_BYTES - texts->used) {
        forget(texts);
        e = look(texts, hash, slice);
    }
    *e = (struct jb_text_entry){hash, (uint32_t)texts->used, (uint32_t)slice->len, (int32_t)*ret, *ret_bad};
    memcpy(texts->bytes + texts->used, slice->at, slice->len);
    texts->used += slice->len;
    texts->n++;
    return 0;
}
