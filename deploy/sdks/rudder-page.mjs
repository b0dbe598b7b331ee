import { RudderAnalytics } from './node_modules/@rudderstack/analytics-js/dist/npm/modern/bundled/esm/index.mjs';
import { key, play, token, url } from './scene.mjs';

const analytics = new RudderAnalytics();
analytics.load(key, url, { configUrl: url });

const proof = { context: { userToken: token } };
await play({
  identify: (userId, _, traits) => analytics.identify(userId, traits, proof),
  track: (event, properties) => analytics.track(event, properties),
  page: (name, properties) => analytics.page(name, properties),
  group: (groupId, traits) => analytics.group(groupId, traits),
  alias: (userId, previousId) => analytics.alias(userId, previousId, proof),
  consent: (event, properties) => analytics.track(event, properties, proof),
  flush: () => new Promise((ok) => analytics.ready(ok)), // it fetches its configuration once, and does nothing without
});
