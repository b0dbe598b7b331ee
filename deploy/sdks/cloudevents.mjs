import { CloudEvent, HTTP } from 'cloudevents';
import { key, play, token, url } from './scene.mjs';

// The package's own transport hides the status, so the program sends what it makes, again
// and again until it is accepted.
async function send({ headers, body }) {
  for (let i = 0; i < 100; i++) {
    try {
      const sent = await fetch(url + '/v1/cloudevents', { method: 'POST', headers: { ...headers, 'X-Write-Key': key }, body });
      if (sent.status === 200) return;
    } catch { /* the gateway is away */ }
    await new Promise((ok) => setTimeout(ok, 100));
  }
  throw new Error('an event was not accepted');
}

const made = (type, data) => new CloudEvent({ source: '/shop', type, subject: 'ann', data });
let n = 0, waiting = [];
await play({
  track: (type, data) => [
    (e) => send(HTTP.binary(e)),
    (e) => send(HTTP.structured(e)),
    async (e) => {
      if (waiting.push(e) < 10) return;
      await send({ headers: { 'Content-Type': 'application/cloudevents-batch+json' }, body: JSON.stringify(waiting) });
      waiting = [];
    },
  ][n++ % 3](made(type, data)),
  consent: (type, data) => send(HTTP.structured(made(type, { ...data, userToken: token }))),
  close: async () => {
    if (waiting.length) await send({ headers: { 'Content-Type': 'application/cloudevents-batch+json' }, body: JSON.stringify(waiting) });
  },
});
