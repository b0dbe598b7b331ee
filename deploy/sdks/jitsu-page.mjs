import { jitsuAnalytics } from './node_modules/@jitsu/js/dist/jitsu.es.js';
import { key, play, token, url } from './scene.mjs';

const jitsu = jitsuAnalytics({ host: url, writeKey: key });

await play({
  identify: (userId, _, traits) => jitsu.identify(userId, traits),
  track: (event, properties) => jitsu.track(event, properties),
  page: (name, properties) => jitsu.page(name, properties),
  group: (groupId, traits) => jitsu.group(groupId, traits),
  consent: (event, properties) => jitsu.track(event, { ...properties, userToken: token }),
});
