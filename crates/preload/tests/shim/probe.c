/* The programs that the tests run under the library; the first argument says which. Each line it prints is one fact.
 * Ordinary C against the C library: nothing here knows of a primary. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int good, const char *what) {
    if (!good) {
        printf("cannot %s: %d\n", what, errno);
        exit(1);
    }
}

static void say(const char *what, int outcome) {
    if (outcome == -1) printf("%s errno %d\n", what, errno);
    else printf("%s %d\n", what, outcome);
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static int open_socket(int kind) {
    int fd = socket(AF_INET, kind, 0);
    must(fd >= 0, "make a socket");
    return fd;
}

static int bind_to(int fd, int port) {
    struct sockaddr_in a = loopback(port);
    return bind(fd, (struct sockaddr *)&a, sizeof a);
}

static int port_of(int fd) {
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    must(getsockname(fd, (struct sockaddr *)&a, &n) == 0, "name a socket");
    return ntohs(a.sin_port);
}

/* Answers each connection with its process number until it is ended. */
static void serve(int fd) {
    for (;;) {
        int connection = accept(fd, 0, 0);
        if (connection < 0) {
            printf("accept errno %d\n", errno);
            return;
        }
        dprintf(connection, "%d\n", getpid());
        close(connection);
    }
}

static int listening(int port) {
    int fd = open_socket(SOCK_STREAM);
    must(bind_to(fd, port) == 0, "bind");
    must(listen(fd, 16) == 0, "listen");
    return fd;
}

static void plain(int port) {
    int fd = listening(port);
    printf("listening %d\n", port_of(fd));
    serve(fd);
}

/* Registered with epoll between bind and listen. */
static void early(int port) {
    int fd = open_socket(SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC), epoll = epoll_create1(0);
    must(bind_to(fd, port) == 0, "bind");
    struct epoll_event event = {.events = EPOLLIN};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "register");
    must(listen(fd, 16) == 0, "listen");
    printf("listening %d\n", port_of(fd));
    for (;;) {
        must(epoll_wait(epoll, &event, 1, -1) == 1 || errno == EINTR, "wait");
        int connection = accept(fd, 0, 0);
        if (connection < 0) continue;
        dprintf(connection, "%d\n", getpid());
        close(connection);
    }
}

static void two_of_any(int unused) {
    (void)unused;
    int first = open_socket(SOCK_STREAM), second = open_socket(SOCK_STREAM);
    must(bind_to(first, 0) == 0 && bind_to(second, 0) == 0, "bind");
    must(listen(first, 1) == 0 && listen(second, 1) == 0, "listen");
    printf("%d %d\n", port_of(first), port_of(second));
}

static void unbound(int unused) {
    (void)unused;
    int fd = open_socket(SOCK_STREAM);
    must(listen(fd, 1) == 0, "listen");
    printf("%d\n", port_of(fd));
}

/* Says what bind and listen come to, and which errno a success leaves. */
static void calls(int port) {
    int fd = open_socket(SOCK_STREAM);
    errno = 1234;
    int outcome = bind_to(fd, port);
    say("bind", outcome);
    if (outcome == 0) {
        printf("errno %d\n", errno);
        errno = 1234;
        say("listen", listen(fd, 7));
        printf("errno %d\n", errno);
    }
}

static void shared_with_itself(int port) {
    int fd = open_socket(SOCK_STREAM), one = 1;
    must(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0, "set an option");
    say("bind", bind_to(fd, port));
    say("listen", listen(fd, 7));
    say("shutdown", shutdown(fd, SHUT_RDWR));
}

static void twice(int port) {
    int fd = open_socket(SOCK_STREAM);
    say("first", bind_to(fd, port));
    say("second", bind_to(fd, port));
}

/* Shuts its listener down, and a duplicate of it, and serves on. */
static void shut_down(int port) {
    int fd = listening(port), other = dup(fd);
    say("write", shutdown(fd, SHUT_WR));
    say("both", shutdown(fd, SHUT_RDWR));
    say("duplicate", shutdown(other, SHUT_RD));
    printf("listening %d\n", port_of(fd));
    serve(other);
}

/* Another socket is put in place over and over; then the first listener is shut down. */
static void many(int port) {
    int fd = listening(port);
    for (int i = 0; i < 40; i++) {
        int other = open_socket(SOCK_STREAM);
        must(bind_to(other, port + 1) == 0, "bind");
        close(other);
    }
    say("shutdown", shutdown(fd, SHUT_RDWR));
}

/* An ordinary connection, both of its ends shut down. */
static void shut_connections(int port) {
    int fd = listening(port), client = open_socket(SOCK_STREAM);
    struct sockaddr_in a = loopback(port_of(fd));
    say("connect", connect(client, (struct sockaddr *)&a, sizeof a));
    int server = accept(fd, 0, 0);
    char byte;
    say("client", shutdown(client, SHUT_RDWR));
    say("end", read(server, &byte, 1));
    say("server", shutdown(server, SHUT_RDWR));
    say("again", shutdown(server, SHUT_RDWR));
}

/* A parent that binds, a child that listens. */
static void forked(int port) {
    int fd = open_socket(SOCK_STREAM);
    must(bind_to(fd, port) == 0, "bind");
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child > 0) {
        waitpid(child, 0, 0);
        return;
    }
    must(listen(fd, 16) == 0, "listen");
    printf("listening %d\n", port_of(fd));
    serve(fd);
}

/* The listener goes through exec. */
static void executed(int port) {
    int fd = listening(port);
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    execl("/proc/self/exe", "probe", "inherited", number, (char *)0);
    must(0, "execute");
}

static void inherited(int fd) {
    say("listen", listen(fd, 5));
    say("shutdown", shutdown(fd, SHUT_RDWR));
    say("again", shutdown(fd, SHUT_RDWR));
    printf("listening %d\n", port_of(fd));
    serve(fd);
}

static void wiped(int port) {
    extern char **environ;
    for (char **entry = environ; *entry; entry++) memset(*entry, 'x', strlen(*entry));
    clearenv();
    calls(port);
}

static void others(int unused) {
    (void)unused;
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    snprintf(abstract.sun_path + 1, sizeof abstract.sun_path - 1, "oneport-probe-%d", getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    say("abstract", bind(fd, (struct sockaddr *)&abstract, sizeof abstract));
    say("listen", listen(fd, 1));
    say("shutdown", shutdown(fd, SHUT_RDWR));
    struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
    say("datagram", bind(socket(AF_UNIX, SOCK_DGRAM, 0), (struct sockaddr *)&unnamed, sizeof(sa_family_t)));
    struct sockaddr_nl netlink = {.nl_family = AF_NETLINK};
    say("netlink", bind(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), (struct sockaddr *)&netlink, sizeof netlink));
    say("udp", bind_to(open_socket(SOCK_DGRAM), 0));
    say("short", bind(open_socket(SOCK_STREAM), (struct sockaddr *)&netlink, 1));
    say("null", bind(open_socket(SOCK_STREAM), 0, 16));
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
    say("family", bind(open_socket(SOCK_STREAM), (struct sockaddr *)&six, sizeof six) == -1);
    say("bad", bind_to(-1, 9));
    int pipes[2];
    must(pipe(pipes) == 0, "make a pipe");
    say("pipe", bind_to(pipes[0], 9));
    say("listen", listen(pipes[0], 9));
    say("shutdown", shutdown(pipes[0], SHUT_RDWR));
}

/* As a client that cares about its own address. */
static void client(int port) {
    int fd = open_socket(SOCK_STREAM);
    must(bind_to(fd, 0) == 0, "bind");
    struct sockaddr_in a = loopback(port);
    say("connect", connect(fd, (struct sockaddr *)&a, sizeof a));
}

static void unix_path(int unused) {
    (void)unused;
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "served.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    say("bind", bind(fd, (struct sockaddr *)&a, sizeof a));
    say("listen", listen(fd, 9));
    serve(fd);
}

static void datagrams(int port) {
    int fd = open_socket(SOCK_DGRAM);
    must(bind_to(fd, port) == 0, "bind");
    struct sockaddr_in to = loopback(port_of(fd));
    say("connect", connect(fd, (struct sockaddr *)&to, sizeof to));
    say("shutdown", shutdown(fd, SHUT_RDWR));
    printf("bound %d\n", port_of(fd));
    char bytes[16];
    struct sockaddr_in from;
    socklen_t n = sizeof from;
    must(recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &n) >= 0, "receive");
    n = snprintf(bytes, sizeof bytes, "%d\n", getpid());
    must(sendto(fd, bytes, n, 0, (struct sockaddr *)&from, sizeof from) == (ssize_t)n, "answer");
}

static void flags(int port) {
    int waits = open_socket(SOCK_STREAM), never = open_socket(SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC);
    int one = 1, buffer = 20000, value;
    socklen_t n = sizeof value;
    struct linger linger = {1, 3}, lingers = {0, 0};
    setsockopt(waits, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(waits, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    setsockopt(waits, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    must(bind_to(waits, port) == 0, "bind");
    printf("nonblocking %d\n", (fcntl(waits, F_GETFL) & O_NONBLOCK) != 0);
    printf("cloexec %d\n", fcntl(waits, F_GETFD));
    getsockopt(waits, IPPROTO_TCP, TCP_NODELAY, &value, &n);
    printf("nodelay %d\n", value);
    getsockopt(waits, SOL_SOCKET, SO_RCVBUF, &value, &n);
    printf("buffer %d\n", value);
    n = sizeof lingers;
    getsockopt(waits, SOL_SOCKET, SO_LINGER, &lingers, &n);
    printf("linger %d %d\n", lingers.l_onoff, lingers.l_linger);
    must(bind_to(never, port) == 0, "bind");
    printf("nonblocking %d\n", (fcntl(never, F_GETFL) & O_NONBLOCK) != 0);
    printf("cloexec %d\n", fcntl(never, F_GETFD));
    int late = open_socket(SOCK_STREAM);
    must(bind_to(late, port) == 0, "bind");
    printf("nonblocking %d\n", (fcntl(late, F_GETFL) & O_NONBLOCK) != 0);
}

static int open_descriptors(void) {
    int count = 0;
    DIR *all = opendir("/proc/self/fd");
    must(all != 0, "list descriptors");
    while (readdir(all)) count++;
    closedir(all);
    return count;
}

/* What a call leaves behind. */
static void traces(int port) {
    int fd = open_socket(SOCK_STREAM);
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    sigprocmask(SIG_SETMASK, &before, 0);
    int descriptors = open_descriptors();
    must(bind_to(fd, port) == 0, "bind");
    must(listen(fd, 1) == 0, "listen");
    printf("descriptors %d\n", open_descriptors() - descriptors);
    sigprocmask(SIG_SETMASK, 0, &after);
    printf("mask %d\n", memcmp(&before, &after, 8));
}

static volatile sig_atomic_t signals;
static void count_signal(int signal) { (void)signal, signals++; }

/* Binds and listens a hundred times while a timer interrupts; the handler does not restart calls. */
static void storm(int port) {
    struct sigaction action = {.sa_handler = count_signal};
    struct itimerval often = {{0, 50}, {0, 50}};
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &often, 0);
    int failures = 0;
    for (int i = 0; i < 100; i++) {
        int fd = open_socket(SOCK_STREAM);
        failures += bind_to(fd, port) != 0 || listen(fd, 1) != 0;
        close(fd);
    }
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, 0);
    printf("failures %d\n", failures);
    printf("interrupted %d\n", signals > 0);
}

static void *go_out(void *argument) {
    struct sockaddr_un *to = argument;
    /* The first fill the queue, the next waits in connect. */
    for (;;) connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)to, sizeof *to);
    return 0;
}

/* A thread that is cancelled while it waits in connect, after a socket was replaced. */
static void cancelled(int port) {
    listening(port);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "oneport-probe-%d", getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    must(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 0) == 0, "listen");
    pthread_t thread;
    void *outcome;
    must(pthread_create(&thread, 0, go_out, &a) == 0, "start a thread");
    must(pthread_cancel(thread) == 0, "cancel");
    must(pthread_join(thread, &outcome) == 0, "join");
    printf("cancelled %d\n", outcome == PTHREAD_CANCELED);
}

/* Two threads that bind and listen at once, over and over. */
static void *often(void *argument) {
    int port = *(int *)argument;
    long failures = 0;
    for (int i = 0; i < 50; i++) {
        int fd = open_socket(SOCK_STREAM);
        failures += bind_to(fd, port) != 0 || listen(fd, 1) != 0 || port_of(fd) == port;
        close(fd);
    }
    return (void *)failures;
}

static void threads(int port) {
    pthread_t thread;
    void *theirs;
    must(pthread_create(&thread, 0, often, &port) == 0, "start a thread");
    long ours = (long)often(&port);
    must(pthread_join(thread, &theirs) == 0, "join");
    printf("failures %ld\n", ours + (long)theirs);
}

/* No descriptor is left to ask with. */
static void exhausted(int port) {
    int fd = open_socket(SOCK_STREAM);
    while (dup(fd) >= 0) {}
    say("bind", bind_to(fd, port));
}

static const struct {
    const char *name;
    void (*run)(int);
} acts[] = {
    {"plain", plain},       {"early", early},         {"two of any", two_of_any},
    {"unbound", unbound},   {"calls", calls},         {"shared with itself", shared_with_itself},
    {"twice", twice},       {"shut down", shut_down}, {"shut connections", shut_connections},
    {"forked", forked},     {"executed", executed},   {"inherited", inherited},
    {"wiped", wiped},       {"others", others},       {"client", client},
    {"unix path", unix_path}, {"datagrams", datagrams}, {"flags", flags},
    {"traces", traces},     {"storm", storm},         {"cancelled", cancelled},
    {"threads", threads},   {"exhausted", exhausted}, {"many", many},
};

int main(int count, char **words) {
    setvbuf(stdout, 0, _IOLBF, 0);
    for (size_t i = 0; count == 3 && i < sizeof acts / sizeof *acts; i++) {
        if (strcmp(acts[i].name, words[1]) == 0) {
            acts[i].run(atoi(words[2]));
            return 0;
        }
    }
    printf("no such act\n");
    return 2;
}
