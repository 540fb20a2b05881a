// oneport run -i 2 examples/node/http2.js, then: curl --http2-prior-knowledge http://127.0.0.1:8000/
const http2 = require('node:http2');

const server = http2.createServer();
server.on('stream', (stream) => {
  stream.respond({ ':status': 200 });
  stream.end(`hello from ${process.pid}\n`);
});
server.listen(Number(process.env.PORT ?? 8000));
