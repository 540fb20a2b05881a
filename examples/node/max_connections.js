// oneport run -i 2 --policy rr examples/node/max_connections.js   (one connection per worker; a third one waits for its
// turn. Where the worker itself accepts, Node closes what is too much)
const net = require('node:net');

const server = net.createServer((socket) => {
  socket.on('error', () => {});
  socket.write(`hello from ${process.pid}\n`);
  socket.on('data', () => socket.end('bye\n'));
});
server.maxConnections = 1;
server.listen(Number(process.env.PORT ?? 8000));
