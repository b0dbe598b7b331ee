import { PostHog } from 'posthog-node';
import { key, play, token, url } from './scene.mjs';

const posthog = new PostHog(key, { host: url });

const distinctId = 'ann';
await play({
  identify: (distinctId, anonymous, properties) => posthog.identify({ distinctId, properties: { ...properties, $anon_distinct_id: anonymous } }),
  track: (event, properties) => posthog.capture({ distinctId, event, properties }),
  page: (title, properties) => posthog.capture({ distinctId, event: '$pageview', properties: { title, ...properties } }),
  group: (groupKey, properties) => posthog.groupIdentify({ groupType: 'team', groupKey, properties, distinctId }),
  alias: (distinctId, alias) => posthog.alias({ distinctId, alias }),
  consent: (event, properties) => posthog.capture({ distinctId, event, properties: { ...properties, userToken: token } }),
  close: () => posthog.shutdown(60000),
});
