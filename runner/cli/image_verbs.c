/*
 * image_verbs.c - jobbox image: the verbs that look at the store and clean it.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/image.h"
#include "job/kept/kept.h"

static int print_json(json_t *root)
{
    int r = root ? json_dumpf(root, stdout, JSON_INDENT(2)) : -1;
    json_decref(root);
    if (r < 0 || putchar('\n') == EOF || fflush(stdout) == EOF)
        return JB_EXIT_NO_BOX;
    return 0;
}

static uint64_t bytes_of(const struct jb_istore *store, const struct jb_istore_image *image)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < image->n_layers; i++) {
        json_t *about = jb_istore_layer_json(store, &image->layers[i].chain);
        sum += (uint64_t)json_integer_value(json_object_get(about, "bytes"));
        json_decref(about);
    }
    return sum;
}

/* --- list --- */

struct names {
    struct jb_strv refs; /* "name:tag" */
    struct jb_strv digests;
};

static int read_names(const struct jb_istore *store, struct names *ret, struct jb_error *err)
{
    jb_autostrv struct jb_strv files = {0};
    char name[JB_REF_MAX];
    struct jb_digest digest;
    int r = jb_istore_names(store, "refs", &files, err);
    for (size_t i = 0; r == 0 && i < files.len; i++) {
        if (!jb_ref_from_file(files.items[i], name) || jb_istore_ref(store, name, &digest) < 0)
            continue;
        if (jb_strv_add(&ret->refs, name) < 0 || jb_strv_add(&ret->digests, digest.text) < 0)
            r = jb_fail_errno(err, ENOMEM, "image store");
    }
    return r;
}

static json_t *list_one(const struct jb_istore *store, const struct names *names, const char *hex)
{
    jb_autoimage struct jb_istore_image image = {.lock_fd = -1};
    struct jb_ref ref = {0};
    jb_autofree char *digest = jb_asprintf("sha256:%s", hex);
    if (!digest || !jb_digest_set(&ref.digest, digest) || jb_istore_find(store, &ref, &image, NULL) < 0)
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < names->refs.len; i++)
        if (jb_streq(names->digests.items[i], image.digest.text))
            (void)json_array_append_new(list, json_string(names->refs.items[i]));
    return json_pack("{s:o, s:s, s:I, s:I, s:o, s:s}", "names", list, "digest", image.digest.text, "layers",
                     (json_int_t)image.n_layers, "bytes", (json_int_t)bytes_of(store, &image), "source",
                     jb_json_text(image.source), "added", image.added);
}

static void print_list(json_t *all)
{
    size_t i;
    json_t *one;
    if (json_array_size(all))
        (void)printf("%-40s  %-12s  %6s  %10s  %s\n", "NAME", "DIGEST", "LAYERS", "SIZE", "ADDED");
    json_array_foreach(all, i, one)
    {
        const json_t *names = json_object_get(one, "names");
        const char *digest = json_string_value(json_object_get(one, "digest"));
        char size[32];
        for (size_t n = 0; n == 0 || n < json_array_size(names); n++) {
            const char *name = json_string_value(json_array_get(names, n));
            (void)printf("%-40s  %.12s  %6d  %10s  %.10s\n", name ? name : "-", digest + strlen("sha256:"),
                         (int)json_integer_value(json_object_get(one, "layers")),
                         jb_format_size((uint64_t)json_integer_value(json_object_get(one, "bytes")), size,
                                        sizeof(size)),
                         json_string_value(json_object_get(one, "added")));
        }
    }
}

int jb_cli_image_list(struct jb_cli_image *image)
{
    struct jb_error err = {0};
    struct names names = {0};
    jb_autostrv struct jb_strv files = {0};
    json_t *all = json_array();
    int r = 0;
    if (image->store.fd >= 0)
        r = read_names(&image->store, &names, &err);
    if (r == 0 && image->store.fd >= 0)
        r = jb_istore_names(&image->store, "images", &files, &err);
    for (size_t i = 0; r == 0 && i < files.len; i++) {
        json_t *one = list_one(&image->store, &names, files.items[i]);
        if (one)
            (void)json_array_append_new(all, one);
    }
    jb_strv_free(&names.refs);
    jb_strv_free(&names.digests);
    if (r < 0) {
        json_decref(all);
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    }
    if (image->o->json)
        return print_json(all);
    print_list(all);
    json_decref(all);
    return fflush(stdout) == EOF ? JB_EXIT_NO_BOX : 0;
}

/* --- inspect --- */

static json_t *inspect_one(const struct jb_istore *store, const struct jb_istore_image *image)
{
    json_t *layers = json_array();
    for (size_t i = 0; i < image->n_layers; i++) {
        const struct jb_istore_layer *l = &image->layers[i];
        json_t *about = jb_istore_layer_json(store, &l->chain);
        jb_autofree char *path = jb_istore_layer_path(store, &l->chain);
        (void)json_array_append_new(
            layers, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "chain", l->chain.text, "diff_id",
                              l->diff_id.text, "blob", l->blob.text, "path", jb_json_text(path), "bytes",
                              json_deep_copy(json_object_get(about, "bytes")) ?: json_null(), "entries",
                              json_deep_copy(json_object_get(about, "entries")) ?: json_null()));
        json_decref(about);
    }
    return json_pack("{s:s, s:o, s:s, s:o, s:o, s:o}", "digest", image->digest.text, "source",
                     jb_json_text(image->source), "added", image->added, "config",
                     json_loads(image->config, 0, NULL) ?: json_null(), "manifest",
                     json_loads(image->manifest, 0, NULL) ?: json_null(), "layers", layers);
}

/* Much of it is what the image's author wanted to be seen. */
static void print_text(const char *text)
{
    jb_autofree char *copy = strdup(text ? text : "?");
    if (!copy)
        return;
    jb_one_line(copy);
    (void)printf(" %s", copy);
}

static int print_words(const char *title, const json_t *list)
{
    size_t i;
    json_t *item;
    if (!json_array_size(list))
        return 0;
    (void)printf("%-12s", title);
    json_array_foreach(list, i, item)
    {
        print_text(json_string_value(item));
    }
    return putchar('\n');
}

static void print_line(const char *title, const char *text)
{
    (void)printf("%-12s", title);
    print_text(text);
    (void)putchar('\n');
}

static void print_inspected(const json_t *one)
{
    static const char *const texts[] = {"digest", "source", "added"};
    static const char *const words[] = {"Env", "Entrypoint", "Cmd"};
    const json_t *run = json_object_get(json_object_get(one, "config"), "config");
    const char *dir = json_string_value(json_object_get(run, "WorkingDir"));
    const char *user = json_string_value(json_object_get(run, "User"));
    size_t i;
    json_t *layer;
    for (size_t t = 0; t < JB_ARRAY_LEN(texts); t++)
        print_line(texts[t], json_string_value(json_object_get(one, texts[t])));
    for (size_t w = 0; w < JB_ARRAY_LEN(words); w++)
        (void)print_words(words[w], json_object_get(run, words[w]));
    if (dir && *dir)
        print_line("WorkingDir", dir);
    if (user && *user)
        print_line("User", user);
    json_array_foreach(json_object_get(one, "layers"), i, layer)
    {
        char size[32];
        (void)printf("layer %-6zu %.19s %s\n", i + 1, json_string_value(json_object_get(layer, "diff_id")),
                     jb_format_size((uint64_t)json_integer_value(json_object_get(layer, "bytes")), size,
                                    sizeof(size)));
    }
}

static int none_here(const char *text)
{
    (void)fprintf(stderr, "jobbox: there is no image \"%s\"; nothing was ever pulled or imported here\n",
                  text);
    return JB_EXIT_NO_BOX;
}

int jb_cli_image_inspect(struct jb_cli_image *image)
{
    json_t *all = json_array();
    int code = 0;
    for (int i = 0; code == 0 && i < image->o->n; i++) {
        struct jb_error err = {0};
        jb_autoimage struct jb_istore_image found = {.lock_fd = -1};
        if (image->store.fd < 0)
            code = none_here(image->o->args[i]);
        else if (jb_istore_find_text(&image->store, image->o->args[i], &found, &err) < 0)
            code = jb_cli_fail(JB_EXIT_NO_BOX, &err);
        else
            (void)json_array_append_new(all, inspect_one(&image->store, &found));
    }
    if (code == 0 && image->o->json)
        return print_json(all);
    size_t i;
    json_t *one;
    json_array_foreach(all, i, one)
    {
        if (code == 0)
            print_inspected(one);
    }
    json_decref(all);
    return code;
}

/* --- rm, gc, verify --- */

static int print_gc(const struct jb_cli_image *image, const struct jb_istore_gc *gc)
{
    char size[32];
    if (image->o->json)
        return print_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "images",
                                    (json_int_t)gc->images, "layers", (json_int_t)gc->layers, "blobs",
                                    (json_int_t)gc->blobs, "unfinished", (json_int_t)gc->works, "bytes",
                                    (json_int_t)gc->bytes, "in_use", (json_int_t)gc->in_use, "stuck",
                                    (json_int_t)gc->stuck, "dry_run", gc->dry));
    if (!image->o->quiet)
        (void)printf("%s %llu images, %llu layers, %llu fetched files, %llu unfinished works; %s\n",
                     gc->dry ? "would remove" : "removed", (unsigned long long)gc->images,
                     (unsigned long long)gc->layers, (unsigned long long)gc->blobs,
                     (unsigned long long)gc->works, jb_format_size(gc->bytes, size, sizeof(size)));
    if (gc->in_use && !image->o->quiet)
        (void)printf("kept %llu without a name: boxes use them\n", (unsigned long long)gc->in_use);
    if (gc->stuck && !gc->dry)
        (void)fprintf(stderr,
                      "jobbox: %s/tmp/.stuck.* (%llu) cannot be removed: files are in it of ids that are not "
                      "yours, or no more (/etc/subuid); root can\n",
                      image->store.path, (unsigned long long)gc->stuck);
    return fflush(stdout) == EOF ? JB_EXIT_NO_BOX : 0;
}

/* What a kept box lay over is needed to enter it, and to make an image of it. */
static bool is_kept_over(void *ctx, const char *hex)
{
    const struct jb_cli_image *image = ctx;
    const struct jb_kept_wish all = {.uid = JB_KEPT_ALL};
    json_t *list = NULL;
    size_t i;
    const json_t *one;
    bool over = false;
    jb_autoclose int state =
        open(image->job.state.state_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (state < 0 || jb_kept_list(state, &all, &list, NULL, NULL) < 0)
        return state >= 0; /* what cannot be known is not removed */
    json_array_foreach(list, i, one)
    {
        const char *digest = json_string_value(json_object_get(json_object_get(one, "image"), "digest"));
        over = over || (digest && jb_streq(digest + strcspn(digest, ":") + 1, hex));
    }
    json_decref(list);
    return over;
}

static int collect(struct jb_cli_image *image)
{
    struct jb_error err = {0};
    struct jb_istore_gc gc = {.dry = image->o->dry, .wanted = is_kept_over, .wanted_ctx = image};
    if (jb_istore_collect(&image->store, &gc, &err) < 0)
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    return print_gc(image, &gc);
}

int jb_cli_image_gc(struct jb_cli_image *image)
{
    return collect(image);
}

/* All names of an image that is named by its digest. */
static int untag_all(const struct jb_istore *store, const struct jb_digest *digest, struct jb_error *err)
{
    struct names names = {0};
    int r = read_names(store, &names, err);
    for (size_t i = 0; r == 0 && i < names.refs.len; i++)
        if (jb_streq(names.digests.items[i], digest->text)) {
            r = jb_istore_untag(store, names.refs.items[i], err);
            r = r == -ENOENT ? 0 : r;
        }
    jb_strv_free(&names.refs);
    jb_strv_free(&names.digests);
    return r;
}

static int forget(const struct jb_istore *store, const char *text, struct jb_error *err)
{
    struct jb_ref ref;
    jb_autoimage struct jb_istore_image found = {.lock_fd = -1};
    int r =
        jb_ref_parse(text, &ref, NULL) == 0 && ref.name[0] ? jb_istore_untag(store, ref.name, err) : -ENOENT;
    if (r != -ENOENT)
        return r;
    r = jb_istore_find_text(store, text, &found, err);
    return r == 0 ? untag_all(store, &found.digest, err) : r;
}

int jb_cli_image_rm(struct jb_cli_image *image)
{
    int code = 0;
    for (int i = 0; i < image->o->n; i++) {
        struct jb_error err = {0};
        if (forget(&image->store, image->o->args[i], &err) < 0)
            code = jb_cli_fail(JB_EXIT_NO_BOX, &err);
    }
    int collected = collect(image);
    return code ? code : collected;
}

struct found {
    json_t *list; /* NULL: to be printed */
};

static void complain(void *ctx, const char *what)
{
    struct found *found = ctx;
    if (found->list)
        (void)json_array_append_new(found->list, jb_json_text(what));
    else
        (void)fprintf(stderr, "jobbox: %s\n", what);
}

int jb_cli_image_verify(struct jb_cli_image *image)
{
    struct jb_error err = {0};
    struct found found = {image->o->json ? json_array() : NULL};
    int wrong = 0;
    if (image->store.fd >= 0)
        wrong = jb_istore_verify(&image->store, !image->o->quick, complain, &found, &err);
    if (wrong < 0) {
        json_decref(found.list);
        return jb_cli_fail(JB_EXIT_NO_BOX, &err);
    }
    if (image->o->json) {
        int code = print_json(json_pack("{s:b, s:o}", "whole", wrong == 0, "wrong", found.list));
        return code ? code : wrong > 0;
    }
    if (wrong)
        (void)fprintf(stderr, "jobbox: %d things are wrong in %s\n", wrong, image->store.path);
    else if (!image->o->quiet)
        (void)puts("the image store is whole");
    return wrong > 0;
}
