/*
 * fuzz_ask.c - any packet to a control socket is a request within its bounds, or wrong with a reason.
 */
#include <stdlib.h>

#include "base/units.h"
#include "job/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
    if (!truth)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jb_error err = {0};
    struct jb_ask ask;
    if (jb_ask_parse((const char *)data, size, &ask, &err) < 0) {
        must(err.text[0] != '\0');
        return 0;
    }
    must(jb_verb_name(ask.verb) != NULL);
    must((ask.verb == JB_VERB_SIGNAL) == (ask.signal >= 1 && ask.signal <= 64));
    must(ask.wish.cpus == JB_UNSET || (ask.wish.cpus >= 1 && ask.verb == JB_VERB_UPDATE));
    must(ask.wish.wall_ns == JB_UNSET || ask.wish.wall_ns > 0);
    return 0;
}
