// oneport run -i 2 examples/node/never_listens.js     (a queue consumer: no port, but started, restarted, reloaded)
let jobs = 0;
setInterval(() => { jobs += 1; }, 50);
console.log(`consumer ${process.pid} waits for jobs`);
process.on('exit', () => console.log(`consumer ${process.pid} did some work: ${jobs > 0}`));
