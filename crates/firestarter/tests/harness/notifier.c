/* A worker that speaks sd_notify(3), for the tests of it. Its arguments are steps, taken in order; at their end it waits
   to be ended.

   say TEXT        sends a datagram; \n in the text is a new line
   send TEXT FILE  sends one with a descriptor of a file that it opens to read and append, or with one end of a pipe whose
                   other end it keeps ("pipe"), or with a memfd that holds its pid ("memfd")
   twice TEXT FILE the same descriptor in two datagrams
   many TEXT N     sends one with N memfds
   child TEXT      a child that sends a datagram, waits until it is handled, and ends
   orphan TEXT     the same of a grandchild whose parent has ended
   session TEXT    the same of a child in a session of its own
   gone TEXT       a child that sends a datagram and ends, and is reaped
   barrier FILE    waits until all is handled that was sent before, then makes the file
   got FILE        appends a line: pid, LISTEN_FDS, LISTEN_FDNAMES, and of each stored descriptor what can be read from its
                   beginning, or "-"
   env FILE NAME   appends a variable, or "-"
   wait FILE       waits until the file is there
   make FILE       makes it
   close NAME      closes the end of the pipe that it kept
   every MS TEXT   sends a datagram again and again, for ever
   trap FILE       on SIGABRT it appends its pid to the file and goes on
   exit CODE       ends */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int kept[2] = {-1, -1};
static const char *trapped;

static void die(const char *what) {
    perror(what);
    exit(70);
}

static void line(const char *path, const char *text) {
    int fd = open(path, O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) die(path);
    close(fd);
}

static void aborted(int number) {
    char text[32];
    (void)number;
    snprintf(text, sizeof text, "%d\n", getpid());
    line(trapped, text);
}

static void transmit(const char *written, const int *fds, int count) {
    char text[8192];
    size_t length = 0;
    for (const char *at = written; *at && length < sizeof text; at++) {
        int newline = at[0] == '\\' && at[1] == 'n';
        text[length++] = newline ? '\n' : *at;
        at += newline;
    }
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (!path || strlen(path) >= sizeof to.sun_path) die("NOTIFY_SOCKET");
    strcpy(to.sun_path, path);
    struct iovec part = {text, length};
    static union { char bytes[CMSG_SPACE(253 * sizeof(int))]; struct cmsghdr align; } control;
    struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1};
    if (count) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    while (sendmsg(fd, &message, MSG_NOSIGNAL) < 0)
        if (errno != EINTR) die("sendmsg");
    close(fd);
}

static int memory(void) {
    int fd = memfd_create("stored", MFD_CLOEXEC);
    if (fd < 0 || dprintf(fd, "%d", getpid()) < 0) die("memfd");
    return fd;
}

static int opened(const char *what) {
    if (!strcmp(what, "memfd")) return memory();
    if (!strcmp(what, "pipe")) {
        if (pipe2(kept, O_CLOEXEC)) die("pipe");
        return kept[0];
    }
    int fd = open(what, O_RDWR | O_APPEND | O_CLOEXEC);
    if (fd < 0) die(what);
    return fd;
}

static void given(const char *path) {
    char text[4096];
    const char *fds = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES"), *pid = getenv("LISTEN_PID");
    if (fds && (!pid || atoi(pid) != getpid())) die("LISTEN_PID");
    int length = snprintf(text, sizeof text, "%d %s %s", getpid(), fds ? fds : "-", names ? names : "-");
    for (int fd = 3; fds && fd < 3 + atoi(fds); fd++) {
        struct stat is;
        char content[32] = "-";
        if (fstat(fd, &is)) die("a descriptor that was promised");
        if (S_ISREG(is.st_mode)) {
            ssize_t got = pread(fd, content, sizeof content - 1, 0);
            content[got > 0 ? got : 0] = 0;
        }
        length += snprintf(text + length, sizeof text - length, " %s", content);
    }
    snprintf(text + length, sizeof text - length, "\n");
    line(path, text);
}

static void barrier(const char *path) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC)) die("pipe");
    transmit("BARRIER=1", &ends[1], 1);
    close(ends[1]);
    struct pollfd closed = {ends[0], 0, 0};
    while (poll(&closed, 1, -1) < 0) continue;
    close(ends[0]);
    line(path, "");
}

static void offspring(const char *text, const char *how) {
    pid_t child = fork();
    if (!child) {
        if (!strcmp(how, "orphan") && fork()) _exit(0);
        if (!strcmp(how, "session")) setsid();
        transmit(text, 0, 0);
        if (strcmp(how, "gone")) barrier("/dev/null");
        _exit(0);
    }
    waitpid(child, 0, 0);
}

int main(int count, char **words) {
    for (int at = 1; at < count; at++) {
        const char *step = words[at], *first = at + 1 < count ? words[at + 1] : "", *second = at + 2 < count ? words[at + 2] : "";
        if (!strcmp(step, "say")) transmit(first, 0, 0), at += 1;
        else if (!strcmp(step, "send") || !strcmp(step, "twice")) {
            int fd = opened(second);
            transmit(first, &fd, 1);
            if (!strcmp(step, "twice")) transmit(first, &fd, 1);
            close(fd), at += 2;
        } else if (!strcmp(step, "many")) {
            int fds[253], number = atoi(second);
            for (int i = 0; i < number; i++) fds[i] = memory();
            transmit(first, fds, number);
            for (int i = 0; i < number; i++) close(fds[i]);
            at += 2;
        } else if (!strcmp(step, "child") || !strcmp(step, "orphan") || !strcmp(step, "session") || !strcmp(step, "gone")) offspring(first, step), at += 1;
        else if (!strcmp(step, "barrier")) barrier(first), at += 1;
        else if (!strcmp(step, "got")) given(first), at += 1;
        else if (!strcmp(step, "env")) {
            char text[512];
            const char *value = getenv(second);
            snprintf(text, sizeof text, "%s\n", value ? value : "-");
            line(first, text), at += 2;
        } else if (!strcmp(step, "wait")) {
            while (access(first, F_OK)) usleep(5000);
            at += 1;
        } else if (!strcmp(step, "make")) line(first, ""), at += 1;
        else if (!strcmp(step, "close")) close(kept[1]), at += 1;
        else if (!strcmp(step, "every")) {
            for (;;) transmit(second, 0, 0), usleep(atoi(first) * 1000);
        } else if (!strcmp(step, "trap")) {
            struct sigaction action = {.sa_handler = aborted, .sa_flags = SA_RESTART};
            trapped = first;
            sigaction(SIGABRT, &action, 0), at += 1;
        } else if (!strcmp(step, "exit")) return atoi(first);
        else return 64;
    }
    for (;;) pause();
}
