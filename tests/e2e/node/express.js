// oneport run -i 4 express.js       (in a directory where `npm ci` ran)
const express = require('express');

const app = express();
app.get('/', (req, res) => res.send(`hello from ${process.pid}\n`));
app.listen(Number(process.env.PORT ?? 3000), () => console.log('express is up'));
