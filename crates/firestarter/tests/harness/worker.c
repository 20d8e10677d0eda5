/* The tests' worker: a server in the few lines that a test can trust, built with the C compiler that Rust needs anyway.

   worker serve ACK     answers each connection with its pid, and finishes what it has begun when it gets TERM or USR2;
                        ACK says how it acks: pair, path, no
   worker once          answers one connection and ends
   worker datagram      answers one datagram with its pid and ends
   worker flags         prints 1 if its first listener does not block, else 0
   worker say PATH PID  acks at a socket, claiming a pid
   worker flood         acks without end over its group's pair
   worker lease FILE    keeps others from opening a file until it is killed; makes the file "leased" when it does */
#define _GNU_SOURCE
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

static int ack(int fd, const char *pid) {
    char line[96];
    int length = snprintf(line, sizeof line, "{\"command\":\"worker:ack\",\"pid\":%s,\"signal\":null}\n", pid);
    return write(fd, line, length) == length ? 0 : 3;
}

static int say(const char *path, const char *pid) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) return 4;
    int code = ack(fd, pid);
    /* Who has ended cannot be told from a stranger: waits until the line is taken and the connection closed. */
    shutdown(fd, SHUT_WR);
    char end;
    while (read(fd, &end, 1) < 0 && errno == EINTR) continue;
    close(fd);
    return code;
}

static void answer(int connection) {
    char text[32];
    int length = snprintf(text, sizeof text, "%d", getpid());
    if (write(connection, text, length) < 0) perror("answer");
    close(connection);
}

static int serve(int listener, const char *how) {
    struct sigaction action = {.sa_handler = leave};
    if (pipe(wake)) return 5;
    sigaction(SIGTERM, &action, 0);
    sigaction(SIGUSR2, &action, 0);
    fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK);
    int code = 0;
    if (!strcmp(how, "pair")) code = ack(atoi(getenv("FIRESTARTER_SOCK_FD")), "0");
    if (!strcmp(how, "path")) code = say(getenv("FIRESTARTER_SOCK_PATH"), "0");
    if (code) return code;
    for (;;) {
        struct pollfd ready[2] = {{wake[0], POLLIN, 0}, {listener, POLLIN, 0}};
        if (poll(ready, 2, -1) < 0) continue;
        if (ready[0].revents) return 0;
        int connection = accept(listener, 0, 0);
        if (connection < 0) continue;
        char request[64];
        while (read(connection, request, sizeof request) < 0 && errno == EINTR) continue;
        answer(connection);
    }
}

static int datagram(int socket) {
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    char text[32];
    if (recvfrom(socket, text, sizeof text, 0, (struct sockaddr *)&from, &length) < 0) return 8;
    int written = snprintf(text, sizeof text, "%d", getpid());
    return sendto(socket, text, written, 0, (struct sockaddr *)&from, length) == written ? 0 : 8;
}

static int lease(const char *path) {
    signal(SIGIO, SIG_IGN);
    if (fcntl(open(path, O_RDWR), F_SETLEASE, F_WRLCK)) return 7;
    close(open("leased", O_CREAT | O_WRONLY, 0600));
    return pause();
}

int main(int count, char **words) {
    if (count < 2) return 2;
    if (!strcmp(words[1], "say") && count == 4) return say(words[2], words[3]);
    if (!strcmp(words[1], "lease") && count == 3) return lease(words[2]);
    if (!strcmp(words[1], "flood")) {
        while (!ack(atoi(getenv("FIRESTARTER_SOCK_FD")), "0")) continue;
        return 6;
    }
    int listener = atoi(getenv("FIRESTARTER_FD_0"));
    if (!strcmp(words[1], "serve") && count == 3) return serve(listener, words[2]);
    if (!strcmp(words[1], "once")) return answer(accept(listener, 0, 0)), 0;
    if (!strcmp(words[1], "datagram")) return datagram(listener);
    if (strcmp(words[1], "flags")) return 2;
    printf("%d\n", !!(fcntl(listener, F_GETFL) & O_NONBLOCK));
    fflush(stdout);
    return pause();
}
