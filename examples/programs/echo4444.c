/* Echoes every line until `:exit`, one process per connection, on port 4444.
 *
 *     cc -o echo4444 echo4444.c
 *     oneport run -i 4 -- ./echo4444 [PORT]        then: nc 127.0.0.1 4444
 *
 * Nothing in it knows about oneport: alone, a second copy fails with "Address already in use". */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

/* The child: says who serves, then repeats what it hears. */
static void echo(int connection)
{
    char line[4096];
    FILE *in = fdopen(connection, "r");
    FILE *out = fdopen(dup(connection), "w");
    if (!in || !out)
        give_up("fdopen");
    fprintf(out, "copy %d, process %d\n", (int)getppid(), (int)getpid());
    fflush(out);
    while (fgets(line, sizeof line, in)) {
        line[strcspn(line, "\r\n")] = 0;
        if (strcmp(line, ":exit") == 0)
            break;
        fprintf(out, "%s\n", line);
        if (fflush(out) == EOF)
            break;
    }
}

int main(int argc, char **argv)
{
    int port = argc > 1 ? atoi(argv[1]) : 4444;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    signal(SIGCHLD, SIG_IGN); /* children that ended need no wait() */

    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0)
        give_up("socket");
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0)
        give_up("bind");
    if (listen(listener, 128) < 0)
        give_up("listen");

    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0)
            continue;
        pid_t child = fork();
        if (child == 0) {
            close(listener);
            echo(connection);
            _exit(0);
        }
        if (child < 0)
            perror("fork");
        close(connection);
    }
}
