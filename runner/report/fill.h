/*
 * fill.h - lines of journals into the index. Within report/ only.
 *
 * Owns: the segment that is being filled. Runs in: whoever fills an index, under its lock. Privilege: the user's.
 */
#ifndef JB_REPORT_FILL_H
#define JB_REPORT_FILL_H

#include "report/store.h"
#include "report/texts.h"

struct jb_fill {
    struct jb_store *store; /* borrowed */
    struct jb_texts texts;
    struct jb_segment segment;
    int64_t *columns; /* JB_COL_MAX times JB_SEGMENT */
    bool dirty;
    uint64_t counts[JB_LINE_MAX];
    uint64_t not_utf8;
};

int jb_fill_begin(struct jb_store *store, struct jb_fill *ret, struct jb_error *err);
/* 1 when the file may have something that the index does not, going by its size and time; 0 when not. */
int jb_fill_is_new(struct jb_fill *fill, const char *path, struct jb_error *err);
/* All lines of it that are not in yet. A file that cannot be read is noted, and no failure. */
int jb_fill_file(struct jb_fill *fill, const char *path, struct jb_error *err);
/* Writes what is not written. */
int jb_fill_flush(struct jb_fill *fill, struct jb_error *err);
void jb_fill_free(struct jb_fill *fill);

#endif
