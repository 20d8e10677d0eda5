/* A worker that is asked whether it serves: answers each connection at descriptor 3 with its pid, and what its mode says
   at an address of its own. Ends as a good server does when it gets TERM or USR2.

   asked MODE ADDRESS   MODE is a file, read once, and again as MODE.PID for each question if there is such a file;
                        ADDRESS is a number, the beginning of a port that ends in the slot, or the beginning of a unix
                        socket's path that ends in the pid. Modes: 200, 500, garbage, huge, interim, drip, never, closed,
                        reset, deaf (does not even listen) */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int wake[2];

static void leave(int signal) {
    (void)signal;
    if (write(wake[1], "", 1) < 0) _exit(9);
}

static int mode(const char *path, char *text) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) return 0;
    int length = read(fd, text, 15);
    close(fd);
    text[length < 0 ? 0 : length] = 0;
    return 1;
}

static int door(const char *address) {
    char path[200];
    int one = 1;
    if (*address == '/') {
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        snprintf(name.sun_path, sizeof name.sun_path, "%s%d", address, getpid());
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        return bind(fd, (struct sockaddr *)&name, sizeof name) || listen(fd, 99) ? -1 : fd;
    }
    snprintf(path, sizeof path, "%s%s", address, getenv("FIRESTARTER_SLOT"));
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(atoi(path))};
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return bind(fd, (struct sockaddr *)&name, sizeof name) || listen(fd, 99) ? -1 : fd;
}

static void say(int connection, const char *text) {
    if (write(connection, text, strlen(text)) < 0) perror("say");
}

static void huge(int connection) {
    say(connection, "HTTP/1.1 200 OK\r\n");
    for (int line = 0; line < 20000; line++) {
        if (write(connection, "Header: value\r\n", 15) < 0) return;
    }
}

static void question(int connection, const char *how) {
    char request[4096];
    struct linger none = {1, 0};
    if (strcmp(how, "reset") && read(connection, request, sizeof request) < 0) perror("read");
    if (!strcmp(how, "never")) return;
    if (!strcmp(how, "drip") || !strcmp(how, "huge")) {
        if (!fork()) {
            if (!strcmp(how, "huge")) return huge(connection), _exit(0);
            while (write(connection, "\n", 1) > 0) usleep(20000);
            _exit(0);
        }
    }
    if (!strcmp(how, "200")) say(connection, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    if (!strcmp(how, "500")) say(connection, "HTTP/1.1 500 Oh no\r\nContent-Length: 0\r\n\r\n");
    if (!strcmp(how, "interim")) say(connection, "HTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 204 No\r\n\r\n");
    if (!strcmp(how, "garbage")) say(connection, "220 mail.example.org ESMTP\r\n");
    if (!strcmp(how, "reset")) setsockopt(connection, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(connection);
}

int main(int count, char **words) {
    char how[16] = "", own[300];
    struct sigaction action = {.sa_handler = leave};
    if (count != 3 || pipe(wake)) return 2;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    sigaction(SIGTERM, &action, 0);
    sigaction(SIGUSR2, &action, 0);
    mode(words[1], how);
    snprintf(own, sizeof own, "%s.%d", words[1], getpid());
    int asked = strcmp(how, "deaf") ? door(words[2]) : -1;
    if (asked < 0 && strcmp(how, "deaf")) return 3;
    int listener = getenv("LISTEN_FDS") ? 3 : -1;
    if (listener == 3) fcntl(3, F_SETFL, fcntl(3, F_GETFL) | O_NONBLOCK);
    for (;;) {
        struct pollfd ready[3] = {{wake[0], POLLIN, 0}, {listener, POLLIN, 0}, {asked, POLLIN, 0}};
        if (poll(ready, 3, -1) < 0) continue;
        if (ready[0].revents) return 0;
        if (ready[2].revents) {
            mode(own, how);
            question(accept(asked, 0, 0), how);
        }
        int connection = ready[1].revents ? accept(listener, 0, 0) : -1;
        if (connection < 0) continue;
        char text[64];
        while (read(connection, text, sizeof text) < 0 && errno == EINTR) continue;
        snprintf(text, sizeof text, "%d", getpid());
        say(connection, text);
        close(connection);
    }
}
