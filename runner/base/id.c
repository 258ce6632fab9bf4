/*
 * id.c - ULIDs: 48 bits of milliseconds, 80 bits of randomness, Crockford's base 32.
 *
 * Owns: nothing. Runs in: every process. Privilege: none.
 */
#include "base/id.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

int jb_id_new(uint64_t wall_us, struct jb_id *ret)
{
    unsigned char random[10];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return errno ? -errno : -EIO;
    uint64_t ms = wall_us / 1000;
    for (int i = 9; i >= 0; i--, ms >>= 5)
        ret->text[i] = alphabet[ms & 31];
    for (int half = 0; half < 2; half++) {
        uint64_t bits = 0;
        for (int i = 0; i < 5; i++)
            bits = bits << 8 | random[half * 5 + i];
        for (int i = 7; i >= 0; i--, bits >>= 5)
            ret->text[10 + half * 8 + i] = alphabet[bits & 31];
    }
    ret->text[JB_ID_LEN] = '\0';
    return 0;
}

bool jb_id_valid(const char *text)
{
    return strnlen(text, JB_ID_LEN + 1) == JB_ID_LEN && strspn(text, alphabet) == JB_ID_LEN && text[0] <= '7';
}

uint64_t jb_id_wall_us(const char *text)
{
    uint64_t ms = 0;
    if (!jb_id_valid(text))
        return 0;
    for (int i = 0; i < 10; i++)
        ms = ms << 5 | (uint64_t)(strchr(alphabet, text[i]) - alphabet);
    return ms * 1000;
}
