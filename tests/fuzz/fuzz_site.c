/*
 * fuzz_site.c - any bytes are a site file, or wrong with a reason: never a crash, a leak or a silence.
 */
#include <errno.h>
#include <stdlib.h>

#include "site/site.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
    if (!truth)
        abort();
}

static void check_bound(const struct jb_bound *bound)
{
    must(bound->deflt == JB_UNSET || bound->deflt <= bound->max);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jb_diags diags = {0};
    struct jb_site *site = NULL;
    int r = jb_site_parse("jobbox.conf.yaml", (const char *)data, size, &site, &diags);
    if (r == 0) {
        must(site && diags.len == 0);
        must(site->pids.deflt != JB_UNSET && jb_strv_has(&site->binds.deny, "/proc"));
        check_bound(&site->cpus);
        check_bound(&site->memory);
        check_bound(&site->pids);
        check_bound(&site->grace);
        for (size_t i = 0; i < site->n_sinks; i++)
            must((site->sinks[i].path != NULL) != (site->sinks[i].argv.len > 0));
        for (size_t i = 0; i < site->binds.n_allow; i++)
            must(site->binds.allow[i].path && site->binds.allow[i].path[0] == '/');
    } else {
        must(r == -EINVAL && !site && diags.len > 0);
    }
    jb_site_free(site);
    jb_diags_free(&diags);
    return 0;
}
