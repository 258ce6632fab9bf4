/*
 * texts.h - from a text of a line to its number in the index, without asking SQLite each time. Within report/ only.
 *
 * Owns: a table of the texts that came last, at most JB_TEXTS_BYTES of them. Runs in: whoever fills an index.
 */
#ifndef JB_REPORT_TEXTS_H
#define JB_REPORT_TEXTS_H

#include "report/store.h"

#define JB_TEXTS_BYTES (24u << 20)
#define JB_TEXT_MAX    4096  /* bytes of a text that the index keeps */
#define JB_LABELS_MAX  65536 /* of labels; longer ones are left out, for half of them would be no JSON */

struct jb_texts {
    struct jb_text_entry *table; /* JB_TEXTS_SLOTS */
    char *bytes;                 /* JB_TEXTS_BYTES */
    size_t used, n;
};

int jb_texts_init(struct jb_texts *texts);
void jb_texts_free(struct jb_texts *texts);

/* *ret_bad: it had bytes that are no UTF-8. `whole`: JSON, kept as it is. */
int jb_texts_id(struct jb_texts *texts, struct jb_store *store, const struct jb_slice *slice, bool whole,
                int64_t *ret, bool *ret_bad, struct jb_error *err);

#endif
