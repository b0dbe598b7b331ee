import { Analytics } from '@segment/analytics-node';
import { key, play, url } from './scene.mjs';

const analytics = new Analytics({ writeKey: key, host: url });

const userId = 'ann';
await play({
  identify: (userId, anonymousId, traits) => analytics.identify({ userId, anonymousId, traits }),
  track: (event, properties) => analytics.track({ userId, event, properties }),
  page: (name, properties) => analytics.page({ userId, name, properties }),
  group: (groupId, traits) => analytics.group({ userId, groupId, traits }),
  alias: (userId, previousId) => analytics.alias({ userId, previousId }),
  close: () => analytics.closeAndFlush({ timeout: 60000 }),
});
