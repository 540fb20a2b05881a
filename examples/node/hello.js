// oneport run -i 4 examples/node/hello.js        (the fork branch below is skipped: oneport is the primary)
const cluster = require('node:cluster');
const http = require('node:http');
const os = require('node:os');

if (cluster.isPrimary) {
  console.log(`primary ${process.pid} is running`);
  for (let n = 0; n < os.cpus().length; n++) cluster.fork();
  cluster.on('exit', (worker) => console.log(`worker ${worker.process.pid} died`));
} else {
  http.createServer((req, res) => {
    res.end(`hello from ${process.pid}\n`);
  }).listen(Number(process.env.PORT ?? 8000));
}
