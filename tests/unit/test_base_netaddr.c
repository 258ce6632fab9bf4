/*
 * test_base_netaddr.c - ranges of addresses: what is taken and what is refused.
 */
#include "support.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/netaddr.h"

static void taken(void **state)
{
    (void)state;
    struct jb_network_range range;
    assert_int_equal(jb_network_parse("0.0.0.0/0", &range), 0);
    assert_true(range.address == 0 && range.length == 0);
    assert_int_equal(jb_network_parse("192.168.0.0/16", &range), 0);
    assert_true(range.address == 0xc0a80000 && range.length == 16);
    assert_int_equal(jb_network_parse("255.255.255.255/32", &range), 0);
    assert_true(range.address == UINT32_MAX && range.length == 32);
    static const char *const six[] = {"::/0", "2001:db8::/32", "2001:db8::8000/113", "fd00::1/128"};
    char text[JB_NETWORK_TEXT];
    for (size_t i = 0; i < JB_ARRAY_LEN(six); i++) {
        assert_int_equal(jb_network_parse(six[i], &range), 0);
        assert_true(range.six);
        assert_string_equal(jb_network_text(&range, text), six[i]);
    }
    assert_int_equal(jb_network_parse("10.9.0.0/16", &range), 0);
    assert_string_equal(jb_network_text(&range, text), "10.9.0.0/16");
}

static void refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "10.0.0.0",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0/8",
        "10.0.0.0.0/8",
        "10.0.0.1/8",
        "010.0.0.0/8",
        "10.0.0.0/8 ",
        " 10.0.0.0/8",
        "0x0a.0.0.0/8",
        "::/129",
        "::1/64",
        "2001:db8::",
        "2001:db8::/32 ",
        "2001:db8:::/32",
        "::ffff:1.2.3.4/96",
        "fe80::%eth0/64",
        "10.0.0.256/32",
        "10.0.0.0/08x",
        "1.2.3.4/0",
        "10.0.0.0/8/8",
        "1111111111111111111111111111.0.0.0/8",
    };
    struct jb_network_range range;
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++)
        if (jb_network_parse(cases[i], &range) != -EINVAL)
            fail_msg("\"%s\" was taken", cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(taken), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
