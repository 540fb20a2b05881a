'use strict';
// The primary a Node user writes today: fork N times, nothing else.
const cluster = require('node:cluster');
const path = require('node:path');

cluster.schedulingPolicy = process.env.POLICY === 'none' ? cluster.SCHED_NONE : cluster.SCHED_RR;
cluster.setupPrimary({ exec: path.join(__dirname, 'server.js') });
for (let i = 0; i < Number(process.env.WORKERS); i++) cluster.fork();
