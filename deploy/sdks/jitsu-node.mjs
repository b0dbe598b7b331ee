import { jitsuAnalytics } from '@jitsu/js';
import { key, play, token, url } from './scene.mjs';

const jitsu = jitsuAnalytics({ host: url, writeKey: key, s2s: true });

await play({
  identify: (userId, _, traits) => jitsu.identify(userId, traits),
  track: (event, properties) => jitsu.track(event, properties),
  page: (name, properties) => jitsu.page(name, properties),
  group: (groupId, traits) => jitsu.group(groupId, traits),
  consent: (event, properties) => jitsu.track(event, { ...properties, userToken: token }),
});
