/*
 * oci.c - JSON of image builders into what jobbox believes of it.
 *
 * Owns: nothing beyond the results. Runs in: the client. Privilege: none; pure.
 */
#include "image/oci.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/cleanup.h"
#include "base/json.h"

#define SIZE_MOST  (UINT64_C(1) << 50)
#define WORDS_MOST 4096

#define OCI_LAYER "application/vnd.oci.image.layer."

static json_t *load(const char *text, size_t len, const char *what, struct jb_error *err)
{
    json_error_t bad;
    if (len > JB_OCI_JSON_MAX) {
        (void)jb_fail(err, EINVAL, "%s: %zu bytes are more than one has", what, len);
        return NULL;
    }
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
    if (json_is_object(root))
        return root;
    (void)jb_fail(err, EINVAL, "%s: %s", what, root ? "is no JSON object" : bad.text);
    json_decref(root);
    return NULL;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

bool jb_oci_is_index(const char *text, size_t len)
{
    json_t *root = load(text, len, "index", NULL);
    bool is = json_is_array(json_object_get(root, "manifests")) && !json_object_get(root, "layers");
    json_decref(root);
    return is;
}

static int read_blob(const json_t *object, const char *what, struct jb_oci_blob *ret, struct jb_error *err)
{
    const char *digest = text_of(object, "digest");
    const json_t *size = json_object_get(object, "size");
    if (!digest || !jb_digest_set(&ret->digest, digest))
        return jb_fail(err, EINVAL, "%s has no sha256 digest", what);
    if (!json_is_integer(size) || json_integer_value(size) < 0 ||
        (uint64_t)json_integer_value(size) > SIZE_MOST)
        return jb_fail(err, EINVAL, "%s has no size that could be", what);
    ret->size = (uint64_t)json_integer_value(size);
    return 0;
}

/* Compression is found out from the bytes; what matters is that it is a tar that is here, and readable. */
static int check_layer_type(const json_t *layer, size_t i, struct jb_error *err)
{
    static const char *const good[] = {
        OCI_LAYER "v1.tar",
        OCI_LAYER "v1.tar+gzip",
        OCI_LAYER "v1.tar+zstd",
        OCI_LAYER "nondistributable.v1.tar",
        OCI_LAYER "nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    };
    const char *type = text_of(layer, "mediaType");
    if (!type)
        return jb_fail(err, EINVAL, "layer %zu of the manifest has no mediaType", i);
    for (size_t g = 0; g < JB_ARRAY_LEN(good); g++)
        if (jb_streq(type, good[g]))
            return 0;
    return jb_fail(err, ENOTSUP, "layer %zu is \"%.100s\", which jobbox cannot unpack; it needs a tar", i,
                   type);
}

static int read_layers(const json_t *list, struct jb_oci_manifest *ret, struct jb_error *err)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n == 0)
        return jb_fail(err, EINVAL, "the manifest has no layers");
    if (n > JB_OCI_LAYERS_MAX)
        return jb_fail(err, ENOTSUP, "the image has %zu layers; an overlay takes %d", n, JB_OCI_LAYERS_MAX);
    ret->layers = calloc(n, sizeof(*ret->layers));
    if (!ret->layers)
        return jb_fail_errno(err, ENOMEM, "manifest");
    for (size_t i = 0; i < n; i++) {
        char what[40];
        const json_t *layer = json_array_get(list, i);
        (void)snprintf(what, sizeof(what), "layer %zu of the manifest", i);
        int r = check_layer_type(layer, i, err);
        if (r == 0)
            r = read_blob(layer, what, &ret->layers[i], err);
        if (r < 0)
            return r;
    }
    ret->n_layers = n;
    return 0;
}

int jb_oci_manifest_parse(const char *text, size_t len, struct jb_oci_manifest *ret, struct jb_error *err)
{
    jb_automanifest struct jb_oci_manifest manifest = {0};
    json_t *root = load(text, len, "manifest", err);
    if (!root)
        return -EINVAL;
    int r = 0;
    if (json_integer_value(json_object_get(root, "schemaVersion")) != 2)
        r = jb_fail(err, ENOTSUP,
                    "the manifest is not of schema 2; the image is of an old kind, build and push it again");
    if (r == 0)
        r = read_blob(json_object_get(root, "config"), "the manifest's config", &manifest.config, err);
    if (r == 0)
        r = read_layers(json_object_get(root, "layers"), &manifest, err);
    json_decref(root);
    if (r < 0)
        return r;
    *ret = manifest;
    manifest = (struct jb_oci_manifest){0};
    return 0;
}

void jb_oci_manifest_free(struct jb_oci_manifest *manifest)
{
    free(manifest->layers);
    *manifest = (struct jb_oci_manifest){0};
}

static void copy_word(char *to, size_t len, const char *text)
{
    (void)snprintf(to, len, "%s", text && strlen(text) < len ? text : "");
}

int jb_oci_index_parse(const char *text, size_t len, struct jb_oci_index *ret, struct jb_error *err)
{
    jb_autochoices struct jb_oci_index index = {0};
    json_t *root = load(text, len, "index", err);
    if (!root)
        return -EINVAL;
    const json_t *list = json_object_get(root, "manifests");
    size_t n = json_array_size(list);
    int r = 0;
    index.items = calloc(n + 1, sizeof(*index.items));
    if (n == 0 || n > WORDS_MOST || !index.items) {
        json_decref(root);
        return index.items ? jb_fail(err, EINVAL, "the index names no manifest")
                           : jb_fail_errno(err, ENOMEM, "index");
    }
    for (size_t i = 0; r == 0 && i < n; i++) {
        const json_t *item = json_array_get(list, i);
        const json_t *platform = json_object_get(item, "platform");
        struct jb_oci_choice *choice = &index.items[i];
        r = read_blob(item, "a manifest of the index", &choice->manifest, err);
        copy_word(choice->os, sizeof(choice->os), text_of(platform, "os"));
        copy_word(choice->arch, sizeof(choice->arch), text_of(platform, "architecture"));
        copy_word(choice->variant, sizeof(choice->variant), text_of(platform, "variant"));
        copy_word(choice->name, sizeof(choice->name),
                  text_of(json_object_get(item, "annotations"), "org.opencontainers.image.ref.name"));
        index.len = i + 1;
    }
    json_decref(root);
    if (r < 0)
        return r;
    *ret = index;
    index = (struct jb_oci_index){0}; /* NOLINT(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
    return 0;
}

void jb_oci_index_free(struct jb_oci_index *index)
{
    free(index->items);
    *index = (struct jb_oci_index){0};
}

const char *jb_oci_arch(void)
{
    static const struct {
        const char *machine, *arch;
    } names[] = {
        {"x86_64", "amd64"},    {"aarch64", "arm64"}, {"armv7l", "arm"},      {"i686", "386"},
        {"ppc64le", "ppc64le"}, {"s390x", "s390x"},   {"riscv64", "riscv64"}, {"loongarch64", "loong64"},
    };
    struct utsname host;
    if (uname(&host) == 0)
        for (size_t i = 0; i < JB_ARRAY_LEN(names); i++)
            if (jb_streq(host.machine, names[i].machine))
                return names[i].arch;
    return "unknown";
}

bool jb_oci_fits(const struct jb_oci_choice *choice)
{
    return (!choice->os[0] || jb_streq(choice->os, "linux")) &&
           (!choice->arch[0] || jb_streq(choice->arch, jb_oci_arch()));
}

const struct jb_oci_choice *jb_oci_choose(const struct jb_oci_index *index)
{
    for (size_t i = 0; i < index->len; i++)
        if (jb_oci_fits(&index->items[i]))
            return &index->items[i];
    return NULL;
}

/* `left_out` not NULL: each is to be KEY=value, and those that are not are counted there. */
static int read_words(const json_t *list, const char *what, size_t *left_out, struct jb_strv *ret,
                      struct jb_error *err)
{
    size_t i;
    json_t *item;
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || json_array_size(list) > WORDS_MOST)
        return jb_fail(err, EINVAL, "the image's %s is no list of words", what);
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        if (!text)
            return jb_fail(err, EINVAL, "the image's %s: item %zu is no word", what, i);
        if (left_out && (text[0] == '=' || !strchr(text, '='))) {
            (*left_out)++;
            continue;
        }
        if (jb_strv_add(ret, text) < 0)
            return jb_fail_errno(err, ENOMEM, "config");
    }
    return 0;
}

static int read_workdir(const char *text, char **ret, struct jb_error *err)
{
    if (!text || !*text)
        return 0;
    jb_autofree char *full = text[0] == '/' ? strdup(text) : jb_asprintf("/%s", text);
    int r = full ? jb_path_clean(full, ret) : -ENOMEM;
    return r < 0 ? jb_fail(err, EINVAL, "the image's WorkingDir \"%.200s\" is no path without \"..\"", text)
                 : 0;
}

static int read_run(const json_t *config, struct jb_oci_config *ret, struct jb_error *err)
{
    const char *user = text_of(config, "User");
    int r = read_words(json_object_get(config, "Env"), "Env", &ret->env_left_out, &ret->env, err);
    if (r == 0)
        r = read_words(json_object_get(config, "Entrypoint"), "Entrypoint", NULL, &ret->entrypoint, err);
    if (r == 0)
        r = read_words(json_object_get(config, "Cmd"), "Cmd", NULL, &ret->cmd, err);
    if (r == 0)
        r = read_workdir(text_of(config, "WorkingDir"), &ret->workdir, err);
    if (r == 0 && user && *user && !(ret->user = strdup(user)))
        r = jb_fail_errno(err, ENOMEM, "config");
    return r;
}

static int read_diff_ids(const json_t *list, struct jb_oci_config *ret, struct jb_error *err)
{
    size_t n = json_array_size(list);
    if (n == 0 || n > JB_OCI_LAYERS_MAX)
        return jb_fail(err, EINVAL, "the image's config names no layers");
    ret->diff_ids = calloc(n, sizeof(*ret->diff_ids));
    if (!ret->diff_ids)
        return jb_fail_errno(err, ENOMEM, "config");
    for (size_t i = 0; i < n; i++)
        if (!jb_digest_set(&ret->diff_ids[i], json_string_value(json_array_get(list, i))))
            return jb_fail(err, EINVAL, "the image's config: diff_ids[%zu] is no sha256 digest", i);
    ret->n_diff_ids = n;
    return 0;
}

int jb_oci_config_parse(const char *text, size_t len, struct jb_oci_config *ret, struct jb_error *err)
{
    jb_autoconfig struct jb_oci_config config = {0};
    json_t *root = load(text, len, "config", err);
    if (!root)
        return -EINVAL;
    const char *os = text_of(root, "os");
    const char *arch = text_of(root, "architecture");
    int r = read_run(json_object_get(root, "config"), &config, err);
    if (r == 0)
        r = read_diff_ids(json_object_get(json_object_get(root, "rootfs"), "diff_ids"), &config, err);
    config.os = strdup(os ? os : "");
    config.arch = strdup(arch ? arch : "");
    json_decref(root);
    if (r == 0 && (!config.os || !config.arch))
        r = jb_fail_errno(err, ENOMEM, "config");
    if (r < 0)
        return r;
    *ret = config;
    config = (struct jb_oci_config){0};
    return 0;
}

void jb_oci_config_free(struct jb_oci_config *config)
{
    jb_strv_free(&config->env);
    jb_strv_free(&config->entrypoint);
    jb_strv_free(&config->cmd);
    free(config->workdir);
    free(config->user);
    free(config->os);
    free(config->arch);
    free(config->diff_ids);
    *config = (struct jb_oci_config){0};
}

void jb_oci_chain(const struct jb_digest *below, const struct jb_digest *diff_id, struct jb_digest *ret)
{
    char both[2 * (JB_DIGEST_LEN + 1)];
    if (!below) {
        *ret = *diff_id;
        return;
    }
    int n = snprintf(both, sizeof(both), "%s %s", below->text, diff_id->text);
    jb_digest_of(both, (size_t)n, ret);
}

static char *dump(json_t *root)
{
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    return text;
}

int jb_oci_config_make(const json_t *base, const struct jb_digest *diff_ids, size_t n, char **ret)
{
    json_t *root = base ? json_deep_copy(base) : json_object();
    json_t *list = json_array();
    bool ok = root && list;
    for (size_t i = 0; ok && i < n; i++)
        ok = json_array_append_new(list, json_string(diff_ids[i].text)) == 0;
    ok = ok && jb_json_set(root, "rootfs", json_pack("{s:s, s:O}", "type", "layers", "diff_ids", list));
    if (ok && !text_of(root, "os"))
        ok = jb_json_set(root, "os", json_string("linux"));
    if (ok && !text_of(root, "architecture"))
        ok = jb_json_set(root, "architecture", json_string(jb_oci_arch()));
    if (ok) /* it tells of the layers one by one, and would be wrong now */
        (void)json_object_del(root, "history");
    json_decref(list);
    if (!ok) {
        json_decref(root);
        return -ENOMEM;
    }
    *ret = dump(root);
    return *ret ? 0 : -ENOMEM;
}

static json_t *blob_json(const char *type, const struct jb_oci_blob *blob)
{
    return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest", blob->digest.text, "size",
                     (json_int_t)blob->size);
}

int jb_oci_manifest_make(const struct jb_oci_blob *config, const struct jb_oci_blob *layers, size_t n,
                         char **ret)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, blob_json(OCI_LAYER "v1.tar", &layers[i]));
    *ret = dump(json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType",
                          "application/vnd.oci.image.manifest.v1+json", "config",
                          blob_json("application/vnd.oci.image.config.v1+json", config), "layers", list));
    return *ret ? 0 : -ENOMEM;
}
