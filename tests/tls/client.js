// Two requests by Node's own clients, over HTTP/1.1 and HTTP/2. Arguments: the URL, the file of the roots. Prints a line of JSON for
// each: what was agreed on, and the status.
const [, , url, roots] = process.argv;
const fs = require('node:fs');
const https = require('node:https');
const http2 = require('node:http2');
const ca = fs.readFileSync(roots);

const told = (socket, status) =>
  console.log(JSON.stringify({ protocol: socket.getProtocol(), alpn: socket.alpnProtocol, status }));

https.get(url, { ca, ALPNProtocols: ['http/1.1'] }, (response) => {
  told(response.socket, response.statusCode);
  response.resume();
  response.on('end', () => {
    const session = http2.connect(url, { ca });
    const request = session.request({ ':path': '/' });
    request.on('response', (headers) => told(session.socket, headers[':status']));
    request.resume();
    request.on('end', () => session.close());
    request.end();
  });
});
