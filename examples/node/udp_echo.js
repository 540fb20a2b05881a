// oneport run -i 4 examples/node/udp_echo.js     (all workers read one UDP socket)
const dgram = require('node:dgram');

const socket = dgram.createSocket('udp4');
socket.on('message', (message, from) => {
  socket.send(`${message} from ${process.pid}`, from.port, from.address);
});
socket.bind(Number(process.env.PORT ?? 8000), '127.0.0.1');
