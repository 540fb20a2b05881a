// SOCKET=/tmp/app.sock oneport run -i 2 examples/node/unix.js, then: curl --unix-socket /tmp/app.sock http://app/
const http = require('node:http');

http.createServer((req, res) => {
  res.end(`hello from ${process.pid}\n`);
}).listen(process.env.SOCKET ?? './app.sock');
