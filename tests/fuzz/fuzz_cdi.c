/*
 * fuzz_cdi.c - any bytes are a CDI file, or wrong with a reason: never a crash, a leak or a silence.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/cdi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
    if (!truth)
        abort();
}

static void check_edits(const struct jb_cdi_edits *edits)
{
    for (size_t i = 0; i < edits->n_nodes; i++) {
        const struct jb_cdi_node *node = &edits->nodes[i];
        must(node->path && node->path[0] == '/' && (!node->host_path || node->host_path[0] == '/'));
        must((node->major == JB_UNSET) == (node->minor == JB_UNSET) && node->type < JB_CDI_TYPE_MAX);
        must(node->mode == JB_UNSET || node->mode <= 07777);
    }
    for (size_t i = 0; i < edits->n_mounts; i++)
        must(edits->mounts[i].host_path && edits->mounts[i].container_path);
    for (size_t i = 0; i < edits->n_hooks; i++)
        must(edits->hooks[i].path && jb_cdi_hook_name(edits->hooks[i].when) && edits->hooks[i].when > 0);
    for (size_t i = 0; i < edits->env.len; i++)
        must(strchr(edits->env.items[i], '=') > edits->env.items[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jb_diags diags = {0};
    struct jb_cdi_file *file = NULL;
    char *kind = NULL;
    int r = jb_cdi_parse("vendor.yaml", (const char *)data, size, &file, &kind, &diags);
    if (r == 0) {
        must(file && diags.len == 0 && !kind && file->n_devices > 0);
        must(jb_cdi_kind_valid(file->kind) && file->version >= 3 && file->version <= 8);
        check_edits(&file->edits);
        for (size_t i = 0; i < file->n_devices; i++) {
            must(jb_cdi_name_valid(file->devices[i].name));
            check_edits(&file->devices[i].edits);
        }
    } else {
        must(r == -EINVAL && !file && diags.len > 0 && (!kind || jb_cdi_kind_valid(kind)));
    }
    free(kind);
    jb_cdi_free(file);
    jb_diags_free(&diags);
    return 0;
}
