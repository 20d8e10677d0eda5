/* The tests' worker: a server in the few lines that a test can trust, built with the C compiler that Rust needs anyway.

   worker serve ACK     answers each connection with its pid, and finishes what it has begun when it gets TERM or USR2;
                        ACK says how it acks: pair, path, no
   worker speak CONTRACT
                        serves as a client of firestarter, einhorn, server-starter or systemd alone, and acks as that does;
                        ends with 10 if it was not spoken to as the contract says, with 11 if by another contract too
   worker keep ACK      as serve, but a request "+" is answered with a line and its connection stays open; who is told to end
                        answers one more on each, with "." at the end of the line, and closes it
   worker once          answers one connection and ends
   worker datagram      answers one datagram with its pid and ends
   worker flags         prints 1 if its first listener does not block, else 0
   worker say PATH PID  acks at a socket, claiming a pid
   worker ask PATH      asks Einhorn's command socket for help and prints what it answers
   worker flood         acks without end over its group's pair
   worker lines REST BYTES
                        writes numbered lines, in parts that end anywhere, with so many microseconds of rest between; stops
                        after so many bytes or when there is a file "enough", and says so by a file "done.PID"; in
                        "life.PID" stands how many bytes were taken
   worker tick          writes a line a second
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

static int ask(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) return 4;
    const char *line = "{\"command\":\"help\"}\n";
    char text[4096];
    /* Who is not let in may be told so by the write or by the read. */
    signal(SIGPIPE, SIG_IGN);
    int length = write(fd, line, strlen(line)) < 0 ? 0 : read(fd, text, sizeof text);
    return length > 0 && write(1, text, length) == length ? 0 : 3;
}

static void answer(int connection) {
    char text[32];
    int length = snprintf(text, sizeof text, "%d", getpid());
    if (write(connection, text, length) < 0) perror("answer");
    close(connection);
}

static int prepare(int listener, const char *how) {
    struct sigaction action = {.sa_handler = leave};
    if (pipe(wake)) return 5;
    sigaction(SIGTERM, &action, 0);
    sigaction(SIGUSR2, &action, 0);
    fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK);
    if (!strcmp(how, "pair")) return ack(atoi(getenv("FIRESTARTER_SOCK_FD")), "0");
    if (!strcmp(how, "path")) return say(getenv("FIRESTARTER_SOCK_PATH"), "0");
    return 0;
}

static int serve(int listener, const char *how) {
    int code = prepare(listener, how);
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

/* Whether the connection stays open after the request that stands there. */
static int stays(int connection, int leaves) {
    char request[64], text[32];
    ssize_t length = read(connection, request, sizeof request);
    if (length < 0 && errno == EINTR) return 1;
    if (length > 0 && request[0] == '+') {
        int written = snprintf(text, sizeof text, leaves ? "%d.\n" : "%d\n", getpid());
        if (write(connection, text, written) == written && !leaves) return 1;
    } else if (length > 0) {
        answer(connection);
        return 0;
    }
    close(connection);
    return 0;
}

static int keep(int listener, const char *how) {
    struct pollfd ready[66];
    int count = 2, leaves = 0, code = prepare(listener, how);
    if (code) return code;
    signal(SIGPIPE, SIG_IGN);
    ready[0] = (struct pollfd){wake[0], POLLIN, 0};
    ready[1] = (struct pollfd){listener, POLLIN, 0};
    while (!leaves || count > 2) {
        if (poll(ready, count, -1) < 0) continue;
        if (ready[0].revents) leaves = 1, ready[0].fd = ready[1].fd = -1;
        for (int at = count - 1; at > 1; at--)
            if (ready[at].revents && !stays(ready[at].fd, leaves)) ready[at] = ready[--count];
        if (!ready[1].revents || leaves || count == 66) continue;
        int connection = accept(listener, 0, 0);
        if (connection >= 0) ready[count++] = (struct pollfd){connection, POLLIN, 0};
    }
    return 0;
}

static int says(const char *name, const char *value) {
    return getenv(name) && !strcmp(getenv(name), value);
}

static int number(const char *name) {
    return getenv(name) ? atoi(getenv(name)) : -1;
}

/* As Einhorn's client for Ruby. */
static int say_yaml(int fd) {
    char line[96];
    int length = snprintf(line, sizeof line, "---%%0Acommand: worker:ack%%0A:pid: %d%%0A\n", getpid());
    return write(fd, line, length) == length ? 0 : 3;
}

static int say_ping(int fd) {
    const char *line = "{\"command\":\"worker:ping\",\"request_id\":\"7\"}\n";
    return write(fd, line, strlen(line)) < 0 ? 3 : 0;
}

/* The first listener as a contract tells of it, or -1. */
static int told_by(const char *contract) {
    if (!strcmp(contract, "firestarter")) {
        if (number("FIRESTARTER_MASTER_PID") != getppid() || !says("FIRESTARTER_FD_COUNT", "1")) return -1;
        return number("FIRESTARTER_FD_0");
    }
    if (!strcmp(contract, "einhorn")) {
        if (number("EINHORN_MASTER_PID") != getppid() || !says("EINHORN_FD_COUNT", "1")) return -1;
        if (!says("EINHORN_FD_FAMILY_0", "AF_INET") || number("EINHORN_CHILD_INDEX") < 0) return -1;
        return number("EINHORN_FD_0");
    }
    if (!strcmp(contract, "server-starter")) {
        const char *port = getenv("SERVER_STARTER_PORT");
        const char *fd = port ? strchr(port, '=') : 0;
        return fd && number("SERVER_STARTER_GENERATION") > 0 && !strncmp(port, "127.0.0.1:", 10) ? atoi(fd + 1) : -1;
    }
    if (strcmp(contract, "systemd") || number("LISTEN_PID") != getpid() || !says("LISTEN_FDS", "1")) return -1;
    return says("LISTEN_FDNAMES", "web") ? 3 : -1;
}

static int speak(const char *contract) {
    const char *all[] = {"firestarter", "einhorn", "server-starter", "systemd"};
    int listener = told_by(contract), code = 0;
    if (listener < 0) return 10;
    for (int i = 0; i < 4; i++)
        if (strcmp(all[i], contract) && told_by(all[i]) >= 0) return 11;
    if (!strcmp(contract, "firestarter")) code = ack(number("FIRESTARTER_SOCK_FD"), "0");
    if (!strcmp(contract, "einhorn")) code = say_ping(number("EINHORN_SOCK_FD")) | say_yaml(number("EINHORN_SOCK_FD"));
    return code ? code : serve(listener, "no");
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

/* Who writes: its pid, and if there was one of that pid before, with a number above the highest pid added. */
static unsigned who;

static int begin_life(char *name) {
    for (who = getpid();; who += 1u << 22) {
        sprintf(name, "life.%u", who);
        int life = open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
        if (life >= 0 || errno != EEXIST) return life;
    }
}

/* Line number n, the same for ever: harness/lines.rs makes it again. */
static size_t line(char *to, unsigned n) {
    unsigned hash = (who * 2654435761u + n * 40503u) ^ n << 7, most = 60;
    if (n % 16 == 15) most = 900;
    if (n % 256 == 255) most = 6000;
    size_t begin = sprintf(to, "%u %u ", who, n), length = (hash >> 8) % most;
    for (size_t at = 0; at < length; at++) to[begin + at] = 'a' + (n + at) % 26;
    to[begin + length] = '\n';
    return begin + length + 1;
}

static int lines(int rest, unsigned long long most) {
    static char text[20000];
    char name[32];
    unsigned n = 0, dice = getpid();
    unsigned long long taken = 0;
    int life = begin_life(name);
    if (life < 0) return 12;
    while (taken < most && access("enough", F_OK)) {
        size_t full = 0, wanted = (dice = dice * 1103515245u + 12345u) >> 16 & (rest < 20000 ? 8191 : 127);
        do full += line(text + full, n++);
        while (full < wanted);
        for (size_t at = 0; at < full;) {
            dice = dice * 1103515245u + 12345u;
            ssize_t more = write(1, text + at, 1 + (dice >> 16) % (full - at));
            if (more < 0) return 13;
            at += more;
            taken += more;
            if (pwrite(life, &taken, sizeof taken, 0) < 0) return 14;
        }
        if (rest) usleep(rest);
    }
    snprintf(name, sizeof name, "done.%u", who);
    close(open(name, O_CREAT | O_WRONLY, 0600));
    return pause();
}

static int tick(void) {
    for (;;) {
        if (write(1, "a line a second\n", 16) < 0) return 15;
        sleep(1);
    }
}

/* Acks with so many MiB in memory. */
static int heap(const char *mebibytes) {
    size_t size = (size_t)atoi(mebibytes) << 20;
    volatile char *all = malloc(size + 1);
    if (!all) return 9;
    for (size_t at = 0; at <= size; at += 1024) all[at] = 1;
    return say(getenv("FIRESTARTER_SOCK_PATH"), "0") || pause();
}

int main(int count, char **words) {
    if (count < 2) return 2;
    if (!strcmp(words[1], "say") && count == 4) return say(words[2], words[3]);
    if (!strcmp(words[1], "ask") && count == 3) return ask(words[2]);
    if (!strcmp(words[1], "lease") && count == 3) return lease(words[2]);
    if (!strcmp(words[1], "lines") && count == 4) return lines(atoi(words[2]), strtoull(words[3], 0, 10));
    if (!strcmp(words[1], "speak") && count == 3) return speak(words[2]);
    if (!strcmp(words[1], "heap") && count == 3) return heap(words[2]);
    if (!strcmp(words[1], "tick")) return tick();
    if (!strcmp(words[1], "flood")) {
        while (!ack(atoi(getenv("FIRESTARTER_SOCK_FD")), "0")) continue;
        return 6;
    }
    int listener = atoi(getenv("FIRESTARTER_FD_0"));
    if (!strcmp(words[1], "serve") && count == 3) return serve(listener, words[2]);
    if (!strcmp(words[1], "keep") && count == 3) return keep(listener, words[2]);
    if (!strcmp(words[1], "once")) return answer(accept(listener, 0, 0)), 0;
    if (!strcmp(words[1], "datagram")) return datagram(listener);
    if (strcmp(words[1], "flags")) return 2;
    printf("%d\n", !!(fcntl(listener, F_GETFL) & O_NONBLOCK));
    fflush(stdout);
    return pause();
}
