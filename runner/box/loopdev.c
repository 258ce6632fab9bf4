/*
 * loopdev.c - loop devices that clear themselves.
 *
 * Owns: nothing. Runs in: the box's first process. Privilege: root's.
 */
#include "box/loopdev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"

#define TRIES 100 /* others take the number that we were given before we can */

static int configure(int loop, int file_fd)
{
    struct loop_config config = {
        .fd = (__u32)file_fd, .block_size = 4096, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
    return ioctl(loop, LOOP_CONFIGURE, &config) < 0 ? -errno : 0;
}

int jb_loop_attach(int file_fd, char path[JB_LOOP_PATH], struct jb_error *err)
{
    jb_autoclose int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return jb_fail_errno(err, errno, "/dev/loop-control");
    int r = -EBUSY;
    for (unsigned i = 0; r == -EBUSY && i < TRIES; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            return jb_fail_errno(err, errno, "finding a free loop device");
        (void)snprintf(path, JB_LOOP_PATH, "/dev/loop%d", number);
        jb_autoclose int loop = open(path, O_RDWR | O_CLOEXEC);
        if (loop < 0)
            return jb_fail_errno(err, errno, "%s", path);
        r = configure(loop, file_fd);
        if (r == 0)
            return jb_take_fd(&loop);
    }
    return jb_fail_errno(err, r, "%s", path);
}
