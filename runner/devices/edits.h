/*
 * edits.h - inside of runner/devices: reads the containerEdits of a CDI file.
 *
 * Owns: nothing; what is read belongs to the struct jb_cdi_edits. Runs in: the client. Privilege: none.
 */
#ifndef JB_DEVICES_EDITS_H
#define JB_DEVICES_EDITS_H

#include "devices/cdi.h"
#include "spec/field.h"

/* Reader of a whole containerEdits into the struct jb_cdi_edits at the field's offset. */
jb_read_fn jb_cdi_read_edits;

void jb_cdi_edits_free(struct jb_cdi_edits *edits);

/* One more zeroed element of `size` bytes at the end of an array; NULL when out of memory (noted). */
void *jb_cdi_append(struct jb_reading *rd, void **items, size_t *n, size_t size);

#endif
