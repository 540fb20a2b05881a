// oneport run -i 4 fastify.js       (in a directory where `npm ci` ran)
const fastify = require('fastify')();

fastify.get('/', async () => `hello from ${process.pid}\n`);
fastify.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' }, (e) => {
  if (e) throw e;
  console.log('fastify is up');
});
