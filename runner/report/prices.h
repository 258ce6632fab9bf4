/*
 * prices.h - what a core-hour, a GiB-hour and a device-hour cost, and to whom, and when.
 *
 * Owns: the table. Runs in: jobbox-report, jobboxd. Privilege: none.
 */
#ifndef JB_REPORT_PRICES_H
#define JB_REPORT_PRICES_H

#include "report/index.h"
#include "site/site.h"

struct jb_prices;

/*
 * The rates of the site, with its days as times of the zone that is in force. NULL in *ret when it has none. The site must
 * live as long.
 */
int jb_prices_make(const struct jb_site *site, struct jb_prices **ret, struct jb_error *err);
void jb_prices_free(struct jb_prices *prices);
static inline void jb_cleanup_prices(struct jb_prices **prices)
{
    jb_prices_free(*prices);
}
#define jb_autoprices __attribute__((cleanup(jb_cleanup_prices)))

/*
 * What row `i` costs, by the last rate of the site that fits its account and its time. NaN: nobody knows, for there is no
 * rate that fits, or the record has no wall time. Memory is what was granted, or the peak where there was no limit. The block
 * needs the columns of the metric "cost".
 */
double jb_prices_cost(const struct jb_prices *prices, struct jb_index *index, const struct jb_block *block,
                      uint32_t i);

#endif
