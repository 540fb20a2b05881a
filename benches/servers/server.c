/* A C server in three manners: one process, one thread, answers with its pid, no signal handler.
 *
 *   server epoll PORT [reuse]    non-blocking, all connections in one epoll set
 *   server block PORT [reuse]    accept, read, write, close, one connection after the other
 *   server idle ADDR PORT        listens and does nothing else
 *
 * `reuse` sets SO_REUSEPORT, so that copies can share the port without a primary. `/syscalls` answers with what a
 * system call costs in this process, `/block` after 200 ms in which it serves nobody else. Requests are small and come
 * in one segment. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int listening(const char *address, const char *port, int reuse, int flags)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    if (inet_pton(AF_INET, address, &here.sin_addr) != 1)
        fail("address");
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (listener < 0)
        fail("socket");
    if (reuse && setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &reuse, sizeof reuse) < 0)
        fail("setsockopt");
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0)
        fail("bind");
    if (listen(listener, 1024) < 0)
        fail("listen");
    return listener;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

enum { BATCHES = 40, CALLS = 20000 };

/* Nanoseconds per call in the quickest of many short batches: the one that nothing interrupted. */
static double cost_of(long number)
{
    double least = 1e18;
    for (int batch = 0; batch < BATCHES; batch++) {
        double begin = now();
        for (int call = 0; call < CALLS; call++)
            syscall(number, -1, NULL, 0);
        double each = (now() - begin) / CALLS;
        least = each < least ? each : least;
    }
    return least;
}

/* 1: answered or given up, 0: there is nothing to read yet. */
static int answer(int connection)
{
    char request[2048], head[128] = "", whole[512];
    ssize_t length = read(connection, request, sizeof request - 1);
    if (length < 0)
        return 0;
    request[length] = 0;
    if (strncmp(request, "GET /syscalls ", 14) == 0)
        snprintf(head, sizeof head, "X-Getppid: %.2f\r\nX-Read: %.2f\r\n", cost_of(SYS_getppid), cost_of(SYS_read));
    if (strncmp(request, "GET /block ", 11) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
    int size = snprintf(whole, sizeof whole,
                        "HTTP/1.1 200 OK\r\nX-Worker: %d\r\n%sConnection: close\r\nContent-Length: 6\r\n\r\nhello\n",
                        (int)getpid(), head);
    if (length > 0 && write(connection, whole, (size_t)size) < 0)
        return 1; /* the client has left */
    return 1;
}

static void serve_blocking(int listener)
{
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            continue;
        answer(connection);
        close(connection);
    }
}

static void serve_epoll(int listener)
{
    struct epoll_event seen[64], interest = {.events = EPOLLIN, .data.fd = listener};
    int set = epoll_create1(EPOLL_CLOEXEC);
    if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, listener, &interest) < 0)
        fail("epoll");
    for (;;) {
        int count = epoll_wait(set, seen, 64, -1);
        for (int i = 0; i < count; i++) {
            int at = seen[i].data.fd;
            if (at != listener) {
                if (answer(at))
                    close(at);
                continue;
            }
            int connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (connection < 0)
                continue;
            interest.data.fd = connection;
            if (epoll_ctl(set, EPOLL_CTL_ADD, connection, &interest) < 0)
                close(connection);
        }
    }
}

int main(int argc, char **argv)
{
    const char *manner = argc > 2 ? argv[1] : "";
    int reuse = argc > 3 && strcmp(argv[3], "reuse") == 0;
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(manner, "epoll") == 0)
        serve_epoll(listening("0.0.0.0", argv[2], reuse, SOCK_NONBLOCK));
    else if (strcmp(manner, "block") == 0)
        serve_blocking(listening("0.0.0.0", argv[2], reuse, 0));
    else if (strcmp(manner, "idle") == 0 && argc == 4)
        for (int listener = listening(argv[2], argv[3], 0, 0); listener >= 0;)
            pause();
    fprintf(stderr, "usage: server epoll|block PORT [reuse]\n       server idle ADDR PORT\n");
    return 2;
}
