'use strict';
// Writes LINES lines of about 107 bytes as people do, then says on standard error how long that took until the last
// byte had left the process.
const lines = Number(process.env.LINES);
const began = process.hrtime.bigint();
for (let i = 0; i < lines; i++) {
  console.log(`${String(i).padStart(7, '0')} GET /api/v1/items/42 200 12ms user=1234 agent="Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101"`);
}
process.stdout.write('', () => {
  const ns = process.hrtime.bigint() - began;
  process.stderr.write(`TOOK ${ns} CPU ${process.cpuUsage().user + process.cpuUsage().system}\n`);
  // Managers start again what ends.
  setInterval(() => {}, 1 << 30);
});
