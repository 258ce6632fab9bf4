/*
 * line.c - the scanner for lines of journals.
 *
 * Owns: nothing. Runs in: whoever fills an index. Privilege: none.
 *
 * Every byte is looked at once. Keys are tried in the order in which jobbox writes them, so that one comparison finds them
 * mostly; any other order is as right. A newline ends every loop: it is no part of JSON text within a line.
 */
#include "report/line.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/id.h"
#include "record/record.h"

#define DEPTH_MAX  64
#define NUMBER_MAX 64                 /* characters of a number */
#define SANE_MAX   (INT64_C(1) << 62) /* "no limit" is written as such numbers by some kernels */

enum what {
    SKIP,
    TEXT,
    TIME,
    SPAN,   /* seconds */
    NUMBER, /* not negative */
    MILLI,  /* a number in thousandths */
    ITEMS,  /* how many a list has */
    WHOLE,  /* a text: the object itself */
    MAP,
    VERSION,
    IDENTITY,
};

struct key {
    const char *name;
    enum what what;
    enum jb_col col;
    const struct key *map;
    size_t n_map;
};

struct scan {
    const char *at;
    struct jb_line *out;
    int64_t version;
    int64_t destroyed;
    bool has_id;
};

#define NEST(name, table)                        \
    {                                            \
        name, MAP, 0, table, JB_ARRAY_LEN(table) \
    }

static const struct key image_keys[] = {{"ref", TEXT, JB_COL_IMAGE, NULL, 0}};
static const struct key origin_keys[] = {{"kind", TEXT, JB_COL_ORIGIN, NULL, 0}};
static const struct key times_keys[] = {
    {"submitted", TIME, JB_COL_SUBMITTED, NULL, 0},
    {"eligible", TIME, JB_COL_ELIGIBLE, NULL, 0},
    {"setup_started", TIME, JB_COL_SETUP_STARTED, NULL, 0},
    {"wait_s", SPAN, JB_COL_WAIT, NULL, 0},
    {"started", TIME, JB_COL_STARTED, NULL, 0},
    {"ended", TIME, JB_COL_ENDED, NULL, 0},
    {"destroyed", TIME, JB_COL_MAX, NULL, 0},
    {"setup_s", SPAN, JB_COL_SETUP, NULL, 0},
    {"wall_s", SPAN, JB_COL_WALL, NULL, 0},
    {"paused_s", SPAN, JB_COL_PAUSED, NULL, 0},
    {"teardown_s", SPAN, JB_COL_TEARDOWN, NULL, 0},
};
static const struct key resources_keys[] = {
    {"cpus", NUMBER, JB_COL_REQ_CPUS, NULL, 0},
    {"memory", NUMBER, JB_COL_REQ_MEMORY, NULL, 0},
};
static const struct key requested_keys[] = {NEST("resources", resources_keys)};
static const struct key granted_keys[] = {
    {"straddles", SKIP, 0, NULL, 0},
    {"cpus", TEXT, JB_COL_CPUS, NULL, 0},
    {"cpu_count", NUMBER, JB_COL_CPU_COUNT, NULL, 0},
    {"cores", NUMBER, JB_COL_CORES, NULL, 0},
    {"l3s", SKIP, 0, NULL, 0},
    {"numa_nodes", NUMBER, JB_COL_NUMA_NODES, NULL, 0},
    {"packages", SKIP, 0, NULL, 0},
    {"memory_nodes", SKIP, 0, NULL, 0},
    {"kind", SKIP, 0, NULL, 0},
    {"exclusive", SKIP, 0, NULL, 0},
    {"memory_bytes", NUMBER, JB_COL_MEMORY, NULL, 0},
    {"swap_bytes", SKIP, 0, NULL, 0},
    {"pids", SKIP, 0, NULL, 0},
    {"scratch_bytes", NUMBER, JB_COL_SCRATCH, NULL, 0},
    {"scratch_inodes", SKIP, 0, NULL, 0},
    {"devices", ITEMS, JB_COL_DEVICES, NULL, 0},
    {"wall_time_s", SPAN, JB_COL_WALL_LIMIT, NULL, 0},
};
static const struct key some_cpu[] = {{"some_s", SPAN, JB_COL_CPU_PRESSURE, NULL, 0}};
static const struct key full_memory[] = {{"some_s", SKIP, 0, NULL, 0},
                                         {"full_s", SPAN, JB_COL_MEMORY_PRESSURE, NULL, 0}};
static const struct key full_io[] = {{"some_s", SKIP, 0, NULL, 0},
                                     {"full_s", SPAN, JB_COL_IO_PRESSURE, NULL, 0}};
static const struct key pressure_keys[] = {NEST("cpu", some_cpu), NEST("memory", full_memory),
                                           NEST("io", full_io)};
static const struct key used_keys[] = {
    {"cpu_user_s", SPAN, JB_COL_CPU_USER, NULL, 0},
    {"cpu_system_s", SPAN, JB_COL_CPU_SYSTEM, NULL, 0},
    {"cpu_per_cpu_s", SKIP, 0, NULL, 0},
    {"throttled_s", SPAN, JB_COL_THROTTLED, NULL, 0},
    {"memory_peak_bytes", NUMBER, JB_COL_MEMORY_PEAK, NULL, 0},
    {"memory_peak_anon_bytes", NUMBER, JB_COL_MEMORY_ANON, NULL, 0},
    {"swap_peak_bytes", NUMBER, JB_COL_SWAP_PEAK, NULL, 0},
    {"oom_kills", NUMBER, JB_COL_OOM_KILLS, NULL, 0},
    {"pids_peak", NUMBER, JB_COL_PIDS_PEAK, NULL, 0},
    {"pids_limit_hits", SKIP, 0, NULL, 0},
    {"read_bytes", NUMBER, JB_COL_READ_BYTES, NULL, 0},
    {"written_bytes", NUMBER, JB_COL_WRITTEN_BYTES, NULL, 0},
    {"read_ops", SKIP, 0, NULL, 0},
    {"write_ops", SKIP, 0, NULL, 0},
    {"scratch_end_bytes", SKIP, 0, NULL, 0},
    {"scratch_peak_bytes", NUMBER, JB_COL_SCRATCH_PEAK, NULL, 0},
    {"minor_faults", NUMBER, JB_COL_MINOR_FAULTS, NULL, 0},
    {"major_faults", NUMBER, JB_COL_MAJOR_FAULTS, NULL, 0},
    {"voluntary_switches", SKIP, 0, NULL, 0},
    {"involuntary_switches", SKIP, 0, NULL, 0},
    NEST("pressure", pressure_keys),
    {"energy_j", MILLI, JB_COL_ENERGY, NULL, 0},
};
static const struct key end_keys[] = {
    {"reason", TEXT, JB_COL_REASON, NULL, 0},   {"exit_code", NUMBER, JB_COL_EXIT_CODE, NULL, 0},
    {"signal", NUMBER, JB_COL_SIGNAL, NULL, 0}, {"core_dumped", SKIP, 0, NULL, 0},
    {"limit", TEXT, JB_COL_LIMIT, NULL, 0},
};
static const struct key isolation_keys[] = {{"degraded", ITEMS, JB_COL_DEGRADED, NULL, 0}};
static const struct key output_keys[] = {{"stdout_bytes", NUMBER, JB_COL_OUTPUT_BYTES, NULL, 0}};
static const struct key record_keys[] = {
    {"record_version", VERSION, 0, NULL, 0},
    {"id", IDENTITY, 0, NULL, 0},
    {"job", TEXT, JB_COL_JOB, NULL, 0},
    {"attempt", NUMBER, JB_COL_ATTEMPT, NULL, 0},
    {"array_index", NUMBER, JB_COL_ARRAY_INDEX, NULL, 0},
    {"name", TEXT, JB_COL_NAME, NULL, 0},
    {"user", TEXT, JB_COL_USER, NULL, 0},
    {"uid", NUMBER, JB_COL_UID, NULL, 0},
    {"gid", NUMBER, JB_COL_GID, NULL, 0},
    {"account", TEXT, JB_COL_ACCOUNT, NULL, 0},
    {"labels", WHOLE, JB_COL_LABELS, NULL, 0},
    {"host", TEXT, JB_COL_HOST, NULL, 0},
    {"boot_id", SKIP, 0, NULL, 0},
    {"submit_host", TEXT, JB_COL_SUBMIT_HOST, NULL, 0},
    {"jobbox_version", SKIP, 0, NULL, 0},
    {"spec_file", SKIP, 0, NULL, 0},
    {"spec_sha256", SKIP, 0, NULL, 0},
    NEST("image", image_keys),
    NEST("origin", origin_keys),
    NEST("times", times_keys),
    NEST("requested", requested_keys),
    NEST("granted", granted_keys),
    NEST("used", used_keys),
    NEST("end", end_keys),
    NEST("isolation", isolation_keys),
    NEST("output", output_keys),
    {"artifacts", SKIP, 0, NULL, 0},
    {"warnings", ITEMS, JB_COL_WARNINGS, NULL, 0},
};

enum jb_col_kind jb_col_kind(enum jb_col col)
{
    static const unsigned char kinds[] = {
#define JB_COL(name, kind) JB_KIND_##kind,
#include "report/columns.def"
#undef JB_COL
    };
    return (enum jb_col_kind)kinds[col];
}

const char *jb_line_kind_name(enum jb_line_kind kind)
{
    static const char *const names[] = {"records", "torn", "foreign", "of a later version", "doubled"};
    return names[kind];
}

/* What ends a run of plain characters in a string: quote, backslash, control characters. */
static const unsigned char stops[256] = {
    ['"'] = 1, ['\\'] = 1, [0] = 1,  [1] = 1,  [2] = 1,  [3] = 1,  [4] = 1,  [5] = 1,  [6] = 1,
    [7] = 1,   [8] = 1,    [9] = 1,  [10] = 1, [11] = 1, [12] = 1, [13] = 1, [14] = 1, [15] = 1,
    [16] = 1,  [17] = 1,   [18] = 1, [19] = 1, [20] = 1, [21] = 1, [22] = 1, [23] = 1, [24] = 1,
    [25] = 1,  [26] = 1,   [27] = 1, [28] = 1, [29] = 1, [30] = 1, [31] = 1,
};

static void skip_space(struct scan *s)
{
    while (*s->at == ' ' || *s->at == '\t' || *s->at == '\r')
        s->at++;
}

/* At the opening quote; afterwards behind the closing one. */
static bool string(struct scan *s, struct jb_slice *ret)
{
    if (*s->at != '"')
        return false;
    const char *p = s->at + 1;
    ret->at = p;
    ret->escaped = false;
    for (;;) {
        while (!stops[(unsigned char)*p])
            p++;
        if (*p == '"')
            break;
        if (*p != '\\' || (unsigned char)p[1] < ' ')
            return false;
        ret->escaped = true;
        p += 2;
    }
    ret->len = (size_t)(p - ret->at);
    s->at = p + 1;
    return true;
}

static bool word(struct scan *s, const char *text)
{
    size_t len = strlen(text);
    if (strncmp(s->at, text, len) != 0)
        return false;
    s->at += len;
    return true;
}

static bool is_number(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static bool skip_value(struct scan *s, unsigned depth, size_t *ret_items);

static bool skip_members(struct scan *s, unsigned depth, char close, size_t *ret_items)
{
    struct jb_slice key;
    size_t n = 0;
    s->at++;
    skip_space(s);
    if (*s->at == close) {
        s->at++;
        *ret_items = 0;
        return true;
    }
    for (;; s->at++) {
        size_t inner;
        skip_space(s);
        if (close == '}') {
            if (!string(s, &key))
                return false;
            skip_space(s);
            if (*s->at++ != ':')
                return false;
        }
        if (!skip_value(s, depth + 1, &inner))
            return false;
        n++;
        skip_space(s);
        if (*s->at != ',')
            break;
    }
    if (*s->at != close)
        return false;
    s->at++;
    *ret_items = n;
    return true;
}

static bool skip_value(struct scan *s, unsigned depth, size_t *ret_items)
{
    struct jb_slice text;
    skip_space(s);
    *ret_items = 0;
    switch (*s->at) {
    case '"':
        return string(s, &text);
    case '{':
        return depth < DEPTH_MAX && skip_members(s, depth, '}', ret_items);
    case '[':
        return depth < DEPTH_MAX && skip_members(s, depth, ']', ret_items);
    case 'n':
        return word(s, "null");
    case 't':
        return word(s, "true");
    case 'f':
        return word(s, "false");
    default:
        if (!is_number(*s->at))
            return false;
        while (is_number(*s->at))
            s->at++;
        return true;
    }
}

/* A number times `scale` (1, 1000, 1000000), rounded towards zero; anything else is JB_NONE. */
static bool number(struct scan *s, int64_t scale, int64_t *ret)
{
    const char *p = s->at;
    size_t ignored;
    *ret = JB_NONE;
    if (*p < '0' || *p > '9')
        return skip_value(s, 1, &ignored);
    int64_t value = 0;
    for (; *p >= '0' && *p <= '9' && value < SANE_MAX / 10; p++)
        value = value * 10 + (*p - '0');
    if (!is_number(*p)) {
        s->at = p;
        if (value <= SANE_MAX / scale)
            *ret = value * scale;
        return true;
    }
    if (*p == '.') {
        int64_t unit = scale / 10;
        int64_t fraction = 0;
        for (p++; *p >= '0' && *p <= '9'; p++, unit /= 10)
            fraction += unit * (*p - '0');
        if (!is_number(*p)) {
            s->at = p;
            if (value < SANE_MAX / scale)
                *ret = value * scale + fraction;
            return true;
        }
    }
    /* an exponent, or more digits than make sense */
    char text[NUMBER_MAX];
    size_t len = 0;
    while (is_number(s->at[len]))
        len++;
    if (len >= sizeof(text)) {
        s->at += len;
        return true;
    }
    memcpy(text, s->at, len);
    text[len] = '\0';
    char *rest;
    double real = strtod(text, &rest) * (double)scale;
    s->at += len;
    if (*rest == '\0' && real >= 0 && real < (double)SANE_MAX)
        *ret = (int64_t)real;
    return true;
}

static bool read_text(struct scan *s, enum jb_col col)
{
    size_t ignored;
    if (*s->at == '"')
        return string(s, &s->out->text[col]);
    return skip_value(s, 1, &ignored);
}

static bool read_time(struct scan *s, int64_t *ret)
{
    struct jb_slice text;
    size_t ignored;
    *ret = JB_NONE;
    if (*s->at != '"')
        return skip_value(s, 1, &ignored);
    if (!string(s, &text))
        return false;
    if (!jb_line_time(text.at, text.len, ret))
        *ret = JB_NONE;
    return true;
}

static bool read_identity(struct scan *s)
{
    struct jb_slice text;
    size_t ignored;
    int64_t *v = s->out->row.v;
    if (*s->at != '"')
        return skip_value(s, 1, &ignored);
    if (!string(s, &text))
        return false;
    s->has_id = jb_line_id(text.at, text.len, &v[JB_COL_ID_HI], &v[JB_COL_ID_LO]);
    return true;
}

static bool map(struct scan *s, const struct key *keys, size_t n, unsigned depth);

static bool value(struct scan *s, const struct key *key, unsigned depth)
{
    int64_t *slot = key->col < JB_COL_MAX ? &s->out->row.v[key->col] : &s->destroyed;
    size_t items = 0;
    switch (key->what) {
    case TEXT:
        return read_text(s, key->col);
    case TIME:
        return read_time(s, slot);
    case SPAN:
        return number(s, 1000000, slot);
    case MILLI:
        return number(s, 1000, slot);
    case NUMBER:
        return number(s, 1, slot);
    case VERSION:
        return number(s, 1, &s->version);
    case IDENTITY:
        return read_identity(s);
    case MAP:
        if (*s->at == '{')
            return map(s, key->map, key->n_map, depth + 1);
        break;
    case ITEMS:
    case WHOLE:
    case SKIP:
        break;
    }
    const char *begin = s->at;
    if (!skip_value(s, depth, &items))
        return false;
    if (key->what == ITEMS && *begin == '[')
        *slot = (int64_t)items;
    if (key->what == WHOLE && *begin == '{' && items > 0)
        s->out->text[key->col] = (struct jb_slice){begin, (size_t)(s->at - begin), false};
    return true;
}

static bool same(const struct key *key, const struct jb_slice *text)
{
    size_t i = 0; /* as strncmp(3), without the call: this is asked for each key of each line */
    while (i < text->len && key->name[i] == text->at[i])
        i++;
    return i == text->len && key->name[i] == '\0';
}

static const struct key *find(const struct key *keys, size_t n, size_t *hint, const struct jb_slice *text)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = *hint + i < n ? *hint + i : *hint + i - n;
        if (same(&keys[at], text)) {
            *hint = at + 1 < n ? at + 1 : 0;
            return &keys[at];
        }
    }
    return NULL;
}

static bool map(struct scan *s, const struct key *keys, size_t n, unsigned depth)
{
    size_t hint = 0;
    s->at++;
    skip_space(s);
    if (*s->at == '}') {
        s->at++;
        return true;
    }
    for (;; s->at++) {
        struct jb_slice name;
        size_t ignored;
        skip_space(s);
        if (!string(s, &name))
            return false;
        skip_space(s);
        if (*s->at++ != ':')
            return false;
        skip_space(s);
        const struct key *key = find(keys, n, &hint, &name);
        if (!(key ? value(s, key, depth) : skip_value(s, depth, &ignored)))
            return false;
        skip_space(s);
        if (*s->at != ',')
            break;
    }
    return *s->at++ == '}';
}

/* The first of those that is known is when the record counts. */
static void settle(struct jb_line *out, int64_t destroyed)
{
    int64_t *v = out->row.v;
    const int64_t times[] = {v[JB_COL_ENDED], destroyed, v[JB_COL_STARTED], v[JB_COL_SUBMITTED]};
    for (size_t i = 0; i < JB_ARRAY_LEN(times) && v[JB_COL_AT] == JB_NONE; i++)
        v[JB_COL_AT] = times[i];
    if (v[JB_COL_AT] == JB_NONE) /* the id knows */
        v[JB_COL_AT] = (int64_t)((uint64_t)v[JB_COL_ID_HI] >> 16) * 1000;
    struct jb_slice *job = &out->text[JB_COL_JOB];
    char id[JB_ID_LEN + 1];
    jb_line_id_text(v[JB_COL_ID_HI], v[JB_COL_ID_LO], id);
    if (job->len == JB_ID_LEN && memcmp(job->at, id, JB_ID_LEN) == 0)
        job->len = 0;
}

enum jb_line_kind jb_line_scan(const char *line, size_t len, struct jb_line *ret)
{
    struct scan s = {.at = line, .out = ret, .version = JB_NONE, .destroyed = JB_NONE};
    for (size_t i = 0; i < JB_COL_MAX; i++)
        ret->row.v[i] = JB_NONE;
    memset(ret->text, 0, sizeof(ret->text));
    skip_space(&s);
    bool object = *s.at == '{';
    size_t ignored;
    if (object ? !map(&s, record_keys, JB_ARRAY_LEN(record_keys), 1) : !skip_value(&s, 1, &ignored))
        return JB_LINE_TORN;
    skip_space(&s);
    if (s.at != line + len)
        return JB_LINE_TORN;
    if (!object || s.version == JB_NONE || s.version < 1)
        return JB_LINE_FOREIGN;
    if (s.version > JB_RECORD_VERSION)
        return JB_LINE_FUTURE;
    if (!s.has_id)
        return JB_LINE_FOREIGN;
    settle(ret, s.destroyed);
    return JB_LINE_RECORD;
}
