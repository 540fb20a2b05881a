// oneport run -i 2 --wait-ready examples/node/ready.js   (counts as started once it says so itself)
const http = require('node:http');

http.createServer((req, res) => {
  res.end(`hello from ${process.pid}\n`);
}).listen(Number(process.env.PORT ?? 8000), () => {
  setTimeout(() => process.send?.('ready'), 50); // caches are warm, the database answers, ...
});
