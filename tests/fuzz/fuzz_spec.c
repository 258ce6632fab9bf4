/*
 * fuzz_spec.c - any bytes are a spec, or wrong with a reason: never a crash, a leak or a silence.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "spec/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
    if (!truth)
        abort();
}

/* Where each key stood is inside the text. */
static void check_positions(const struct jb_spec *spec, const char *text, size_t len)
{
    unsigned lines = 1;
    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n' || (text[i] == '\r' && !(i + 1 < len && text[i + 1] == '\n'));
    for (enum jb_key key = 0; key < JB_KEY_MAX; key++)
        must(spec->pos[key].line <= lines && (spec->pos[key].line == 0) == (spec->pos[key].column == 0));
}

static void check_spec(const struct jb_spec *spec)
{
    /* an image of its own may bring the command */
    must(spec->version == 1 && spec->image && !(spec->script && spec->command.len > 0));
    must(spec->script || spec->command.len > 0 || strcmp(spec->image, "host") != 0);
    for (size_t i = 0; i < spec->n_mounts; i++) {
        const char *target = spec->mounts[i].target;
        must(target && target[0] == '/' && target[1] && !strstr(target, "//") && !strstr(target, "/../"));
        must(!jb_path_beneath(target, "/proc") && !jb_path_beneath(target, "/dev"));
        must(spec->mounts[i].is_tmpfs == (spec->mounts[i].source == NULL));
    }
    for (size_t i = 0; i < spec->n_artifacts; i++)
        must(spec->artifacts[i].path && spec->artifacts[i].to);
    must(spec->user_kind != JB_USER_IDS || (spec->uid != UINT32_MAX && spec->gid != UINT32_MAX));
    json_t *json = jb_spec_to_json(spec);
    must(json != NULL);
    char *as_is = json_dumps(json, JSON_COMPACT);
    char *sorted = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    must(as_is && sorted && strcmp(as_is, sorted) == 0);
    free(as_is);
    free(sorted);
    json_decref(json);
}

/* One line for each fault, in order, without bytes that move a terminal's cursor. */
static void check_faults(const struct jb_diags *diags)
{
    char *text = jb_diags_format(diags);
    size_t lines = 0;
    must(text && diags->len > 0);
    for (const char *c = text; *c; c++) {
        must((unsigned char)*c >= 0x20 || *c == '\n');
        lines += *c == '\n';
    }
    must(lines == diags->len);
    for (size_t i = 1; i < diags->len; i++)
        must(diags->items[i - 1].line <= diags->items[i].line);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jb_diags diags = {0};
    struct jb_spec *spec = NULL;
    int r = jb_spec_parse("job.yaml", (const char *)data, size, &spec, &diags);
    if (r == 0) {
        must(spec && diags.len == 0);
        check_positions(spec, (const char *)data, size);
        check_spec(spec);
    } else {
        must(r == -EINVAL && !spec);
        check_faults(&diags);
    }
    jb_spec_free(spec);
    jb_diags_free(&diags);
    return 0;
}
