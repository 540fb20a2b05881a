// Node's http server, without cluster: node http.js PORT
'use strict';

const http = require('node:http');

http.createServer((request, response) => {
  const body = `hello from ${process.pid}\n`;
  response.setHeader('Content-Length', body.length);
  response.end(body);
}).listen(Number(process.argv[2] || process.env.PORT), '127.0.0.1');
