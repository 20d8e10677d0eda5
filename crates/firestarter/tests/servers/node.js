// Answers with its process id, a little late, or two seconds late at /slow; acks when it listens; on SIGUSR2 and SIGTERM
// finishes what it has begun, and asks those who keep their connection to make a new one.
const http = require('http');
const net = require('net');

let finishing = false;
const server = http.createServer((request, response) => {
  setTimeout(() => {
    if (finishing) response.setHeader('Connection', 'close');
    response.end(String(process.pid));
  }, request.url === '/slow' ? 2000 : 5);
});

server.listen({ fd: 3 }, () => {
  const line = JSON.stringify({ command: 'worker:ack', pid: process.pid, signal: null }) + '\n';
  net.connect(process.env.FIRESTARTER_SOCK_PATH, function () {
    this.end(line);
  });
});

for (const signal of ['SIGUSR2', 'SIGTERM']) {
  process.on(signal, () => {
    finishing = true;
    server.close(() => process.exit(0));
  });
}
