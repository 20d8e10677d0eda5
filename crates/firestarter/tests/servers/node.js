// Answers with its process id, a little late; acks when it listens; on SIGUSR2 and SIGTERM finishes what it has begun.
const http = require('http');
const net = require('net');

const server = http.createServer((request, response) => {
  setTimeout(() => response.end(String(process.pid)), 5);
});

server.listen({ fd: 3 }, () => {
  const line = JSON.stringify({ command: 'worker:ack', pid: process.pid, signal: null }) + '\n';
  net.connect(process.env.FIRESTARTER_SOCK_PATH, function () {
    this.end(line);
  });
});

for (const signal of ['SIGUSR2', 'SIGTERM']) {
  process.on(signal, () => server.close(() => process.exit(0)));
}
