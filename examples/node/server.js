// oneport run -i 4 examples/node/server.js       (or alone: node examples/node/server.js)
const http = require('node:http');

http.createServer((req, res) => {
  res.end(`hello from ${process.pid}\n`);
}).listen(Number(process.env.PORT ?? 8000));
