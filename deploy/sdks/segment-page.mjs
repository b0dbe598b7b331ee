import './node_modules/@segment/analytics-next/dist/umd/index.js';
import { key, play, token, url } from './scene.mjs';

const analytics = AnalyticsNext.AnalyticsBrowser.load({ writeKey: key, cdnURL: url });

const proof = { context: { userToken: token } };
await play({
  identify: (userId, _, traits) => analytics.identify(userId, traits, proof),
  track: (event, properties) => void analytics.track(event, properties),
  page: (name, properties) => analytics.page(name, properties),
  group: (groupId, traits) => analytics.group(groupId, traits),
  alias: (userId, previousId) => analytics.alias(userId, previousId, proof),
  consent: (event, properties) => analytics.track(event, properties, proof),
});
