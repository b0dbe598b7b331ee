// What each SDK sends: one event of each kind, values that break careless programs, a
// burst, and events while the gateway is away. TestSDKs compares it with the log. It is
// played by programs of Node.js, and by pages of page.html.
const page = !globalThis.process;
// token proves that the user is ann: who sends with a browser's key may grant her consent
// and name her visitors with it alone.
export const [url, key, token] = page ? new URLSearchParams(location.search).getAll('to') : process.argv.slice(2);

export const odd = {
  text: 'é "quoted" \\ \u2028 😀', empty: '', nothing: null, yes: true, big: 1e21, small: 0.1,
  list: [1, 'a', { b: null }], deep: { a: { b: { c: [] } } }, 'a key.with dots': 1,
};

const burst = page ? 60 : 1000; // SDKs of pages hold 100 at most

const sleep = (ms) => new Promise((ok) => setTimeout(ok, ms));
const say = (what) => (page ? fetch('/' + what, { method: 'POST' }) : console.log(what));

export async function play({ identify, track, page, group, alias, consent, flush, close }) {
  await identify?.('ann', 'visitor', { city: 'Seoul' });
  await page?.('Home', { path: '/' });
  await group?.('staff', { floor: 3 });
  await alias?.('ann', 'visitor-2');
  await consent('Consent Granted', { channel: 'sms' });
  await track('Odd', odd);
  for (let i = 0; i < burst; i++) await track('Burst', { i });
  await flush?.();
  await say('restart'); // the gateway goes now, and comes back after three seconds
  for (let i = 0; i < 50; i++) {
    await track('Restart', { i });
    await sleep(100);
  }
  await close?.();
  await say('done');
}
