'use strict';
// The application behind the measurements of managers: how long it takes for a request and what it does when it is
// asked to stop is told by the environment.
const fs = require('node:fs');
const http = require('node:http');

const { PORT, DELAY = '20', ON_STOP = 'nothing', SAY_READY, SEEN_LATE } = process.env;
let stopping = false;

const server = http.createServer((req, res) => {
  res.setHeader('X-Worker', process.pid);
  if (req.url === '/worker') return void res.end('hello\n');
  // One byte for each request that comes after the signal, at once: nobody may be there to count later.
  if (stopping && SEEN_LATE) fs.appendFileSync(SEEN_LATE, '.');
  setTimeout(() => {
    if (stopping && ON_STOP === 'politely') res.setHeader('Connection', 'close');
    res.end('hello\n');
  }, Number(DELAY));
});

function stop(how) {
  return () => {
    stopping = true;
    how();
  };
}

const close = () => server.close(() => process.exit(0));
if (ON_STOP === 'close' || ON_STOP === 'politely') process.on('SIGINT', stop(close));
if (ON_STOP === 'wait') process.on('SIGINT', stop(() => setTimeout(() => process.exit(0), 1200)));
if (ON_STOP === 'message') process.on('message', (message) => message === 'shutdown' && stop(close)());

server.listen(Number(PORT), () => {
  if (SAY_READY) process.send('ready');
});
