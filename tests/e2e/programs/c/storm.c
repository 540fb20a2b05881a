/* A timer signal every so many microseconds (handler with SA_RESTART) while the program binds and listens 300 times.
 * Prints `failures N`, then serves on PORT, so that it has something to be proven by: storm PORT MICROSECONDS */
#include "answer.h"
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

static volatile sig_atomic_t rang;

static void ring(int number)
{
    (void)number;
    rang++;
}

static int listen_on(unsigned short port)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0)
        fail("socket");
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 16) < 0) {
        int cause = errno;
        close(listener);
        errno = cause;
        return -1;
    }
    return listener;
}

int main(int argc, char **argv)
{
    unsigned short port = port_of(argc, argv);
    struct sigaction action = {.sa_handler = ring, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct timeval pause = {0, argc > 2 ? atoi(argv[2]) : 20};
    struct itimerval often = {pause, pause}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    int failures = 0;
    for (int i = 0; i < 300; i++) {
        int listener = listen_on(port);
        if (listener < 0) {
            fprintf(stderr, "pair %d: %s\n", i, strerror(errno));
            failures++;
        } else {
            close(listener);
        }
    }
    setitimer(ITIMER_REAL, &never, NULL);
    printf("failures %d of 300, %s\n", failures, rang > 300 ? "stormy" : "calm");
    fflush(stdout);
    int listener = listen_on(port);
    if (listener < 0)
        fail("listen");
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection >= 0)
            answer(connection);
    }
}
