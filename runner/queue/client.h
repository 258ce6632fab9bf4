/*
 * client.h - the other end of the daemon's socket.
 *
 * Owns: the socket and the buffer of a struct jb_client. Runs in: the client. Privilege: the user's.
 */
#ifndef JB_QUEUE_CLIENT_H
#define JB_QUEUE_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/str.h"
#include "job/state.h"

#define JB_SOCKET_NAME "jobboxd.sock"

struct jb_client {
    int fd; /* -1: not connected */
    struct jb_buf in;
    size_t used; /* of in */
    bool own;    /* the user's own daemon, not the system's */
    bool
        again; /* its last answer: it cannot go on just now, did nothing, and may be asked the same once more */
    char *dir; /* where it listens */
};
#define JB_CLIENT_INIT ((struct jb_client){.fd = -1})

struct jb_client_wish {
    const struct jb_site *site;
    const struct jb_submitter *who;
    const struct jb_state *state; /* paths */
    const char *config;           /* handed to a daemon that is started; NULL: none was named */
    bool own;                     /* not the system's */
    bool start;                   /* when there is none, one of the user's own */
};

/*
 * -ENOENT: there is no daemon, and none was to be started. Where the system's has its socket it is that one that is meant,
 * also when it does not answer (-ECONNREFUSED).
 */
int jb_client_open(const struct jb_client_wish *wish, struct jb_client *ret, struct jb_error *err);
void jb_client_close(struct jb_client *client);
/* What an error says: that the daemon went, or has to begin anew. What runs is not touched by that. */
bool jb_client_cut_off(const struct jb_client *client, int r);
/* Then: connects to the next one at the same place, which may take it some seconds. */
int jb_client_again(struct jb_client *client, struct jb_error *err);
#define jb_autoclient __attribute__((cleanup(jb_client_close)))

/* Sends {"v", "op", ...}; owns `request`. */
int jb_client_send(struct jb_client *client, const char *op, json_t *request, struct jb_error *err);

/*
 * The next line of the daemon. One that says that something failed is an error here, with the daemon's words and its
 * errno; `ret_diags`, when not NULL, gets the complaints about a spec (caller frees).
 */
int jb_client_receive(struct jb_client *client, json_t **ret, char **ret_diags, struct jb_error *err);

/* Both. */
int jb_client_call(struct jb_client *client, const char *op, json_t *request, json_t **ret,
                   struct jb_error *err);

#endif
