package bench

import (
	"fmt"
	"strings"

	"github.com/valyala/fastjson"
)

// dialectForms are events in the gateway's own form, the base, and as the SDKs of other
// vendors send them: with the same content, and the key where each has it. All have a
// timestamp, as SDKs add it.
func dialectForms(plain []string) ([]form, error) {
	const at = "2026-01-02T15:04:05.678Z"
	posthog, cloud, rudder := form{name: "posthog"}, form{name: "cloudevents"}, form{name: "rudder"}
	jitsu, segment := form{name: "jitsu"}, form{name: "segment"}
	var own, ofPosthog, ofCloud []string
	var p fastjson.Parser
	for _, e := range plain {
		root, err := p.Parse(e)
		if err != nil {
			return nil, err
		}
		text := func(path ...string) string { return string(root.Get(path...).MarshalTo(nil)) }
		kind, name, nameOfPosthog := "page", `"page"`, `"$pageview"`
		if root.Exists("event") {
			kind, name, nameOfPosthog = "track", text("event"), text("event")
		}
		e = e[:len(e)-1] + `,"timestamp":"` + at + `"`
		own = append(own, e+"}")
		jitsu.singles = append(jitsu.singles, requestBy("/api/s/"+kind, "X-Write-Key: "+writeKey, []byte(e+`,"writeKey":"************"}`)))
		segment.singles = append(segment.singles, requestBy("/v1/"+kind[:1], "", []byte(e+`,"writeKey":"`+writeKey+`"}`)))
		properties := strings.TrimSuffix(text("properties"), "}")
		ofPosthog = append(ofPosthog, fmt.Sprintf(`{"event":%s,"distinct_id":%s,"uuid":%s,"timestamp":"%s","properties":%s,"$ip":%s,"locale":%s,"$raw_user_agent":%s,"$current_url":%s,"$referrer":%s,"$lib":%s,"$lib_version":%s}}`,
			nameOfPosthog, text("userId"), text("messageId"), at, properties, text("context", "ip"), text("context", "locale"), text("context", "userAgent"),
			text("context", "page", "url"), text("context", "page", "referrer"), text("context", "library", "name"), text("context", "library", "version")))
		ofCloud = append(ofCloud, fmt.Sprintf(`{"specversion":"1.0","type":%s,"source":"/shop","id":%s,"subject":%s,"time":"%s","datacontenttype":"application/json","data":%s,"context":%s}}`,
			name, text("messageId"), text("userId"), at, properties, text("context")))
	}
	posthog.batches = batches("/batch", "", `{"api_key":"`+writeKey+`","batch":[`, ofPosthog, `],"sent_at":"`+at+`"}`)
	cloud.batches = batches("/v1/cloudevents", "X-Write-Key: "+writeKey, "[", ofCloud, "]")
	rudder.batches = batches("/beacon/v1/batch?writeKey="+writeKey, "", `{"batch":[`, own, "]}")
	return []form{formOf("own", writeKey, own), posthog, cloud, rudder, jitsu, segment}, nil
}
