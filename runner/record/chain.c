/*
 * chain.c - numbering records and tying them together.
 *
 * Owns: .HOST.chain while it is locked. Runs in: supervisors. Privilege: that of the journal.
 *
 * A record costs one small file read and written and one digest. Everything else here is for the day after somebody died.
 */
#include "record/chain.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/units.h"

#define STATE_SIZE 384
#define HOST_MAX   64

static const char open_text[] = ",\"chain\":{\"writer\":\"";
static const char seq_text[] = "\",\"seq\":";
static const char prev_text[] = ",\"prev\":";
static const char sha_text[] = ",\"sha256\":\"";
static const char close_text[] = "\"}}";

/* The host's name as a file's: nothing but letters, digits, '.', '_' and '-'. */
static void host_name(char buf[HOST_MAX + 1])
{
    struct utsname un;
    size_t n = 0;
    if (uname(&un) < 0)
        (void)snprintf(un.nodename, sizeof(un.nodename), "unknown");
    for (const char *p = un.nodename; *p && n < HOST_MAX; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
                     *p == '_' || (n > 0 && (*p == '.' || *p == '-'));
        buf[n++] = *p;
        if (!plain)
            buf[n - 1] = '_';
    }
    buf[n] = '\0';
}

static void to_hex(const uint8_t digest[SHA256_DIGEST_LENGTH], char hex[JB_CHAIN_HEX])
{
    for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static void digest_of(const char *text, size_t len, char hex[JB_CHAIN_HEX])
{
    SHA2_CTX ctx;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256Init(&ctx);
    SHA256Update(&ctx, (const uint8_t *)text, len);
    SHA256Final(digest, &ctx);
    to_hex(digest, hex);
}

/* --- links --- */

static bool take(const char **p, const char *end, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(end - *p) < len || memcmp(*p, text, len) != 0)
        return false;
    *p += len;
    return true;
}

static bool take_hex(const char **p, const char *end, char hex[JB_CHAIN_HEX])
{
    if (end - *p < JB_CHAIN_HEX - 1)
        return false;
    for (size_t i = 0; i < JB_CHAIN_HEX - 1; i++) {
        char c = (*p)[i];
        if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
            return false;
    }
    memcpy(hex, *p, JB_CHAIN_HEX - 1);
    hex[JB_CHAIN_HEX - 1] = '\0';
    *p += JB_CHAIN_HEX - 1;
    return true;
}

/* Behind the opening text. */
static bool parse_at(const char *line, const char *p, const char *end, struct jb_chain_link *ret)
{
    size_t n = 0;
    while (p < end && *p != '"' && n < JB_CHAIN_WRITER - 1)
        ret->writer[n++] = *p++;
    ret->writer[n] = '\0';
    if (n == 0 || !take(&p, end, seq_text))
        return false;
    char digits[24];
    for (n = 0; p < end && *p >= '0' && *p <= '9' && n < sizeof(digits) - 1;)
        digits[n++] = *p++;
    digits[n] = '\0';
    if (jb_parse_u64(digits, INT64_MAX, &ret->seq) < 0 || ret->seq == 0 || !take(&p, end, prev_text))
        return false;
    ret->prev[0] = '\0';
    if (!take(&p, end, "null") &&
        !(take(&p, end, "\"") && take_hex(&p, end, ret->prev) && take(&p, end, "\"")))
        return false;
    ret->covered = (size_t)(p - line);
    return take(&p, end, sha_text) && take_hex(&p, end, ret->sha256) && take(&p, end, close_text) && p == end;
}

bool jb_chain_parse(const char *line, size_t len, struct jb_chain_link *ret)
{
    /* it is the last thing in the line, and no longer than this */
    static const size_t longest = sizeof(open_text) + JB_CHAIN_WRITER + 24 + 2 * (JB_CHAIN_HEX + 16) + 32;
    const char *end = line + len;
    const char *from = len > longest ? end - longest : line;
    for (const char *at = from; (at = memmem(at, (size_t)(end - at), open_text, sizeof(open_text) - 1)); at++)
        if (parse_at(line, at + sizeof(open_text) - 1, end, ret))
            return true;
    return false;
}

bool jb_chain_is_whole(const char *line, const struct jb_chain_link *link)
{
    char hex[JB_CHAIN_HEX];
    digest_of(line, link->covered, hex);
    return jb_streq(hex, link->sha256);
}

/* --- the state --- */

int jb_chain_lock(int dir, int *ret_fd)
{
    char host[HOST_MAX + 1];
    char name[HOST_MAX + 16];
    host_name(host);
    (void)snprintf(name, sizeof(name), ".%s.chain", host);
    jb_autoclose int fd = jb_open_at(dir, name, O_RDWR | O_CREAT, 0640, JB_WALK_STRICT);
    int r = fd < 0 ? fd : jb_lock_wait(fd);
    if (r < 0)
        return r;
    *ret_fd = jb_take_fd(&fd);
    return 0;
}

static bool parse_state(const char *text, struct jb_chain *ret)
{
    char check[8];
    unsigned long long seq;
    long long end;
    long long flushed;
    struct jb_chain chain = {0};
    /* NOLINTNEXTLINE(cert-err34-c): what does not fit is caught by the fields that must follow */
    if (sscanf(text, "%79s %llu %64s %63s %lld %lld %7s", chain.writer, &seq, chain.sha256, chain.file, &end,
               &flushed, check) != 7 ||
        !jb_streq(check, "end") || strlen(chain.sha256) != JB_CHAIN_HEX - 1 || seq == 0 || end < 0)
        return false;
    chain.seq = seq;
    chain.end = end;
    chain.flushed = flushed;
    *ret = chain;
    return true;
}

static bool read_state(int fd, struct jb_chain *ret)
{
    char text[STATE_SIZE + 1];
    ssize_t n = pread(fd, text, STATE_SIZE, 0);
    text[n > 0 ? n : 0] = '\0';
    return parse_state(text, ret);
}

bool jb_chain_read(int dir, const char *file, struct jb_chain *ret)
{
    jb_autoclose int fd = jb_open_at(dir, file, O_RDONLY, 0, JB_WALK_STRICT);
    struct jb_chain one;
    struct jb_chain two;
    if (fd < 0 || !read_state(fd, &two))
        return false;
    do { /* without its lock: what is read while it is written may be halves of two states */
        one = two;
        if (!read_state(fd, &two))
            return false;
    } while (one.seq != two.seq || !jb_streq(one.sha256, two.sha256));
    *ret = two;
    return true;
}

void jb_chain_save(int fd, const struct jb_chain *chain)
{
    char text[STATE_SIZE + 1];
    (void)snprintf(text, sizeof(text), "%s %llu %s %s %lld %lld end\n", chain->writer,
                   (unsigned long long)chain->seq, chain->sha256, chain->file, (long long)chain->end,
                   (long long)chain->flushed);
    size_t len = strlen(text);
    memset(text + len, ' ', STATE_SIZE - len); /* always as long: nothing of a longer one is left behind it */
    text[STATE_SIZE - 1] = '\n';
    (void)!pwrite(fd, text, STATE_SIZE, 0);
}

static bool is_ours(const char *writer, const char *host)
{
    size_t len = strlen(host);
    return strncmp(writer, host, len) == 0 && writer[len] == '-' && strlen(writer) == len + 9;
}

/* The last record of this host in a file from byte `from` on, if it is later than what is known. */
static int scan(int fd, const char *name, off_t from, const char *host, struct jb_chain *chain)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (from < 0 || from >= st.st_size)
        return 0;
    char *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    const char *end = map + st.st_size;
    const char *next;
    for (const char *line = map + from; line < end && (next = memchr(line, '\n', (size_t)(end - line)));
         line = next + 1) {
        struct jb_chain_link link;
        if (!jb_chain_parse(line, (size_t)(next - line), &link) || !is_ours(link.writer, host) ||
            (chain->seq > 0 && (link.seq <= chain->seq || !jb_streq(link.writer, chain->writer))))
            continue;
        (void)snprintf(chain->writer, sizeof(chain->writer), "%s", link.writer);
        (void)snprintf(chain->sha256, sizeof(chain->sha256), "%s", link.sha256);
        (void)snprintf(chain->file, sizeof(chain->file), "%s", name);
        chain->seq = link.seq;
        chain->end = next + 1 - map;
    }
    (void)munmap(map, (size_t)st.st_size);
    return 0;
}

static int scan_name(int dir, const char *name, off_t from, const char *host, struct jb_chain *chain)
{
    jb_autoclose int fd = jb_open_at(dir, name, O_RDONLY, 0, JB_WALK_STRICT);
    return fd == -ENOENT ? 0 : fd < 0 ? fd : scan(fd, name, from, host, chain);
}

/* The state is lost: the chain goes on from the last of our records in any journal that is not compressed. */
static int scan_all(int dir, const char *host, struct jb_chain *chain)
{
    jb_autostrv struct jb_strv names = {0};
    int list = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    jb_autodir DIR *d = list < 0 ? NULL : fdopendir(list);
    if (!d)
        return -errno;
    for (struct dirent *e; (e = readdir(d));) {
        const char *suffix = strstr(e->d_name, ".jsonl");
        if (suffix && !strstr(suffix, ".gz") && !strstr(suffix, ".zst") && !strstr(suffix, ".xz") &&
            !strstr(suffix, ".bz2") && jb_strv_add(&names, e->d_name) < 0)
            return -ENOMEM;
    }
    /* by seq, whatever the names are: a chain of another run of this host must not win by coming first */
    for (size_t i = 0; i < names.len; i++) {
        struct jb_chain found = {0};
        int r = scan_name(dir, names.items[i], 0, host, &found);
        if (r < 0)
            return r;
        if (found.seq > chain->seq)
            *chain = found;
    }
    return 0;
}

static int begin(const char *host, struct jb_chain *ret)
{
    uint32_t random;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        return -errno;
    *ret = (struct jb_chain){0};
    (void)snprintf(ret->writer, sizeof(ret->writer), "%s-%08x", host, random);
    return 0;
}

int jb_chain_load(int dir, int fd, const char *name, int journal, off_t size, struct jb_chain *ret)
{
    char host[HOST_MAX + 1];
    struct jb_chain chain = {0};
    host_name(host);
    if (!read_state(fd, &chain)) {
        chain = (struct jb_chain){0};
        int r = scan_all(dir, host, &chain);
        if (r == 0 && chain.seq == 0)
            r = begin(host, &chain);
        if (r == 0)
            *ret = chain;
        return r;
    }
    int r = 0;
    bool same = jb_streq(chain.file, name);
    if (!same) /* somebody may have died after the last record of that file */
        r = scan_name(dir, chain.file, (off_t)chain.end, host, &chain);
    if (r == 0 && size > 0 && (!same || size != chain.end))
        r = scan(journal, name, same && size > chain.end ? (off_t)chain.end : 0, host, &chain);
    if (r == 0)
        *ret = chain;
    return r;
}

int jb_chain_add(struct jb_chain *chain, const char *line, size_t len, char **ret, size_t *ret_len)
{
    char hex[JB_CHAIN_HEX];
    jb_autobuf struct jb_buf buf = {0};
    if (len < 3 || line[len - 1] != '\n' || line[len - 2] != '}')
        return -EINVAL;
    int r = jb_buf_add(&buf, line, len - 2);
    if (r == 0)
        r = jb_buf_printf(&buf, "%s%s%s%llu%s%s%s%s", open_text, chain->writer, seq_text,
                          (unsigned long long)chain->seq + 1, prev_text, chain->seq ? "\"" : "",
                          chain->seq ? chain->sha256 : "null", chain->seq ? "\"" : "");
    if (r < 0)
        return r;
    digest_of(buf.data, buf.len, hex);
    r = jb_buf_printf(&buf, "%s%s%s\n", sha_text, hex, close_text);
    if (r < 0)
        return r;
    chain->seq++;
    memcpy(chain->sha256, hex, sizeof(hex));
    *ret_len = buf.len;
    *ret = jb_take_ptr(buf.data);
    return 0;
}
