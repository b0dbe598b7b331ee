package ingest

// RudderStack's SDKs send events in the form of this gateway, with originalTimestamp,
// which it reads too. The browser's fetches a configuration first, and sends what is
// left when a page is left to /beacon, where the key is a parameter.
var _ = add(&dialect{
	routes: map[string]route{"/beacon/v1/batch": {batch: true}},
	stubs:  []stub{{"/sourceConfig", fixed(`{"source":{"id":"offerstream","enabled":true,"destinations":[],"config":{}}}`)}},
	key:    keyParameter,
})
