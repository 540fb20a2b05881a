'use strict';
// Writes LINES lines of 107 bytes as people do, then says on standard error when it began, how long that took until the
// last byte had left the process, and its CPU time.
const lines = Number(process.env.LINES);
const agent = 'Mozilla/5.0 (X11; Linux x86_64; rv:1) Gecko/20100101';
const cpu = process.cpuUsage();
const began = performance.timeOrigin + performance.now();
for (let i = 0; i < lines; i++) {
  console.log(`${String(i).padStart(7, '0')} GET /api/v1/items/42 200 12ms user=12 agent="${agent}"`);
}
process.stdout.write('', () => {
  const took = performance.timeOrigin + performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  process.stderr.write(`BEGAN ${began} TOOK ${took} CPU ${(user + system) / 1000}\n`);
  // Managers start again what ends.
  setInterval(() => {}, 1 << 30);
});
