/*
 * top_live.c - the table of live boxes in a terminal, again and again.
 *
 * Owns: the terminal while it runs: its mode, its second screen, its cursor. Runs in: the client. Privilege: the user's.
 *
 * Signals come as a descriptor, so that nothing ends the process before the terminal is as it was; SIGKILL alone cannot be
 * helped.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/units.h"
#include "cli/top.h"

#define OTHER_LINES 3 /* that are not of the table's boxes: summary, headings, keys */

struct live {
    struct jb_top *top;
    struct jb_top_live options;
    struct termios mode; /* as it was */
    bool has_mode;
    bool open; /* the second screen is shown */
    int signal_fd;
    size_t skip; /* boxes that are scrolled over */
    size_t rows, columns;
    bool done;
    int code;
};

static int put(const char *text)
{
    return jb_write_all(STDOUT_FILENO, text, strlen(text));
}

static int enter(struct live *live)
{
    struct termios raw = live->mode;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (live->has_mode)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    live->open = true;
    return put("\033[?1049h\033[?25l");
}

static void leave(struct live *live)
{
    if (!live->open)
        return;
    (void)put("\033[?25h\033[?1049l");
    if (live->has_mode)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &live->mode);
    live->open = false;
}

static void measure(struct live *live)
{
    struct winsize size;
    live->rows = 24;
    live->columns = 80;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
        live->rows = size.ws_row;
        live->columns = size.ws_col;
    }
}

static size_t room(const struct live *live)
{
    return live->rows > OTHER_LINES ? live->rows - OTHER_LINES : 1;
}

static void scroll(struct live *live, long by)
{
    size_t n = live->top->n;
    size_t last = n > room(live) ? n - room(live) : 0;
    if (by < 0)
        live->skip = live->skip > (size_t)-by ? live->skip - (size_t)-by : 0;
    else
        live->skip += (size_t)by;
    live->skip = live->skip < last ? live->skip : last;
}

static int put_lines(struct live *live, struct jb_buf *into)
{
    static const char keys[] =
        "q quit  sort: c CPU m memory s pressure p pids i I/O t time n name u user  r reverse";
    const struct jb_top_style style = {.width = live->columns,
                                       .sort = live->options.sort,
                                       .reverse = live->options.reverse,
                                       .marks = true,
                                       .skip = live->skip,
                                       .rows = room(live)};
    jb_autobuf struct jb_buf summary = {0};
    time_t now = time(NULL);
    struct tm tm = {0};
    char clock[16];
    (void)localtime_r(&now, &tm);
    (void)strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
    int r = jb_top_summary(live->top, &summary);
    if (r == 0 && live->top->n > room(live))
        r = jb_buf_printf(&summary, ", from %zu on", live->skip + 1);
    if (r == 0)
        r = jb_buf_printf(into, "\033[H%s  %.*s\033[K\r\n", clock,
                          (int)(live->columns > 10 ? live->columns - 10 : 0), summary.data);
    if (r == 0)
        r = jb_top_table(live->top, &style, "\033[K\r\n", into);
    /* the keys in the last line, without an end that would scroll */
    if (r == 0)
        r = jb_buf_printf(into, "\033[J\033[%zu;1H\033[2m%.*s\033[0m\033[K", live->rows,
                          (int)live->columns - 1, keys);
    return r;
}

/* 0, or negative: the terminal is gone. */
static int show(struct live *live)
{
    jb_autobuf struct jb_buf text = {0};
    scroll(live, 0);
    int r = put_lines(live, &text);
    return r < 0 ? r : jb_write_all(STDOUT_FILENO, text.data, text.len);
}

/* --- keys --- */

static void key(struct live *live, char c)
{
    if (c == 'q' || c == 'Q')
        live->done = true;
    if (c == 'r')
        live->options.reverse = !live->options.reverse;
    if (c == 'j' || c == 'k')
        scroll(live, c == 'j' ? 1 : -1);
    for (size_t i = 0; i < JB_TOP_SORT_MAX; i++)
        if (jb_top_keys[i].key == c) {
            live->options.sort = (enum jb_top_sort)i;
            live->options.reverse = false;
            live->skip = 0;
        }
}

/* "\033[A" and its like, which come at once. Returns its length, 0: it is none. */
static size_t sequence(struct live *live, const char *text, size_t n)
{
    size_t len = 2;
    long page = (long)room(live);
    if (n < 3 || text[0] != '\033' || (text[1] != '[' && text[1] != 'O'))
        return 0;
    while (len < n && text[len] >= '0' && text[len] <= ';')
        len++;
    if (len == n)
        return n;
    switch (text[len]) {
    case 'A':
    case 'B':
        scroll(live, text[len] == 'A' ? -1 : 1);
        break;
    case 'H':
    case 'F':
        scroll(live, (text[len] == 'H' ? -1 : 1) * (long)(live->top->n + 1));
        break;
    case '~':
        if (text[2] == '5' || text[2] == '6')
            scroll(live, text[2] == '5' ? -page : page);
        break;
    default:
        break;
    }
    return len + 1;
}

static void take_keys(struct live *live)
{
    char text[64];
    ssize_t n = read(STDIN_FILENO, text, sizeof(text));
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        live->done = true; /* the terminal is gone */
    for (size_t i = 0; n > 0 && i < (size_t)n;) {
        size_t len = sequence(live, text + i, (size_t)n - i);
        if (len == 0)
            key(live, text[i]);
        i += len ? len : 1;
    }
}

/* --- signals --- */

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};

static int watch_signals(sigset_t *ret_old)
{
    sigset_t set;
    (void)sigemptyset(&set);
    for (size_t i = 0; i < JB_ARRAY_LEN(signals); i++)
        (void)sigaddset(&set, signals[i]);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    /* a shell may take its terminal before we have put it right: that must not stop us halfway */
    (void)sigaddset(&set, SIGTTOU);
    (void)sigprocmask(SIG_BLOCK, &set, ret_old);
    return fd;
}

static void take_signal(struct live *live)
{
    struct signalfd_siginfo info;
    if (read(live->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    switch (info.ssi_signo) {
    case SIGWINCH:
        measure(live);
        return;
    case SIGTSTP: /* the shell has its terminal back until it lets us go on */
        leave(live);
        (void)raise(SIGSTOP);
        measure(live);
        if (enter(live) < 0)
            live->done = true;
        return;
    default:
        live->code = 128 + (int)info.ssi_signo;
        live->done = true;
        return;
    }
}

/* Shows the table until it is time to read again. */
static void wait_and_show(struct live *live, uint64_t until_ns)
{
    while (!live->done) {
        if (show(live) < 0)
            live->done = true;
        uint64_t now = jb_mono_ns(NULL);
        if (live->done || now >= until_ns)
            return;
        struct pollfd fds[] = {{.fd = live->signal_fd, .events = POLLIN},
                               {.fd = live->has_mode ? STDIN_FILENO : -1, .events = POLLIN}};
        int n = poll(fds, JB_ARRAY_LEN(fds), (int)((until_ns - now) / JB_NS_PER_MS) + 1);
        if (n > 0 && fds[0].revents)
            take_signal(live);
        if (n > 0 && fds[1].revents)
            take_keys(live);
    }
}

int jb_top_live(struct jb_top *top, const struct jb_top_live *options)
{
    struct live live = {.top = top, .options = *options};
    struct jb_error err = {0};
    sigset_t old;
    live.signal_fd = watch_signals(&old);
    live.has_mode = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &live.mode) == 0;
    measure(&live);
    int r = live.signal_fd < 0 ? jb_fail_errno(&err, errno, "top") : 0;
    if (r == 0 && enter(&live) < 0)
        live.done = true;
    while (r == 0 && !live.done) {
        uint64_t at = jb_mono_ns(NULL);
        r = jb_top_read(top, &err);
        if (r == 0)
            wait_and_show(&live, at + live.options.interval_ns);
    }
    leave(&live);
    jb_close(&live.signal_fd);
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
    return r < 0 ? jb_cli_fail(JB_EXIT_NO_BOX, &err) : live.code;
}
