package oracle

import (
	"fmt"
	"strings"
	"testing"
)

// budgeted returns a campaign on A with a budget.
func budgeted(id, channel, budget, rest string) string {
	return offer(id, channel, "", `"on":["A"],"budget":{`+budget+`}`+rest)
}

func many(n int, clock, props string) (events []string) {
	for i := range n {
		events = append(events, by(fmt.Sprintf("u:%d", i), at(clock, "A", props)))
	}
	return events
}

// TestBudget: never one too many, in the window over the times of grants; who was
// refused is not asked again.
func TestBudget(t *testing.T) {
	hour := `"offers":2,"within":3600000000000`
	c := budgeted("c", "web", hour, "")
	tests := []struct {
		name, also, campaigns string
		events                []string
		want                  []string
		counts                string
	}{
		{"so many", "", budgeted("c", "web", `"offers":2`, ""), many(4, "10:00:00", ``), []string{"10:00:00 c", "10:00:00 c"}, "c fired 2, c budget 2"},
		{"within", "", c, append(append(many(3, "10:00:00", ``), many(2, "10:59:59", ``)...), many(3, "11:00:00", `"n":1`)...), nil, "c fired 4, c budget 4"},
		{"folded grants leave late", `,"bounds":{"entries":1,"keys":64,"user_entries":65536,"user_bytes":262144,"absences":64}`, c, // 10:00:01 becomes 10:01:52.5
			append(append(many(1, "10:00:01", ``), many(1, "10:10:00", `"n":1`)...), append(many(1, "11:00:01", `"n":2`), many(1, "11:01:52.5", `"n":3`)...)...), []string{"10:00:01 c", "10:10:00 c", "11:01:52.5 c"}, "c budget 1"},
		{"per day of the set's zone", `,"zone":"Asia/Seoul"`, budgeted("c", "web", `"offers":1,"per_day":true`, ""),
			append(append(many(2, "10:00:00", ``), many(1, "14:59:59", `"n":1`)...), many(2, "15:00:00", `"n":2`)...), []string{"10:00:00 c", "15:00:00 c"}, "c budget 3"},
		{"a sum of values", "", budgeted("c", "web", `"value":0.3,"of":"event.properties.v"`, ""),
			append(many(2, "10:00:00", `"v":0.1`), append(append(many(1, "10:00:01", `"v":0.2`), many(1, "10:00:02", `"v":0.1`)...), append(append(many(1, "10:00:03", `"v":0`), many(1, "10:00:04", `"v":-1`)...), many(1, "10:00:05", `"v":"x"`)...)...)...),
			[]string{"10:00:00 c", "10:00:00 c", "10:00:02 c", "10:00:03 c"}, "c budget 1, c error 2"},
		{"a refusal keeps the channel", "", budgeted("c", "web", `"offers":1`, `,"priority":1`) + "," + offer("d", "web", "", `"on":["A"]`), many(2, "10:00:00", ``), []string{"10:00:00 c"}, "c budget 1, d outranked 2"},
		{"what fails outranks nobody", "", budgeted("c", "web", `"value":1,"of":"event.properties.v"`, `,"priority":1`) + "," + offer("d", "web", "", `"on":["A"]`), many(1, "10:00:00", ``), []string{"10:00:00 d"}, "c error 1"},
		{"each row has its own", "", strings.Replace(budgeted("c", "web", `"offers":1`, `,"where":"event.properties.r == row.id"`), `"id":"c"`, `"id":"c","rows":[{"id":"a","values":{"id":"a"}},{"id":"b","values":{"id":"b"}}]`, 1),
			append(many(2, "10:00:00", `"r":"a"`), many(2, "10:00:00", `"r":"b"`)...), []string{"10:00:00 c/a", "10:00:00 c/b"}, "c/a budget 1, c/b budget 1"},
		{"withheld ones ask nothing", `,"holdout":10000`, budgeted("c", "web", `"offers":1`, ""), many(3, "10:00:00", ``), []string{"10:00:00 c*", "10:00:00 c*", "10:00:00 c*"}, ""},
		{"all gates again: a second channel takes the cap, and the grant goes back", `,"caps":[{"channels":["sms","web"],"max":1,"within":60000000000}]`,
			budgeted("c", "web", `"offers":2`, "") + "," + budgeted("d", "sms", `"offers":9`, ""), many(3, "10:00:00", ``), nil, "c fired 2, c budget 1, d cap 2, d fired 1"},
		{"held: nothing is asked until release", nights, budgeted("c", "sms", `"offers":1`, ""), append(many(2, "07:00:00", ``), at("09:00:00", "x", ``)), []string{"08:00:00 c"}, "c fired 1, c budget 1"},
		{"a pool", "", strings.Replace(budgeted("c", "web", `"offers":1`, ""), `"channel"`, `"coupon":{"pool":"spring"},"channel"`, 1), many(2, "10:00:00", ``), []string{"10:00:00 c"}, "c budget 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			scene{engine: 5, also: tt.also, campaigns: []string{tt.campaigns}, events: tt.events, want: tt.want, counts: tt.counts}.run(t)
		})
	}
}

// TestBudgetAbsence: an absence asks when it is due, and keeps its identity.
func TestBudgetAbsence(t *testing.T) {
	c := budgeted("c", "web", `"offers":1`, `,"unless":{"on":["B"],"within":60000000000}`)
	r := scene{engine: 5, campaigns: []string{c}, events: append(many(2, "10:00:00", ``), at("10:05:00", "x", ``)), want: []string{"10:01:00 c"}, counts: "c budget 1"}.run(t)
	if r.recipients() != "u:0" || r.Offers[0].ID != offerID("c", "u:0", "", r.Offers[0].Event, true, mustTime("10:01:00")) {
		t.Errorf("offers %+v", r.Offers)
	}
}

// TestBudgetAndPool: the budget is asked first; a grant that cannot be used goes back to
// its day, and somebody else has it.
func TestBudgetAndPool(t *testing.T) {
	pooled := func(id, channel string) string {
		return strings.Replace(budgeted(id, channel, `"offers":1,"per_day":true`, ""), `"channel"`, `"coupon":{"pool":"spring"},"channel"`, 1)
	}
	r := scene{
		engine: 5, also: `,"caps":[{"channels":["sms","web"],"max":1,"within":60000000000}]`, campaigns: []string{pooled("c", "web"), pooled("d", "sms")},
		events: many(3, "10:00:00", ``), // of u:0 c goes out, and what d was granted goes back, so that u:1 has it
		want:   []string{"10:00:00 c", "10:00:00 d"}, counts: "c budget 2, d cap 1, d budget 1",
	}.run(t)
	if r.recipients() != "u:0 u:1" || r.Met["grant returned"] != 2 || r.Offers[0].Coupon.Code != "COUPON" {
		t.Errorf("offers to %s, %v", r.recipients(), r.Met)
	}
}
