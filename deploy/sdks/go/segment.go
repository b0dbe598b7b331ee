package main

import (
	"time"

	"github.com/segmentio/analytics-go/v3"
)

func withSegment(url, key, token string) (*player, error) {
	client, err := analytics.NewWithConfig(key, analytics.Config{Endpoint: url, Interval: 200 * time.Millisecond})
	proof := &analytics.Context{Extra: map[string]any{"userToken": token}}
	return &player{
		identify: func(user, anonymous string, traits map[string]any) error {
			return client.Enqueue(analytics.Identify{UserId: user, AnonymousId: anonymous, Traits: traits, Context: proof})
		},
		track: func(event string, properties map[string]any) error {
			return client.Enqueue(analytics.Track{UserId: "ann", Event: event, Properties: properties})
		},
		page: func(name string, properties map[string]any) error {
			return client.Enqueue(analytics.Page{UserId: "ann", Name: name, Properties: properties})
		},
		group: func(group string, traits map[string]any) error {
			return client.Enqueue(analytics.Group{UserId: "ann", GroupId: group, Traits: traits})
		},
		alias: func(user, previous string) error {
			return client.Enqueue(analytics.Alias{UserId: user, PreviousId: previous, Context: proof})
		},
		consent: func(event string, properties map[string]any) error {
			return client.Enqueue(analytics.Track{UserId: "ann", Event: event, Properties: properties, Context: proof})
		},
		close: client.Close,
	}, err
}
