/* One HTTP answer: `hello from PID`, then the connection is closed. Used by every C server here.
 * Lives here: reading a request, writing the answer. Not here: how a connection came to be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void fail(const char *what)
{
    perror(what);
    exit(1);
}

static inline unsigned short port_of(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        exit(2);
    }
    return (unsigned short)atoi(argv[1]);
}

/* Blocks until the request is whole, answers and closes. A client that left costs nothing. */
static inline void answer(int connection)
{
    char request[4096];
    size_t got = 0;
    while (got < sizeof request - 1) {
        ssize_t more = read(connection, request + got, sizeof request - 1 - got);
        if (more <= 0) {
            close(connection);
            return;
        }
        got += (size_t)more;
        request[got] = 0;
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    char body[64], whole[256];
    int length = snprintf(body, sizeof body, "hello from %d\n", (int)getpid());
    int size = snprintf(whole, sizeof whole,
                        "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", length, body);
    if (write(connection, whole, (size_t)size) < 0)
        perror("write");
    close(connection);
}
