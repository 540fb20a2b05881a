/* As epoll_early, but no libc symbol is involved: socket, epoll, bind, listen and accept are bare system calls, as in
 * a Go program. */
#include "answer.h"
#include <arpa/inet.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

int main(int argc, char **argv)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port_of(argc, argv))};
    signal(SIGPIPE, SIG_IGN);
    long listener = syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    long set = syscall(SYS_epoll_create1, 0);
    struct epoll_event interest = {.events = EPOLLIN | EPOLLET};
    if (listener < 0 || set < 0 || syscall(SYS_epoll_ctl, set, EPOLL_CTL_ADD, listener, &interest) < 0)
        fail("epoll");
    if (syscall(SYS_bind, listener, &here, sizeof here) < 0)
        fail("bind");
    if (syscall(SYS_listen, listener, 128) < 0)
        fail("listen");
    for (;;) {
        struct epoll_event seen;
        /* epoll_pwait: there is no epoll_wait on newer architectures. */
        if (syscall(SYS_epoll_pwait, set, &seen, 1, -1, NULL, 8) < 1)
            continue;
        for (;;) {
            long connection = syscall(SYS_accept4, listener, NULL, NULL, 0);
            if (connection < 0)
                break;
            answer((int)connection);
        }
    }
}
