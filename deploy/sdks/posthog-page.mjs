import posthog from './node_modules/posthog-js/dist/module.full.no-external.js';
import { key, play, token, url } from './scene.mjs';

posthog.init(key, { api_host: url,
  capture_pageview: false, capture_pageleave: false, autocapture: false, capture_performance: false, disable_session_recording: true,
  opt_out_useragent_filter: true }); // else it takes the test's browser for a bot

posthog.register({ userToken: token }); // for all events

await play({
  identify: (userId, _, traits) => posthog.identify(userId, traits),
  track: (event, properties) => void posthog.capture(event, properties),
  page: (title, properties) => void posthog.capture('$pageview', { title, ...properties }),
  group: (id, properties) => posthog.group('team', id, properties),
  alias: (_, alias) => posthog.alias(alias),
  consent: (event, properties) => void posthog.capture(event, properties),
});
