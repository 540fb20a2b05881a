// Socket.IO over HTTP polling with its cluster adapter, as a worker of whatever cluster.
const http = require('node:http');
const { Server } = require('socket.io');
const { createAdapter } = require('@socket.io/cluster-adapter');

const server = http.createServer();
const io = new Server(server, { transports: ['polling'], adapter: createAdapter() });
io.on('connection', (socket) => {
  socket.emit('hello', process.pid);
  socket.on('shout', () => io.emit('shout'));
  socket.on('count', async (answer) => answer((await io.fetchSockets()).length));
});
server.listen(Number(process.env.PORT ?? 0));
