/*
 * line_forms.c - times and ids, as records have them, and back.
 *
 * Owns: nothing. Runs in: whoever reads records. Privilege: none; pure functions.
 */
#include <string.h>

#include "base/cleanup.h"
#include "base/id.h"
#include "report/line.h"

/* Days since 1970 of a day of the Gregorian calendar. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static bool digits(const char *text, size_t n, int64_t *ret)
{
    int64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (text[i] - '0');
    }
    *ret = value;
    return true;
}

static bool zone(const char *text, size_t len, int64_t *ret_s)
{
    int64_t hours;
    int64_t minutes;
    *ret_s = 0;
    if (len == 1 && (text[0] == 'Z' || text[0] == 'z'))
        return true;
    if (len != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':' || !digits(text + 1, 2, &hours) ||
        !digits(text + 4, 2, &minutes))
        return false;
    *ret_s = (text[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

bool jb_line_time(const char *text, size_t len, int64_t *ret_us)
{
    int64_t year;
    int64_t month;
    int64_t day;
    int64_t hour;
    int64_t minute;
    int64_t second;
    int64_t east;
    int64_t us = 0;
    size_t i = 19;
    if (len < 20 || !digits(text, 4, &year) || text[4] != '-' || !digits(text + 5, 2, &month) ||
        text[7] != '-' || !digits(text + 8, 2, &day) || (text[10] != 'T' && text[10] != ' ') ||
        !digits(text + 11, 2, &hour) || text[13] != ':' || !digits(text + 14, 2, &minute) ||
        text[16] != ':' || !digits(text + 17, 2, &second))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 24 || minute > 59 || second > 60)
        return false;
    if (text[i] == '.') {
        int64_t unit = 100000;
        for (i++; i < len && text[i] >= '0' && text[i] <= '9'; i++, unit /= 10)
            us += unit * (text[i] - '0');
    }
    if (!zone(text + i, len - i, &east))
        return false;
    *ret_us = (days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - east) * 1000000 + us;
    return *ret_us >= 0;
}

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static int crockford(char c)
{
    static const signed char values[] = {
        ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
        ['8'] = 9,  ['9'] = 10, ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
        ['G'] = 17, ['H'] = 18, ['J'] = 19, ['K'] = 20, ['M'] = 21, ['N'] = 22, ['P'] = 23, ['Q'] = 24,
        ['R'] = 25, ['S'] = 26, ['T'] = 27, ['V'] = 28, ['W'] = 29, ['X'] = 30, ['Y'] = 31, ['Z'] = 32,
    };
    return c < 0 || (size_t)c >= JB_ARRAY_LEN(values) ? -1 : values[(size_t)c] - 1;
}

bool jb_line_id(const char *text, size_t len, int64_t *ret_hi, int64_t *ret_lo)
{
    uint64_t hi = 0;
    uint64_t lo = 0;
    if (len != JB_ID_LEN || text[0] > '7')
        return false;
    for (size_t i = 0; i < JB_ID_LEN; i++) {
        int digit = crockford(text[i]);
        if (digit < 0)
            return false;
        hi = hi << 5 | lo >> 59;
        lo = lo << 5 | (uint64_t)digit;
    }
    *ret_hi = (int64_t)hi;
    *ret_lo = (int64_t)lo;
    return true;
}

void jb_line_id_text(int64_t hi, int64_t lo, char *buf)
{
    uint64_t h = (uint64_t)hi;
    uint64_t l = (uint64_t)lo;
    buf[JB_ID_LEN] = '\0';
    for (size_t i = JB_ID_LEN; i-- > 0;) {
        buf[i] = alphabet[l & 31];
        l = l >> 5 | h << 59;
        h >>= 5;
    }
}
