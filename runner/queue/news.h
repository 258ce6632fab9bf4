/*
 * news.h - who is told what in which order: so many programs at once for one user, and so many that wait.
 *
 * Owns: what waits. Runs in: the nursery. Privilege: none.
 */
#ifndef JB_QUEUE_NEWS_H
#define JB_QUEUE_NEWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define JB_NEWS_ONCE 8    /* programs for one user's jobs that run */
#define JB_NEWS_WAIT 1000 /* that wait; what comes beyond is not told */

struct jb_news_line {
    uid_t uid;
    size_t running;
    json_t *waiting;
};

/* Zeroed before. */
struct jb_news {
    struct jb_news_line *lines;
    size_t n;
};

/* Of a job of `uid`. True: the program is to be started now; else it waits, or is left out. */
bool jb_news_come(struct jb_news *news, uid_t uid, json_t *request);
/* A program for `uid` is over: what is to be started in its place, the caller's; NULL: nothing. */
json_t *jb_news_next(struct jb_news *news, uid_t uid);
/* Anything that waits, whatever runs; the caller's. NULL: nothing. */
json_t *jb_news_any(struct jb_news *news);
void jb_news_free(struct jb_news *news);

#endif
