/*
 * test_oci.c - names, digests, manifests and configurations: what is believed and what is refused with which words.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "image/oci.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIG "sha256:" HEX

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name; /* NULL: refused */
    } cases[] = {
        {"debian", "debian:latest"},
        {"debian:12", "debian:12"},
        {"a/b-c/d_e.f:V1.2-x", "a/b-c/d_e.f:V1.2-x"},
        {"a--b__c", "a--b__c:latest"},
        {"x@" DIG, "x:latest"},
        {"", NULL},
        {"A", NULL},
        {"a//b", NULL},
        {"/a", NULL},
        {"a/", NULL},
        {"../a", NULL},
        {"a..b", NULL},
        {"a.-b", NULL},
        {"-a", NULL},
        {"a-", NULL},
        {".a", NULL},
        {"a:", NULL},
        {"a:b:c", NULL},
        {"a:.x", NULL},
        {"a:-x", NULL},
        {"a b", NULL},
        {"a%b", NULL},
        {"host.example:5000/a", NULL},
        {"a@sha256:12", NULL},
        {"a@md5:" HEX, NULL},
        {"\xc3\xa4", NULL},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_error err = {0};
        struct jb_ref ref = {0};
        char file[JB_REF_MAX];
        char back[JB_REF_MAX];
        int r = jb_ref_parse(cases[i].text, &ref, &err);
        if ((r == 0) != (cases[i].name != NULL))
            fail_msg("\"%s\": %d %s", cases[i].text, r, err.text);
        if (r < 0) {
            assert_int_equal(r, -EINVAL);
            assert_true(strlen(err.text) > 10);
            continue;
        }
        assert_string_equal(ref.name, cases[i].name);
        jb_ref_to_file(ref.name, file);
        assert_null(strchr(file, '/'));
        assert_true(jb_ref_from_file(file, back));
        assert_string_equal(back, ref.name);
    }
    struct jb_ref ref;
    assert_int_equal(jb_ref_parse(DIG, &ref, NULL), 0);
    assert_string_equal(ref.name, "");
    assert_string_equal(ref.digest.text, DIG);
}

static void suggestions(void **state)
{
    (void)state;
    static const struct {
        const char *source, *name;
    } cases[] = {
        {"docker://registry.example/team/app:1.2", "team/app:1.2"},
        {"docker://localhost:5000/app", "app:latest"},
        {"docker://localhost/app:1", "app:1"},
        {"docker://debian:12", "debian:12"},
        {"docker://docker.io/library/debian:12", "debian:12"},
        {"docker://r.example/app@" DIG, "app:latest"},
        {"oci:/images/app:1", "app:1"},
        {"oci:app", "app:latest"},
        {"docker-archive:/tmp/app.tar", "app:latest"},
        {"docker-archive:app.tar:2", "app:2"},
        {"/srv/roots/debian", "debian:latest"},
        {"./bb.sqfs", "bb:latest"},
        {"/srv/Upper", NULL},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        char name[JB_REF_MAX] = "";
        int r = jb_ref_suggest(cases[i].source, name);
        if ((r == 0) != (cases[i].name != NULL) || (r == 0 && strcmp(name, cases[i].name) != 0))
            fail_msg("%s: \"%s\" (%d)", cases[i].source, name, r);
    }
}

#define LAYER "{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"" DIG "\",\"size\":7}"
#define HEAD  "{\"schemaVersion\":2,\"config\":{\"digest\":\"" DIG "\",\"size\":5},"

static void manifests(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words; /* NULL: right */
    } cases[] = {
        {HEAD "\"layers\":[" LAYER "," LAYER "]}", NULL},
        {"", "manifest: "},
        {"[]", "is no JSON object"},
        {"{\"schemaVersion\":1}", "not of schema 2"},
        {"{\"schemaVersion\":2,\"schemaVersion\":2}", "manifest: "},
        {"{\"schemaVersion\":2}", "the manifest's config has no sha256 digest"},
        {HEAD "\"layers\":[]}", "has no layers"},
        {HEAD "\"layers\":{}}", "has no layers"},
        {HEAD "\"layers\":[{}]}", "has no mediaType"},
        {HEAD "\"layers\":[{\"mediaType\":\"application/zip\"}]}", "which jobbox cannot unpack"},
        {HEAD "\"layers\":[{\"mediaType\":\"application/"
              "vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:00\",\"size\":1}]}",
         "layer 0 of the manifest has no sha256 digest"},
        {HEAD "\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"" DIG
              "\",\"size\":-1}]}",
         "has no size that could be"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_error err = {0};
        jb_automanifest struct jb_oci_manifest m = {0};
        int r = jb_oci_manifest_parse(cases[i].text, strlen(cases[i].text), &m, &err);
        if ((r == 0) != (cases[i].words == NULL))
            fail_msg("%s: %d %s", cases[i].text, r, err.text);
        if (r < 0 && cases[i].words)
            assert_contains(err.text, cases[i].words);
        else
            assert_int_equal(m.n_layers, 2);
    }
}

static void indexes(void **state)
{
    (void)state;
    jb_autochoices struct jb_oci_index index = {0};
    struct jb_error err = {0};
    jb_autofree char *text = NULL;
    assert_true(asprintf(&text,
                         "{\"manifests\":[{\"digest\":\"" DIG
                         "\",\"size\":1,\"platform\":{\"os\":\"windows\","
                         "\"architecture\":\"%s\"}},{\"digest\":\"" DIG "\",\"size\":2,\"platform\":{\"os\":"
                         "\"linux\",\"architecture\":\"pdp11\"}},{\"digest\":\"" DIG
                         "\",\"size\":3,\"platform\":{\"os\":\"linux\",\"architecture\":\"%s\"}}]}",
                         jb_oci_arch(), jb_oci_arch()) > 0);
    assert_true(jb_oci_is_index(text, strlen(text)));
    assert_ok(jb_oci_index_parse(text, strlen(text), &index, &err), &err);
    assert_int_equal(index.len, 3);
    assert_int_equal(jb_oci_choose(&index)->manifest.size, 3);
    index.len = 2;
    assert_null(jb_oci_choose(&index));
}

#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIG "\"]}"

static void configs(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"{\"config\":{\"Env\":[\"A=b=c\",\"E=\"],\"Cmd\":[\"x\"],\"Entrypoint\":null,\"WorkingDir\":\"a//b/"
         "\","
         "\"User\":\"\"}," ROOTFS "}",
         NULL},
        {"{" ROOTFS "}", NULL},
        {"{}", "names no layers"},
        {"{\"config\":{\"Env\":[\"=x\",\"A=1\",\"x\",\"\"]}," ROOTFS "}", NULL},
        {"{\"config\":{\"Env\":[1]}," ROOTFS "}", "Env: item 0 is no word"},
        {"{\"config\":{\"Cmd\":\"x\"}," ROOTFS "}", "Cmd is no list"},
        {"{\"config\":{\"Cmd\":[1]}," ROOTFS "}", "item 0 is no word"},
        {"{\"config\":{\"WorkingDir\":\"/a/../..\"}," ROOTFS "}", "no path without"},
        {"{\"config\":{\"Env\":[\"A=\\u0000\"]}," ROOTFS "}", "config: "},
        {"{\"rootfs\":{\"diff_ids\":[7]}}", "diff_ids[0] is no sha256 digest"},
    };
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_error err = {0};
        jb_autoconfig struct jb_oci_config c = {0};
        int r = jb_oci_config_parse(cases[i].text, strlen(cases[i].text), &c, &err);
        if ((r == 0) != (cases[i].words == NULL))
            fail_msg("%s: %d %s", cases[i].text, r, err.text);
        if (r < 0 && cases[i].words)
            assert_contains(err.text, cases[i].words);
        if (i == 0) {
            assert_string_equal(c.workdir, "/a/b");
            assert_null(c.user);
            assert_int_equal(c.env.len, 2);
            assert_int_equal(c.env_left_out, 0);
        }
        if (i == 3) {
            assert_int_equal(c.env.len, 1);
            assert_string_equal(c.env.items[0], "A=1");
            assert_int_equal(c.env_left_out, 3);
        }
    }
}

/* What is made can be read again, and the chain of one layer is the layer. */
static void made_ones(void **state)
{
    (void)state;
    struct jb_digest diff;
    struct jb_digest chain;
    struct jb_error err = {0};
    jb_autofree char *config = NULL;
    jb_autofree char *manifest = NULL;
    jb_autoconfig struct jb_oci_config c = {0};
    jb_automanifest struct jb_oci_manifest m = {0};
    jb_digest_of("", 0, &diff);
    assert_string_equal(diff.text, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    jb_oci_chain(NULL, &diff, &chain);
    assert_string_equal(chain.text, diff.text);
    /* sha256 of "DIGEST DIGEST", as the OCI image specification has it */
    jb_oci_chain(&diff, &diff, &chain);
    assert_string_not_equal(chain.text, diff.text);
    assert_int_equal(jb_oci_config_make(NULL, &diff, 1, &config), 0);
    assert_ok(jb_oci_config_parse(config, strlen(config), &c, &err), &err);
    assert_string_equal(c.diff_ids[0].text, diff.text);
    const struct jb_oci_blob blob = {diff, 3};
    assert_int_equal(jb_oci_manifest_make(&blob, &blob, 1, &manifest), 0);
    assert_ok(jb_oci_manifest_parse(manifest, strlen(manifest), &m, &err), &err);
    assert_int_equal(m.layers[0].size, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),   cmocka_unit_test(suggestions), cmocka_unit_test(manifests),
        cmocka_unit_test(indexes), cmocka_unit_test(configs),     cmocka_unit_test(made_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
