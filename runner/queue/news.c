/*
 * news.c - see news.h.
 *
 * Owns: see news.h. Runs in: see news.h. Privilege: none.
 *
 * The tasks of an array may all end at one moment, when it is cancelled, say: a program for each of them at once would be
 * too much for the host.
 */
#include "queue/news.h"

#include <stdlib.h>

static struct jb_news_line *line_of(const struct jb_news *news, uid_t uid)
{
    for (size_t i = 0; i < news->n; i++)
        if (news->lines[i].uid == uid)
            return &news->lines[i];
    return NULL;
}

bool jb_news_come(struct jb_news *news, uid_t uid, json_t *request)
{
    struct jb_news_line *line = line_of(news, uid);
    if (!line) {
        struct jb_news_line *grown = realloc(news->lines, (news->n + 1) * sizeof(*grown));
        if (!grown)
            return false;
        news->lines = grown;
        line = &grown[news->n++];
        *line = (struct jb_news_line){.uid = uid, .waiting = json_array()};
    }
    if (line->running < JB_NEWS_ONCE) {
        line->running++;
        return true;
    }
    if (json_array_size(line->waiting) < JB_NEWS_WAIT)
        (void)json_array_append(line->waiting, request);
    return false;
}

static json_t *take(struct jb_news_line *line)
{
    json_t *request = json_incref(json_array_get(line->waiting, 0));
    (void)json_array_remove(line->waiting, 0);
    return request;
}

json_t *jb_news_next(struct jb_news *news, uid_t uid)
{
    struct jb_news_line *line = line_of(news, uid);
    if (!line)
        return NULL;
    if (json_array_size(line->waiting) > 0)
        return take(line);
    line->running--;
    if (line->running == 0) {
        json_decref(line->waiting);
        *line = news->lines[--news->n];
    }
    return NULL;
}

json_t *jb_news_any(struct jb_news *news)
{
    for (size_t i = 0; i < news->n; i++)
        if (json_array_size(news->lines[i].waiting) > 0)
            return take(&news->lines[i]);
    return NULL;
}

void jb_news_free(struct jb_news *news)
{
    for (size_t i = 0; i < news->n; i++)
        json_decref(news->lines[i].waiting);
    free(news->lines);
    *news = (struct jb_news){0};
}
