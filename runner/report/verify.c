/*
 * verify.c - chains of records, put together again.
 *
 * Owns: what it remembers of each record. Runs in: jobbox-report. Privilege: the user's.
 *
 * Each line is looked at alone first: whether its digest is right. Then all lines, ordered by writer and number, tell what is
 * missing between them, what is there twice and where a line does not follow the one before it.
 */
#include "report/verify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "record/chain.h"
#include "report/line.h"
#include "report/source.h"

#define LINES_MAX 1000

struct seen {
    uint32_t writer, file; /* numbers in `writers` and `files`; writer UINT32_MAX: no link */
    uint64_t seq, at;
    int64_t id_hi, id_lo;
    uint64_t sha[2], prev[2]; /* halves are enough to tell them apart */
    uint64_t boot;
    bool whole;
};

/* How far a writer had come before its records were read: it may go on meanwhile. */
struct end {
    const char *folder; /* the caller's */
    struct jb_chain chain;
};

struct verifying {
    struct jb_verified *out;
    struct jb_strv files, writers;
    struct seen *list;
    size_t n, cap;
    struct end *ends;
    size_t n_ends;
};

const char *jb_finding_name(enum jb_finding finding)
{
    static const char *const names[] = {"altered", "missing", "doubled",  "foreign",
                                        "unread",  "torn",    "unchained"};
    return names[finding];
}

bool jb_finding_is_bad(enum jb_finding finding)
{
    return finding <= JB_FOUND_UNREAD;
}

static void tell(struct verifying *v, const char *fmt, ...) JB_PRINTF(2, 3);
static void tell(struct verifying *v, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (v->out->lines.len < LINES_MAX)
        (void)jb_strv_add(&v->out->lines, text);
}

static void found(struct verifying *v, enum jb_finding finding, uint64_t n)
{
    v->out->found[finding] += n;
}

static uint64_t hash(const char *text, size_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* 32 hex digits of 64 */
static void halves(const char *hex, uint64_t ret[2])
{
    for (size_t i = 0; i < 2; i++) {
        char part[17];
        (void)snprintf(part, sizeof(part), "%.16s", hex + 16 * i);
        ret[i] = *hex ? strtoull(part, NULL, 16) : 0;
    }
}

static int writer_number(struct verifying *v, const char *name, uint32_t *ret)
{
    for (size_t i = v->writers.len; i-- > 0;)
        if (jb_streq(v->writers.items[i], name)) {
            *ret = (uint32_t)i;
            return 0;
        }
    *ret = (uint32_t)v->writers.len;
    return jb_strv_add(&v->writers, name);
}

/* The boot of a record: the first key of that name is jobbox's own or a label, and only equality is asked. */
static uint64_t boot_of(const char *line, size_t len)
{
    static const char key[] = "\"boot_id\":\"";
    const char *at = memmem(line, len, key, sizeof(key) - 1);
    size_t left = at ? len - (size_t)(at - line) : 0;
    return left > sizeof(key) + 36 ? hash(at + sizeof(key) - 1, 36) : 0;
}

static int add_record(struct verifying *v, const char *line, size_t len, uint64_t at,
                      const struct jb_line *scanned)
{
    struct jb_chain_link link;
    if (v->n == v->cap) {
        size_t cap = v->cap ? 2 * v->cap : 1024;
        struct seen *grown = realloc(v->list, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        v->list = grown;
        v->cap = cap;
    }
    struct seen *s = &v->list[v->n++];
    *s = (struct seen){.writer = UINT32_MAX,
                       .file = (uint32_t)v->files.len - 1,
                       .at = at,
                       .id_hi = scanned->row.v[JB_COL_ID_HI],
                       .id_lo = scanned->row.v[JB_COL_ID_LO],
                       .whole = true};
    v->out->records++;
    if (!jb_chain_parse(line, len, &link)) {
        found(v, JB_FOUND_UNCHAINED, 1);
        return 0;
    }
    s->seq = link.seq;
    s->boot = boot_of(line, len);
    halves(link.sha256, s->sha);
    halves(link.prev, s->prev);
    s->whole = jb_chain_is_whole(line, &link);
    if (!s->whole) {
        found(v, JB_FOUND_ALTERED, 1);
        tell(v, "altered: record %llu of %s, %s, byte %llu: the line is not the one that was written",
             (unsigned long long)link.seq, link.writer, v->files.items[s->file], (unsigned long long)at);
    }
    return writer_number(v, link.writer, &s->writer);
}

static int look_at(struct verifying *v, const char *line, size_t len, uint64_t at)
{
    struct jb_line scanned;
    const char *path = v->files.items[v->files.len - 1];
    if (len == 0)
        return 0;
    enum jb_line_kind kind = jb_line_scan(line, len, &scanned);
    if (kind == JB_LINE_RECORD)
        return add_record(v, line, len, at, &scanned);
    enum jb_finding finding = kind == JB_LINE_TORN ? JB_FOUND_TORN : JB_FOUND_FOREIGN;
    found(v, finding, 1);
    tell(v, "%s: %s, byte %llu: %s", jb_finding_name(finding), path, (unsigned long long)at,
         kind == JB_LINE_TORN     ? "a line that ends too early, or was never JSON"
         : kind == JB_LINE_FUTURE ? "a record of a later version of jobbox"
                                  : "a line that is no record");
    return 0;
}

static int read_file(struct verifying *v, const char *path, struct jb_error *err)
{
    jb_autolines struct jb_lines source = {.fd = -1};
    struct jb_error why = {0};
    const char *line;
    size_t len = 0;
    uint64_t at = 0;
    if (jb_strv_add(&v->files, path) < 0)
        return jb_fail_errno(err, ENOMEM, "verify");
    v->out->files++;
    int r = jb_lines_open(path, &source, &why);
    while (r >= 0 && (r = jb_lines_next(&source, &line, &len, &at, &why)) > 0)
        if (look_at(v, line, len, at) < 0)
            return jb_fail_errno(err, ENOMEM, "verify");
    if (r < 0) {
        found(v, JB_FOUND_UNREAD, 1);
        tell(v, "unread: %s", why.text);
    } else if (len > 0) {
        found(v, JB_FOUND_TORN, 1);
        tell(v, "torn: %s, byte %llu: the last line has no end", path, (unsigned long long)at);
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct seen *x = a;
    const struct seen *y = b;
    if (x->writer != y->writer)
        return x->writer < y->writer ? -1 : 1;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static int by_id(const void *a, const void *b)
{
    const struct seen *x = a;
    const struct seen *y = b;
    if (x->id_hi != y->id_hi)
        return x->id_hi < y->id_hi ? -1 : 1;
    return (x->id_lo > y->id_lo) - (x->id_lo < y->id_lo);
}

static bool same(const uint64_t a[2], const uint64_t b[2])
{
    return a[0] == b[0] && a[1] == b[1];
}

static void compare(struct verifying *v, const struct seen *a, const struct seen *b)
{
    const char *writer = v->writers.items[b->writer];
    const char *file = v->files.items[b->file];
    if (a->seq == b->seq) {
        bool copy = same(a->sha, b->sha);
        found(v, copy ? JB_FOUND_DOUBLED : JB_FOUND_ALTERED, 1);
        tell(v, "%s: record %llu of %s is in %s, byte %llu and in %s, byte %llu%s",
             copy ? "doubled" : "altered", (unsigned long long)b->seq, writer, v->files.items[a->file],
             (unsigned long long)a->at, file, (unsigned long long)b->at,
             copy ? "" : ", and they are not the same");
    } else if (b->seq > a->seq + 1) {
        uint64_t n = b->seq - a->seq - 1;
        found(v, JB_FOUND_MISSING, n);
        tell(v, "missing: %llu record%s of %s, from %llu to %llu, before %s, byte %llu%s",
             (unsigned long long)n, n == 1 ? "" : "s", writer, (unsigned long long)a->seq + 1,
             (unsigned long long)b->seq - 1, file, (unsigned long long)b->at,
             a->boot && b->boot && a->boot != b->boot ? "; the host was restarted between them" : "");
    } else if (a->whole && b->whole && !same(b->prev, a->sha)) {
        found(v, JB_FOUND_ALTERED, 1);
        tell(v, "altered: record %llu of %s, %s, byte %llu, does not follow the record %llu that is there",
             (unsigned long long)b->seq, writer, file, (unsigned long long)b->at, (unsigned long long)a->seq);
    }
}

static void check_chains(struct verifying *v)
{
    if (v->n > 1)
        qsort(v->list, v->n, sizeof(*v->list), by_place);
    for (size_t i = 0; i < v->n && v->list[i].writer != UINT32_MAX; i++) {
        bool first = i == 0 || v->list[i - 1].writer != v->list[i].writer;
        if (!first)
            compare(v, &v->list[i - 1], &v->list[i]);
        else if (v->list[i].seq > 1)
            tell(v, "note: the chain of %s begins here with record %llu; earlier ones are in other journals",
                 v->writers.items[v->list[i].writer], (unsigned long long)v->list[i].seq);
    }
}

/* The greatest number that was seen of a writer. */
static uint64_t last_of(const struct verifying *v, const char *writer)
{
    uint64_t last = 0;
    for (size_t i = 0; i < v->n; i++)
        if (v->list[i].writer != UINT32_MAX && jb_streq(v->writers.items[v->list[i].writer], writer) &&
            v->list[i].seq > last)
            last = v->list[i].seq;
    return last;
}

/* .HOST.chain says how far a writer has come: what is cut off at the end is seen by that alone. */
static int note_ends(struct verifying *v, const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    jb_autodir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            (void)close(fd);
        return 0;
    }
    for (struct dirent *e; (e = readdir(dir));) {
        struct end end = {.folder = folder};
        size_t len = strlen(e->d_name);
        if (len < 7 || !jb_streq(e->d_name + len - 6, ".chain") ||
            !jb_chain_read(dirfd(dir), e->d_name, &end.chain))
            continue;
        struct end *grown = realloc(v->ends, (v->n_ends + 1) * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        v->ends = grown;
        v->ends[v->n_ends++] = end;
    }
    return 0;
}

static void check_ends(struct verifying *v)
{
    for (size_t i = 0; i < v->n_ends; i++) {
        const struct jb_chain *chain = &v->ends[i].chain;
        uint64_t last = last_of(v, chain->writer);
        if (last >= chain->seq)
            continue;
        found(v, JB_FOUND_MISSING, chain->seq - last);
        tell(v, "missing: the last %llu record%s of %s, up to %llu, in %s/%s",
             (unsigned long long)(chain->seq - last), chain->seq - last == 1 ? "" : "s", chain->writer,
             (unsigned long long)chain->seq, v->ends[i].folder, chain->file);
    }
}

/* One id twice under different numbers: written again by a recovery, or copied into the journal by hand. */
static void check_ids(struct verifying *v)
{
    if (v->n > 1)
        qsort(v->list, v->n, sizeof(*v->list), by_id);
    for (size_t i = 1; i < v->n; i++) {
        const struct seen *a = &v->list[i - 1];
        const struct seen *b = &v->list[i];
        char id[32];
        if (by_id(a, b) != 0 || (a->writer == b->writer && a->seq == b->seq && a->writer != UINT32_MAX))
            continue;
        jb_line_id_text(b->id_hi, b->id_lo, id);
        found(v, JB_FOUND_DOUBLED, 1);
        tell(v, "doubled: the record with id %s is in %s, byte %llu and in %s, byte %llu", id,
             v->files.items[a->file], (unsigned long long)a->at, v->files.items[b->file],
             (unsigned long long)b->at);
    }
}

int jb_journal_verify(const struct jb_strv *paths, struct jb_verified *ret, struct jb_error *err)
{
    struct verifying v = {.out = ret};
    jb_autostrv struct jb_strv files = {0};
    int r = 0;
    *ret = (struct jb_verified){0};
    for (size_t i = 0; r == 0 && i < paths->len; i++)
        r = note_ends(&v, paths->items[i]) < 0 ? jb_fail_errno(err, ENOMEM, "verifying")
                                               : jb_lines_list(paths->items[i], &files, err);
    for (size_t i = 0; r == 0 && i < files.len; i++)
        r = read_file(&v, files.items[i], err);
    if (r == 0) {
        check_chains(&v);
        check_ends(&v);
        check_ids(&v);
        ret->writers = v.writers.len;
    }
    free(v.list);
    free(v.ends);
    jb_strv_free(&v.files);
    jb_strv_free(&v.writers);
    if (r < 0)
        jb_verified_free(ret);
    return r;
}

void jb_verified_free(struct jb_verified *verified)
{
    jb_strv_free(&verified->lines);
    *verified = (struct jb_verified){0};
}
