// One cluster per scenario, both sides in this file: `node scenarios.cjs NAME`. It only makes the conversation
// happen; record.py listens to it. The primary drives: a step is over when the other side said so by an
// event, never by time. Whatever is asked for is on loopback; ports come from the kernel.
'use strict';
const cluster = require('cluster');
const dgram = require('dgram');
const net = require('net');
const path = require('path');
const tls = require('tls');
const { once } = require('events');

const name = process.argv[2];
const MAJOR = Number(process.versions.node.split('.')[0]);
const TCP_FD = Number(process.env.RECORD_TCP_FD);
const UDP_FD = Number(process.env.RECORD_UDP_FD);

async function freePort(host) {
  const server = net.createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

// A worker and the first word it says under the name `done`.
function fork(env) {
  const worker = cluster.fork(env);
  worker.finished = new Promise((resolve) => {
    worker.on('message', (m) => m && m.done && resolve(m));
  });
  return worker;
}

async function connect(options) {
  const socket = net.connect(options);
  socket.on('error', () => {});
  await once(socket, 'data');
  return socket;
}

function listen(server, ...args) {
  return new Promise((resolve) => {
    server.once('error', resolve);
    server.listen(...args, () => resolve());
  });
}

function bind(socket, ...args) {
  return new Promise((resolve) => {
    socket.once('error', resolve);
    socket.bind(...args, () => resolve());
  });
}

const hello = (socket) => {
  socket.on('error', () => {});
  socket.write('hello');
};
const done = (more) => process.send({ done: true, ...more });
const gone = (worker) => once(worker, 'exit');

const scenarios = {
  // No host, hand-over, a refusal that goes to the sibling, disconnect by the primary.
  rr: {
    async primary() {
      const PORT = await freePort();
      const first = fork({ PORT, MAX: 1 });
      await first.finished;
      const held = await connect({ port: PORT });
      const second = fork({ PORT });
      await second.finished;
      const more = [await connect({ port: PORT }), await connect({ port: PORT }), await connect({ port: PORT })];
      for (const socket of [held, ...more]) socket.destroy();
      first.disconnect();
      second.disconnect();
      await Promise.all([gone(first), gone(second)]);
    },
    async worker() {
      const server = net.createServer(hello);
      if (process.env.MAX) server.maxConnections = Number(process.env.MAX);
      await listen(server, Number(process.env.PORT));
      done();
    },
  },
  // Host and backlog, closed in its own callback; IPv6 only; a worker that leaves by itself.
  host: {
    async primary() {
      const worker = fork({ PORT: await freePort('127.0.0.1'), PORT6: await freePort('::1') });
      await gone(worker);
    },
    async worker() {
      const first = net.createServer(hello);
      await listen(first, { port: Number(process.env.PORT), host: '127.0.0.1', backlog: 128 });
      first.close();
      const second = net.createServer(hello);
      await listen(second, { port: Number(process.env.PORT6), host: '::1', ipv6Only: true });
      cluster.worker.disconnect();
    },
  },
  // The same, at once and with nothing closed.
  kill: {
    async primary() {
      await gone(fork({ PORT: await freePort() }));
    },
    async worker() {
      await listen(net.createServer(hello), Number(process.env.PORT));
      cluster.worker.kill();
    },
  },
  // A Unix socket for everybody, and one with a backlog; one connection.
  unix: {
    async primary() {
      const worker = fork({});
      await worker.finished;
      const socket = await connect({ path: 'all.sock' });
      socket.destroy();
      worker.disconnect();
      await gone(worker);
    },
    async worker() {
      const everybody = { path: path.resolve('all.sock'), readableAll: true, writableAll: true };
      await listen(net.createServer(hello), everybody);
      await listen(net.createServer(hello), { path: path.resolve('few "é" \\.sock'), backlog: 5 });
      done();
    },
  },
  // UDP: port, IPv6 with flags, no port, a descriptor of the primary.
  udp: {
    async primary() {
      const worker = fork({ PORT: await freePort('127.0.0.1') });
      await worker.finished;
      worker.disconnect();
      await gone(worker);
    },
    async worker() {
      await bind(dgram.createSocket('udp4'), Number(process.env.PORT));
      await bind(dgram.createSocket('udp4'), Number(process.env.PORT), '127.0.0.1');
      const six = { type: 'udp6', reuseAddr: true, ipv6Only: true };
      await bind(dgram.createSocket(six), Number(process.env.PORT), '::1');
      await bind(dgram.createSocket('udp4'));
      await bind(dgram.createSocket('udp4'), { fd: UDP_FD });
      done();
    },
  },
  // Port 0 twice in two workers.
  port0: {
    async primary() {
      const workers = [fork({}), fork({})];
      await Promise.all(workers.map((worker) => worker.finished));
      for (const worker of workers) worker.disconnect();
      await Promise.all(workers.map(gone));
    },
    async worker() {
      await listen(net.createServer(hello), 0);
      await listen(net.createServer(hello), 0);
      await listen(net.createServer(hello), 0, '127.0.0.1');
      done();
    },
  },
  // TLS: the second worker gets the first one's ticket keys.
  tls: {
    async primary() {
      const PORT = await freePort();
      const first = fork({ PORT });
      await first.finished;
      const second = fork({ PORT });
      await second.finished;
      for (const worker of [first, second]) worker.disconnect();
      await Promise.all([gone(first), gone(second)]);
    },
    async worker() {
      await listen(tls.createServer({}), Number(process.env.PORT));
      done();
    },
  },
  // One shared socket, and an error there.
  shared: {
    async primary() {
      cluster.schedulingPolicy = cluster.SCHED_NONE;
      const taken = net.createServer().listen(0);
      await once(taken, 'listening');
      const PORT = await freePort();
      const worker = fork({ PORT, TAKEN: taken.address().port });
      await worker.finished;
      (await connect({ port: PORT })).destroy();
      worker.disconnect();
      await gone(worker);
      taken.close();
    },
    async worker() {
      await listen(net.createServer(hello), Number(process.env.PORT));
      await listen(net.createServer(hello), Number(process.env.TAKEN));
      await listen(net.createServer(hello), { fd: TCP_FD });
      await listen(net.createServer(hello), path.resolve('shared.sock'));
      done();
    },
  },
  // Taken port, missing directory, somebody else's address; descriptors: inherited, in use.
  errors: {
    async primary() {
      const taken = net.createServer().listen(0);
      await once(taken, 'listening');
      const worker = fork({ TAKEN: taken.address().port, OWN_FD: taken._handle.fd });
      await worker.finished;
      worker.disconnect();
      await gone(worker);
      taken.close();
    },
    async worker() {
      await listen(net.createServer(), Number(process.env.TAKEN));
      await listen(net.createServer(), path.resolve('missing/x.sock'));
      await listen(net.createServer(), 0, '192.0.2.1');
      await listen(net.createServer(), { fd: Number(process.env.OWN_FD) });
      await listen(net.createServer(), { fd: TCP_FD });
      done();
    },
  },
  // Users' messages of every kind, both ways; what looks like Node's own is not echoed.
  messages: {
    kinds: [
      'str', '', 42, -0.5, 1e300, true, false, null, [], {}, [1, null, [{ x: 'é\n\u2028"\\' }]],
      { a: undefined, d: new Date(0) }, '\ud800', { '\ud83d': '\udc00', '😀': '\u0000' },
      { cmd: 'NODE_' }, { cmd: 'node_x' }, { cmd: 7 }, { cmd: ['NODE_CLUSTER'] },
      { seq: 'x', act: 3, ack: {}, key: [], port: 'y', index: -1, accepted: 'no', type: 0, msg: 1 },
    ],
    async primary() {
      const worker = fork({});
      await once(worker, 'online');
      for (const kind of this.kinds) worker.send(kind);
      worker.send({ cmd: 'NODE_FOO', any: 'thing' });
      worker.send({ cmd: 'NODE_CLUSTER', act: 'nothing of ours' });
      worker.send({ cmd: 'NODE_CLUSTER', ack: -1 });
      worker.send({ last: true });
      await worker.finished;
      worker.disconnect();
      await gone(worker);
    },
    async worker() {
      process.on('message', (message) => {
        process.send(message);
        if (!message || !message.last) return;
        process.send({ cmd: 'NODE_FOO' });
        process.send({ cmd: 'NODE_CLUSTER', ack: -1 });
        process.send({ cmd: 'NODE_CLUSTER', act: 'nothing of ours' });
        process.send({ cmd: 'NODE_CLUSTER' });
        done();
      });
    },
  },
  // Users' handles both ways, and the counting that follows.
  handles: {
    async primary() {
      const worker = fork({});
      await once(worker, 'online');
      const server = net.createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      const said = async () => (await once(worker, 'message'))[0];
      // A worker of Node 18 asks its primary for the server it was just given (address null, port -1), and that
      // primary dies of the question; later ones do not ask.
      if (MAJOR >= 20) {
        worker.send({ my: 'server' }, server);
        await said();
      }
      for (const type of ['udp4', 'udp6']) {
        const udp = dgram.createSocket(type);
        await new Promise((resolve) => udp.bind(0, resolve));
        worker.send({ my: type }, udp);
        await said();
        udp.close();
      }
      const [client] = [net.connect(server.address())];
      const [accepted] = await once(server, 'connection');
      worker.send({ my: 'socket' }, accepted);
      await said();
      const own = net.createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
      await once(own, 'listening');
      const outgoing = net.connect(own.address());
      await once(outgoing, 'connect');
      worker.send('my own', outgoing);
      await said();
      await new Promise((resolve) => server.getConnections(resolve));
      server.close();
      worker.send({ close: true });
      await once(server, 'close');
      own.close();
      if (MAJOR >= 26) {
        worker.send({ my: 'bound' }, new net.BoundSocket({ port: 0, host: '127.0.0.1' }));
        await said();
      }
      worker.send({ back: true });
      const [, back] = await once(worker, 'message');
      back.destroy();
      client.destroy();
      worker.disconnect();
      await gone(worker);
    },
    async worker() {
      let held;
      process.on('message', (message, handle) => {
        if (message.close) return held.destroy();
        if (message.back) {
          const server = net.createServer((socket) => {
            server.close();
            process.send({ back: 1 }, socket);
          });
          server.listen({ port: 0, host: '127.0.0.1', exclusive: true }, () => net.connect(server.address()));
          return;
        }
        if (message.my === 'socket') held = handle;
        else if (handle && handle.close) handle.close();
        else if (handle && handle.destroy) handle.destroy();
        process.send('got it');
      });
    },
  },
};

const scenario = scenarios[name];
if (!scenario) {
  console.log(Object.keys(scenarios).join('\n'));
} else if (cluster.isWorker) {
  scenario.worker();
} else {
  scenario.primary().then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
  });
}
