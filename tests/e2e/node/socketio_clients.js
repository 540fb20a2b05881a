// Clients of socketio.js, each from an address of its own: socketio_clients.js PORT COUNT
// Says which workers they have, how many heard what the first of them shouted, and how many the first one's worker knows of.
const http = require('node:http');
const { io } = require('socket.io-client');

const [port, count] = process.argv.slice(2).map(Number);
const clients = Array.from({ length: count }, (_, n) => {
  const agent = new http.Agent({ localAddress: `127.0.2.${n + 1}` });
  return io(`http://127.0.0.1:${port}`, { transports: ['polling'], agent, forceNew: true, reconnection: false });
});
const once = (client, event) =>
  new Promise((resolve, reject) => {
    client.once(event, resolve);
    client.once('connect_error', reject);
    client.once('disconnect', reject);
  });

(async () => {
  const workers = await Promise.all(clients.map((client) => once(client, 'hello')));
  const heard = clients.map((client) => once(client, 'shout'));
  clients[0].emit('shout');
  await Promise.all(heard);
  const known = await clients[0].timeout(10_000).emitWithAck('count');
  console.log(JSON.stringify({ workers, heard: heard.length, known }));
  process.exit(0);
})().catch((cause) => {
  console.error(cause);
  process.exit(1);
});
