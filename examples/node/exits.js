// oneport run -i 2 examples/node/exits.js, then: curl http://127.0.0.1:8000/exit   (that worker is replaced)
const http = require('node:http');

http.createServer((req, res) => {
  res.end(`hello from ${process.pid}\n`);
  if (req.url === '/exit') res.on('close', () => process.exit(3));
}).listen(Number(process.env.PORT ?? 8000));
