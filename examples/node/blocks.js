// oneport run -i 2 examples/node/blocks.js, then: curl http://127.0.0.1:8000/block   (the other worker serves on)
const http = require('node:http');

http.createServer((req, res) => {
  if (req.url === '/block') {
    const until = Date.now() + Number(process.env.BLOCK_MS ?? 2000);
    while (Date.now() < until);
  }
  res.end(`hello from ${process.pid}\n`);
}).listen(Number(process.env.PORT ?? 8000));
