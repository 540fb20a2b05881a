// oneport run -i 4 examples/node/cluster.js      (the usual wrapper around ./server)
const cluster = require('node:cluster');

if (cluster.isPrimary) {
  for (let n = 0; n < 4; n++) cluster.fork();
} else {
  require('./server');
}
