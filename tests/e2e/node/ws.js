// oneport run -i 2 ws.js            (in a directory where `npm ci` ran)
const { WebSocketServer } = require('ws');

const server = new WebSocketServer({ port: Number(process.env.PORT ?? 3000) });
server.on('connection', (socket) => {
  socket.send(`welcome from ${process.pid}`);
  socket.on('message', (data) => socket.send(`${data} from ${process.pid}`));
});
