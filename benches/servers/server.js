'use strict';
// The application under test: the same file, unmodified, under every peer.
const http = require('node:http');

const server = http.createServer((req, res) => {
  if (req.url === '/block') {
    const end = Date.now() + 200;
    while (Date.now() < end); // a worker that computes and serves nobody else meanwhile
  }
  res.setHeader('X-Worker', process.pid);
  res.end('hello\n');
});
server.keepAliveTimeout = 60_000; // long connections stay open while their places are counted
const port = Number(process.env.PORT);
if (process.env.REUSE_PORT) server.listen({ port, reusePort: true }); // Node's own way, from 23.1 on
else server.listen(port);
