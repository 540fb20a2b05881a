/* Registers its socket with epoll before it binds and listens: whatever replaces the descriptor later takes the
 * registration away, and the program never hears of a connection. */
#include "answer.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port_of(argc, argv))};
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (listener < 0)
        fail("socket");
    int set = epoll_create1(0);
    struct epoll_event interest = {.events = EPOLLIN | EPOLLET, .data.fd = listener};
    if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, listener, &interest) < 0)
        fail("epoll");
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0)
        fail("bind");
    if (listen(listener, 128) < 0)
        fail("listen");
    for (;;) {
        struct epoll_event seen;
        if (epoll_wait(set, &seen, 1, -1) < 1)
            continue;
        for (;;) {
            int connection = accept(listener, NULL, NULL);
            if (connection < 0)
                break;
            answer(connection);
        }
    }
}
