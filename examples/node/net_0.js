// oneport run -i 3 examples/node/net_0.js        (node examples/node/net_0.js twice fails with EADDRINUSE)
const net = require('node:net');

const server = net.createServer((socket) => {
  socket.on('error', () => {});
  socket.end(`hello from ${process.pid}\n`);
});

server.on('error', (e) => {
  const { message, code, errno, syscall, address, port } = e;
  console.log(JSON.stringify({ message, code, errno, syscall, address, port }));
  process.exit(1);
});

server.listen({ port: Number(process.env.PORT ?? 8000), host: process.env.HOST }, () => {
  console.log('server start');
});
