import './node_modules/@segment/analytics-next/dist/umd/index.js';
import { key, play, url } from './scene.mjs';

const analytics = AnalyticsNext.AnalyticsBrowser.load({ writeKey: key, cdnURL: url });

await play({
  identify: (userId, _, traits) => analytics.identify(userId, traits),
  track: (event, properties) => void analytics.track(event, properties),
  page: (name, properties) => analytics.page(name, properties),
  group: (groupId, traits) => analytics.group(groupId, traits),
  alias: (userId, previousId) => analytics.alias(userId, previousId),
});
