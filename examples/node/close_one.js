// oneport run -i 4 examples/node/close_one.js, then: curl http://127.0.0.1:8000/close   (three workers go on)
const http = require('node:http');

const server = http.createServer((req, res) => {
  res.setHeader('Connection', 'close');
  res.end(`hello from ${process.pid}\n`);
  if (req.url === '/close') server.close(() => console.log(`closed in ${process.pid}`));
});
server.listen(Number(process.env.PORT ?? 8000));
setInterval(() => {}, 1000); // the worker lives on without its server
