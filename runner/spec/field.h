/*
 * field.h - tables of keys, and the readers of single values that they name.
 *
 * Owns: nothing; what readers store into the target is allocated and the target's. Runs in: the client,
 * unprivileged. Privilege: none.
 *
 * A mapping of the file is described by an array of struct jb_field: what a key is called, where in the
 * target its value goes and who reads it. The same array gives "did you mean" its words. A value with a fault
 * is complained about and left as it was.
 */
#ifndef JB_SPEC_FIELD_H
#define JB_SPEC_FIELD_H

#include "spec/node.h"

struct jb_field;

typedef void jb_read_fn(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                        const struct jb_field *field, void *target);

struct jb_field {
    const char *name;
    enum jb_key key; /* JB_KEY_MAX: its position is not kept */
    jb_read_fn *read;
    size_t offset;                 /* of the value in the target */
    uint64_t min;                  /* least value, or bytes for text */
    uint64_t max;                  /* greatest; 0: no bound of its own */
    const char *const *names;      /* words of an enumeration, by value */
    size_t n_names;                /* or how many fields */
    const struct jb_field *fields; /* of a mapping */
    jb_read_fn *inner;             /* for readers that wrap another one */
};

/* Where a field's value goes. */
static inline void *jb_slot(const struct jb_field *field, void *target)
{
    return (char *)target + field->offset;
}

/* Whether the node is of that kind; complains when not ("must be a list of ..."). */
bool jb_want(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
             enum jb_node_kind kind, const char *what);

/* Whether a scalar says nothing: empty, ~ or null without quotes. */
bool jb_is_null(const struct jb_node *node);

/* Each member of a mapping by its field. */
void jb_read_fields(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                    const struct jb_field *fields, size_t n, void *target);

/* " ; did you mean ..." or "" ; what an unknown word could have been. buf is filled and returned. */
const char *jb_suggest(const char *word, const char *const *words, size_t n, char buf[JB_SHOW]);

/* The index of a word in a table, or -1. */
int jb_word_index(const char *word, const char *const *words, size_t n);

/* "a, b, c" for messages, cut at the buffer's end. Returns buf. */
const char *jb_word_list(const char *const *words, size_t n, char *buf, size_t len);

/* The member `name` of a mapping, or NULL. */
const struct jb_node *jb_member(const struct jb_node *map, const char *name);

/* Readers. What they store is written behind each. */
jb_read_fn jb_read_map;      /* nested fields, into the same target */
jb_read_fn jb_read_bool;     /* bool */
jb_read_fn jb_read_enum;     /* enum with names */
jb_read_fn jb_read_count;    /* uint64_t between min and max */
jb_read_fn jb_read_size;     /* uint64_t bytes, at least min */
jb_read_fn jb_read_duration; /* uint64_t ns, at least min */
jb_read_fn jb_read_cpus;     /* struct jb_cpus, not empty */
jb_read_fn jb_read_line;     /* char *: one line of text, at most max bytes */
jb_read_fn jb_read_path;     /* char *: absolute, cleaned */
jb_read_fn jb_read_env;      /* struct jb_strv of NAME=value */
jb_read_fn jb_read_degraded; /* bool[JB_DEGRADE_MAX] */
jb_read_fn jb_read_argv;     /* struct jb_strv, not empty */
jb_read_fn jb_read_paths;    /* struct jb_strv of absolute, cleaned paths, added to what is there */

/* What the readers above check, for text that is part of something larger. */
bool jb_scalar(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node, const char *what);
bool jb_plain_line(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node, size_t max);
bool jb_clean_path(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node, char **ret);
bool jb_whole_number(struct jb_reading *rd, const struct jb_at *at, const struct jb_node *node,
                     const char *text, uint64_t min, uint64_t max, uint64_t *ret);
bool jb_env_name(const char *text, size_t len);
void jb_set_text(struct jb_reading *rd, char **slot, const char *text);

#define JB_ARG_MAX 131071 /* bytes of one argument or NAME=value, as the kernel limits them */

#endif
