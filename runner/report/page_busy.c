/*
 * page_busy.c - how many cores boxes held, hour by hour.
 *
 * Owns: the hours. Runs in: jobbox-report. Privilege: none; pure functions.
 *
 * A job costs the same whether it ran for a second or a month: where it begins and ends it has a part of an hour, and of the hours
 * between only the first and the one after the last are noted.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "report/page_sums.h"

#define HOUR_US   (INT64_C(3600) * 1000000)
#define HOURS_MAX ((size_t)24 * 366 * 60)

int jb_page_busy_init(struct jb_page_busy *busy, int64_t from, int64_t to, size_t accounts)
{
    int64_t end;
    *busy = (struct jb_page_busy){.accounts = accounts};
    if (from >= to)
        return 0;
    jb_span_of(JB_SPAN_HOUR, from, &busy->from, &end);
    busy->hours = (size_t)((to - busy->from + HOUR_US - 1) / HOUR_US);
    if (busy->hours > HOURS_MAX)
        busy->hours = HOURS_MAX;
    busy->part = calloc(accounts * busy->hours + 1, sizeof(*busy->part));
    busy->whole = calloc(accounts * (busy->hours + 1) + 1, sizeof(*busy->whole));
    return busy->part && busy->whole ? 0 : -ENOMEM;
}

void jb_page_busy_add(struct jb_page_busy *busy, size_t account, int64_t cores, int64_t started,
                      int64_t ended)
{
    if (cores == JB_NONE || started == JB_NONE || ended == JB_NONE || ended < started) {
        busy->unknown++;
        return;
    }
    int64_t end = busy->from + (int64_t)busy->hours * HOUR_US;
    int64_t s = started < busy->from ? busy->from : started;
    int64_t e = ended > end ? end : ended;
    if (s >= e)
        return;
    double *part = busy->part + account * busy->hours;
    double *whole = busy->whole + account * (busy->hours + 1);
    size_t first = (size_t)((s - busy->from) / HOUR_US);
    size_t last = (size_t)((e - busy->from) / HOUR_US);
    double n = (double)cores;
    if (first == last) {
        part[first] += n * (double)(e - s) / (double)HOUR_US;
        return;
    }
    part[first] += n * (double)(busy->from + (int64_t)(first + 1) * HOUR_US - s) / (double)HOUR_US;
    if (last < busy->hours)
        part[last] += n * (double)(e - busy->from - (int64_t)last * HOUR_US) / (double)HOUR_US;
    whole[first + 1] += n;
    whole[last] -= n;
}

void jb_page_busy_settle(struct jb_page_busy *busy)
{
    for (size_t a = 0; a < busy->accounts; a++) {
        double held = 0;
        for (size_t h = 0; h < busy->hours; h++) {
            held += busy->whole[a * (busy->hours + 1) + h];
            busy->part[a * busy->hours + h] += held;
        }
    }
}

void jb_page_busy_free(struct jb_page_busy *busy)
{
    free(busy->part);
    free(busy->whole);
    *busy = (struct jb_page_busy){0};
}

/* --- by hour of the day --- */

int jb_page_slots(const struct jb_page_busy *busy, const struct jb_page_steps *rows, uint16_t **ret_slot,
                  uint32_t **ret_hours)
{
    jb_autofree uint16_t *slot = calloc(busy->hours + 1, sizeof(*slot));
    jb_autofree uint32_t *hours = calloc(rows->n * 24 + 1, sizeof(*hours));
    if (!slot || !hours)
        return -ENOMEM;
    for (size_t h = 0; h < busy->hours; h++) {
        struct tm tm = {0};
        int64_t at = busy->from + (int64_t)h * HOUR_US;
        time_t s = (time_t)(at / 1000000);
        (void)localtime_r(&s, &tm);
        slot[h] = (uint16_t)(jb_page_step(rows, at) * 24 + (size_t)tm.tm_hour);
        hours[slot[h]]++;
    }
    *ret_slot = jb_take_ptr(slot);
    *ret_hours = jb_take_ptr(hours);
    return 0;
}

int jb_page_wide_init(struct jb_page_wide *wide, const struct jb_page_busy *busy, int64_t from, int64_t to,
                      size_t groups)
{
    static const enum jb_span spans[] = {JB_SPAN_DAY, JB_SPAN_WEEK, JB_SPAN_MONTH, JB_SPAN_YEAR};
    int r = -E2BIG;
    *wide = (struct jb_page_wide){.groups = groups};
    for (size_t i = 0; r == -E2BIG && i < JB_ARRAY_LEN(spans); i++) {
        free(wide->rows.from);
        wide->rows = (struct jb_page_steps){0};
        r = jb_page_steps_make(spans[i], from, to, &wide->rows);
        if (r == 0 && wide->rows.n * 24 * groups > JB_PAGE_WIDE)
            r = -E2BIG;
    }
    if (r == -E2BIG) {
        wide->rows.n = 0;
        return 0;
    }
    if (r == 0)
        r = jb_page_slots(busy, &wide->rows, &wide->slot, &wide->hours);
    wide->sum = r == 0 ? calloc(groups * wide->rows.n * 24 + 1, sizeof(*wide->sum)) : NULL;
    return r == 0 && !wide->sum ? -ENOMEM : r;
}

void jb_page_wide_add(struct jb_page_wide *wide, const struct jb_page_busy *busy, const size_t group[2],
                      int64_t cores, int64_t started, int64_t ended)
{
    size_t slots = wide->rows.n * 24;
    int64_t end = busy->from + (int64_t)busy->hours * HOUR_US;
    int64_t s = started < busy->from ? busy->from : started;
    int64_t e = ended > end ? end : ended;
    if (slots == 0 || cores == JB_NONE || started == JB_NONE || ended == JB_NONE)
        return;
    for (size_t h = s < e ? (size_t)((s - busy->from) / HOUR_US) : 0; s < e; h++) {
        int64_t next = busy->from + (int64_t)(h + 1) * HOUR_US;
        int64_t part = (e < next ? e : next) - s;
        double core_hours = (double)cores * (double)part / (double)HOUR_US;
        wide->sum[group[0] * slots + wide->slot[h]] += core_hours;
        wide->sum[group[1] * slots + wide->slot[h]] += core_hours;
        s += part;
    }
}

void jb_page_wide_free(struct jb_page_wide *wide)
{
    free(wide->rows.from);
    free(wide->slot);
    free(wide->hours);
    free(wide->sum);
    *wide = (struct jb_page_wide){0};
}
