/*
 * test_subids.c - whose range is found in /etc/subuid.
 */
#include "support.h"

#include "base/cleanup.h"
#include "plan/subids.h"

static void found(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t start, count;
    } cases[] = {
        {"ann:100000:65536\n", 100000, 65536},
        {"bob:1:2\nann:100000:65536\nann:300000:1\n", 100000, 65536},
        {"1000:200000:10\n", 200000, 10},
        {"annx:1:2\n", 0, 0},
        {"", 0, 0},
        {"ann\nann:\nann:5\nann::\n:::\n", 0, 0},
        {"ann:0:65536\n", 0, 0}, /* would hand out root */
        {"ann:100000:0\n", 0, 0},
        {"ann:4294967294:2\n", 0, 0},
        {"ann:4294967294:1\n", 4294967294, 1},
        {"ann:-1:5\nann: 7:5\nann:0x10:5\nann:7:5\n", 7, 5},
        {"ann:7:5", 7, 5},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_id_range range = jb_subids_find(cases[i].text, "ann", 1000);
        if (range.start != cases[i].start || range.count != cases[i].count)
            fail_msg("%s: %u %u", cases[i].text, range.start, range.count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
