import { Analytics } from '@segment/analytics-node';
import { key, play, token, url } from './scene.mjs';

const analytics = new Analytics({ writeKey: key, host: url });

const userId = 'ann', context = { userToken: token };
await play({
  identify: (userId, anonymousId, traits) => analytics.identify({ userId, anonymousId, traits, context }),
  track: (event, properties) => analytics.track({ userId, event, properties }),
  page: (name, properties) => analytics.page({ userId, name, properties }),
  group: (groupId, traits) => analytics.group({ userId, groupId, traits }),
  alias: (userId, previousId) => analytics.alias({ userId, previousId, context }),
  consent: (event, properties) => analytics.track({ userId, event, properties, context }),
  close: () => analytics.closeAndFlush({ timeout: 60000 }),
});
