// oneport run -i 2 examples/node/websocket.js    (RFC 6455 with Node's core alone; echoes short text frames)
const crypto = require('node:crypto');
const http = require('node:http');

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const server = http.createServer((req, res) => {
  res.end(`hello from ${process.pid}\n`);
});

server.on('upgrade', (req, socket) => {
  const accept = crypto.createHash('sha1').update(req.headers['sec-websocket-key'] + GUID).digest('base64');
  socket.on('error', () => {});
  socket.on('end', () => socket.end()); // HTTP sockets stay half open by themselves
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  send(socket, `welcome from ${process.pid}`);
  let pending = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 6) {
      const opcode = pending[0] & 15;
      const length = pending[1] & 127;
      if (length > 125 || pending.length < 6 + length) return;
      const mask = pending.subarray(2, 6);
      const text = Buffer.from(pending.subarray(6, 6 + length).map((byte, n) => byte ^ mask[n % 4]));
      pending = pending.subarray(6 + length);
      if (opcode === 8) return socket.end(Buffer.from([0x88, 0]));
      send(socket, `${text} from ${process.pid}`);
    }
  });
});

function send(socket, text) {
  const body = Buffer.from(text);
  socket.write(Buffer.concat([Buffer.from([0x81, body.length]), body]));
}

server.listen(Number(process.env.PORT ?? 8000));
