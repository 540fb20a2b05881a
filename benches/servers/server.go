// net/http, linked statically, answering with its pid: server PORT [reuse]
package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
)

// SO_REUSEPORT on Linux; the package syscall lacks it for some architectures.
const reusePort = 15

func main() {
	pid := strconv.Itoa(os.Getpid())
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("X-Worker", pid)
		answer.Write([]byte("hello\n"))
	})
	var how net.ListenConfig
	if len(os.Args) > 2 && os.Args[2] == "reuse" {
		how.Control = func(_, _ string, socket syscall.RawConn) error {
			return socket.Control(func(fd uintptr) {
				if err := syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, reusePort, 1); err != nil {
					log.Fatal(err)
				}
			})
		}
	}
	listener, err := how.Listen(context.Background(), "tcp4", "0.0.0.0:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, nil))
}
