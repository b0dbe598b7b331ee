# The scene of scene.mjs, with Segment's SDK for Python.
import sys
import time

import segment.analytics as analytics

url, key, token = sys.argv[1:]
proof = {'userToken': token}
analytics.write_key = key
analytics.host = url
analytics.max_retries = 10
analytics.on_error = lambda error, items: print(error, file=sys.stderr)

odd = {
    'text': 'é "quoted" \\ \u2028 😀', 'empty': '', 'nothing': None, 'yes': True, 'big': 1e21, 'small': 0.1,
    'list': [1, 'a', {'b': None}], 'deep': {'a': {'b': {'c': []}}}, 'a key.with dots': 1, 'none': float('nan'),
}
analytics.identify('ann', {'city': 'Seoul'}, anonymous_id='visitor', context=proof)
analytics.page('ann', None, 'Home', {'path': '/'})
analytics.group('ann', 'staff', {'floor': 3})
analytics.alias('visitor-2', 'ann', context=proof)
analytics.track('ann', 'Consent Granted', {'channel': 'sms'}, context=proof)
analytics.track('ann', 'Odd', odd)
for i in range(1000):
    analytics.track('ann', 'Burst', {'i': i})
analytics.flush()
print('restart', flush=True)
for i in range(50):
    analytics.track('ann', 'Restart', {'i': i})
    time.sleep(.1)
analytics.shutdown()
