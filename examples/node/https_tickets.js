// openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -keyout key.pem -out cert.pem
// KEY=key.pem CERT=cert.pem oneport run -i 2 examples/node/https_tickets.js     (sessions resume in any worker)
const fs = require('node:fs');
const https = require('node:https');

const server = https.createServer({
  key: fs.readFileSync(process.env.KEY ?? 'key.pem'),
  cert: fs.readFileSync(process.env.CERT ?? 'cert.pem'),
}, (req, res) => {
  res.end(`hello from ${process.pid}\n`);
});
server.on('secureConnection', (socket) => {
  console.log(`${process.pid} ${socket.isSessionReused() ? 'resumed' : 'new'}`);
});
server.listen(Number(process.env.PORT ?? 8443));
