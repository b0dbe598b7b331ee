// What each SDK sends: one event of each kind, values that break careless programs, a
// burst, and events while the gateway is away. TestSDKs compares it with the log.
import { setTimeout as sleep } from 'node:timers/promises';

export const [, , url, key] = process.argv;

export const odd = {
  text: 'é "quoted" \\ \u2028 😀', empty: '', nothing: null, yes: true, big: 1e21, small: 0.1,
  list: [1, 'a', { b: null }], deep: { a: { b: { c: [] } } }, 'a key.with dots': 1,
};

export async function play({ identify, track, page, group, alias, flush, close }) {
  await identify?.('ann', 'visitor', { city: 'Seoul' });
  await page?.('Home', { path: '/' });
  await group?.('staff', { floor: 3 });
  await alias?.('ann', 'visitor-2');
  await track('Odd', odd);
  for (let i = 0; i < 1000; i++) await track('Burst', { i });
  await flush?.();
  console.log('restart'); // the gateway goes now, and comes back after three seconds
  for (let i = 0; i < 50; i++) {
    await track('Restart', { i });
    await sleep(100);
  }
  await close?.();
}
