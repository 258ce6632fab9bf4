/*
 * image.h - inside of runner/cli: what the verbs of jobbox image share.
 *
 * Owns: nothing. Runs in: the client. Privilege: the user's.
 */
#ifndef JB_CLI_IMAGE_H
#define JB_CLI_IMAGE_H

#include "cli/cli.h"
#include "image/image.h"
#include "image/pull.h"
#include "image/store.h"

/* What the command line says; each verb takes some of it. */
struct jb_cli_image_options {
    const char *config, *name, *output, *format, *authfile;
    bool json, quiet, insecure, quick, dry;
    char **args; /* n of them */
    int n;
};

/* Store, messages and progress of one verb. */
struct jb_cli_image {
    const struct jb_cli_image_options *o;
    struct jb_cli_job job;
    struct jb_istore store;
    struct jb_image_ui ui;
    mode_t mask; /* the user's, for what he names; the store's modes are said in full */
    bool drawn;  /* a line of progress stands on the terminal */
    uint64_t drawn_ns;
};

/* Site and submitter. 0 or the exit code. */
int jb_cli_image_load(const struct jb_cli_image_options *o, struct jb_cli_image *ret);

/*
 * Opens the store, `write`: it is made when it is not there. 0 or the exit code. From here on a user who has ranges of ids is
 * root of a user namespace: what is his own elsewhere has to be open by then.
 */
int jb_cli_image_store(struct jb_cli_image *image, bool write);
void jb_cli_image_close(struct jb_cli_image *image);

/* Progress and lines on standard error, as a terminal wants them; also for jobbox run. */
void jb_cli_image_ui(struct jb_cli_image *image);

/* The name to give, said or made of `source`: 0 or the exit code. What was added, on standard output. */
int jb_cli_image_name(const struct jb_cli_image *image, const char *source, char ret[JB_REF_MAX]);
int jb_cli_image_added(struct jb_cli_image *image, const char *name, const struct jb_image_added *added);

/* image_verbs.c: each returns the exit code. */
int jb_cli_image_list(struct jb_cli_image *image);
int jb_cli_image_inspect(struct jb_cli_image *image);
int jb_cli_image_rm(struct jb_cli_image *image);
int jb_cli_image_gc(struct jb_cli_image *image);
int jb_cli_image_verify(struct jb_cli_image *image);

#endif
