// oneport run -i 2 examples/node/listen_twice.js   (two random ports, the same two in every worker)
const http = require('node:http');

for (const which of ['first', 'second']) {
  const server = http.createServer((req, res) => {
    res.end(`${which}: hello from ${process.pid}\n`);
  });
  server.listen(0, () => console.log(`${which} ${server.address().port}`));
}
