/*
 * fuzz_oci.c - any bytes are a manifest, an index or a configuration, or wrong with a reason: never a crash, a leak or
 * a silence. The same bytes are tried as the name of an image.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "image/oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
    if (!truth)
        abort();
}

static void check_manifest(const char *text, size_t size)
{
    struct jb_error err = {0};
    struct jb_oci_manifest m = {0};
    int r = jb_oci_manifest_parse(text, size, &m, &err);
    must(r == 0 ? m.n_layers > 0 && m.n_layers <= JB_OCI_LAYERS_MAX
                : (r == -EINVAL || r == -ENOTSUP) && err.text[0]);
    for (size_t i = 0; r == 0 && i < m.n_layers; i++)
        must(jb_digest_valid(m.layers[i].digest.text));
    jb_oci_manifest_free(&m);
}

static void check_index(const char *text, size_t size)
{
    struct jb_error err = {0};
    struct jb_oci_index index = {0};
    int r = jb_oci_index_parse(text, size, &index, &err);
    must(r == 0 ? index.len > 0 : r == -EINVAL && err.text[0]);
    const struct jb_oci_choice *choice = jb_oci_choose(&index);
    must(!choice || jb_digest_valid(choice->manifest.digest.text));
    (void)jb_oci_is_index(text, size);
    jb_oci_index_free(&index);
}

static void check_config(const char *text, size_t size)
{
    struct jb_error err = {0};
    struct jb_oci_config c = {0};
    int r = jb_oci_config_parse(text, size, &c, &err);
    must(r == 0 ? c.n_diff_ids > 0 : r == -EINVAL && err.text[0]);
    for (size_t i = 0; i < c.env.len; i++)
        must(strchr(c.env.items[i], '=') > c.env.items[i]);
    must(!c.workdir || c.workdir[0] == '/');
    jb_oci_config_free(&c);
}

static void check_name(const uint8_t *data, size_t size)
{
    struct jb_error err = {0};
    struct jb_ref ref = {0};
    struct jb_ref again = {0};
    char file[JB_REF_MAX];
    char name[JB_REF_MAX];
    jb_autofree char *text = strndup((const char *)data, size);
    must(text != NULL);
    if (jb_ref_parse(text, &ref, &err) < 0) {
        must(err.text[0] != '\0');
        return;
    }
    must(ref.name[0] || ref.digest.text[0]);
    if (!ref.name[0])
        return;
    jb_ref_to_file(ref.name, file);
    must(!strchr(file, '/') && file[0] != '.' && jb_ref_from_file(file, name) && jb_streq(name, ref.name));
    must(jb_ref_parse(name, &again, NULL) == 0 && jb_streq(again.name, ref.name));
    (void)jb_ref_suggest(text, name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    check_manifest(text, size);
    check_index(text, size);
    check_config(text, size);
    check_name(data, size);
    return 0;
}
