package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFactTable reads facts from CSV files, with and without declared fields.
func TestFactTable(t *testing.T) {
	const declared, columns = "fields: {city: string, open: bool, floors: number}, ", ""
	for _, c := range []struct{ name, fields, table, want string }{
		{"declared", declared, "\ufeffcity,key,floors,open\r\nSeoul,1,0.50,true\r\n,\"a, \"\"b\"\" <é>\",,\r\n",
			`[{"name":"city","type":"string"},{"name":"floors","type":"number"},{"name":"open","type":"bool"}] ` +
				`[{"id":"1","values":{"city":"Seoul","floors":0.50,"open":true}},{"id":"a, \"b\" \u003cé\u003e","values":{"city":""}}]`},
		{"columns", columns, "key,n,b,s\nx,1,true,1\ny,2e3,false,z\n",
			`[{"name":"b","type":"bool"},{"name":"n","type":"number"},{"name":"s","type":"string"}] [{"id":"x","values":{"b":true,"n":1,"s":"1"}},{"id":"y","values":{"b":false,"n":2e3,"s":"z"}}]`},
		{"less columns", declared, "key,city\nx,Seoul\n",
			`[{"name":"city","type":"string"},{"name":"floors","type":"number"},{"name":"open","type":"bool"}] [{"id":"x","values":{"city":"Seoul"}}]` + "\n" +
				"t.csv:1:1: there is no column for the field \"floors\" of the fact stores: all rows lack it\nt.csv:1:1: there is no column for the field \"open\" of the fact stores: all rows lack it"},
		{"empty", columns, "", "t.csv:1:1: the file is empty: the first line has the names of the columns: key,category"},
		{"no rows", columns, "key,city\n", "t.csv:1:1: the table has no rows"},
		{"no key", declared, "city,open\nSeoul,true\n", "t.csv:1:1: there is no column `key`: the first line has the names of the columns; these are city, open"},
		{"key only", declared, "key\nx\n", "t.csv:1:1: there is no column but `key`: the other columns are the fields of the fact"},
		{"undeclared", declared, "key,city,town,id\nx,a,b,c\n", "t.csv:1:10: the fact stores has no field \"town\": declare it in fields, or remove the column\n" +
			"t.csv:1:15: the fact stores has no field \"id\": declare it in fields, or remove the column"},
		{"names", columns, "key,in,a-b,__c\nx,1,2,3\n", "t.csv:1:5: \"in\" means something else in an expression: give the field another name\n" +
			"t.csv:1:8: \"a-b\" is not a field's name: the first line has the names of the columns: key, and fields of 1 to 64 letters, digits and _, a letter first\n" +
			"t.csv:1:12: \"__c\" is not a field's name: the first line has the names of the columns: key, and fields of 1 to 64 letters, digits and _, a letter first"},
		{"cells", declared, "key,city,open,floors\nx,a,yes,1\nx,b,true,01\n", "t.csv:2:5: \"yes\" is not a bool: write one, or leave the cell empty, or declare the field open as string\n" +
			"t.csv:3:1: the key \"x\" appears twice: it is already on line 2\n" +
			"t.csv:3:10: \"01\" is not a number: write one, or leave the cell empty, or declare the field floors as string"},
		{"keys", columns, "s,key\na,\nb,\"x\ny\"\nc," + strings.Repeat("x", 506) + "\n", "t.csv:2:3: a fact needs a non-empty text or a number in key\n" +
			"t.csv:3:3: the fact's name with its key \"stores:x\\ny\" has control characters\n" +
			"t.csv:5:3: the fact's name with its key has 513 bytes; at most 512 are allowed"},
		{"many", columns, "key,n\n" + strings.Repeat("x,1\n", 100_000), "there are 99979 mistakes more"},
		{"too many", columns, "key,n\n" + strings.Repeat("x,1\n", 100_001), "t.csv:100002:1: there are more than 100,000 rows: declare another fact for the rest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			put(t, "set.yaml", "facts: {stores: {"+c.fields+"file: t.csv}}\n")
			put(t, "t.csv", c.table)
			d, findings, err := Check{}.Findings("set.yaml")
			if err != nil {
				t.Fatal(err)
			}
			var warnings Errors
			for _, f := range findings {
				if f.Rule != "unused-fact" {
					warnings = append(warnings, f.Problem)
				}
			}
			got := warnings.Error()
			if d != nil {
				fields, _ := json.Marshal(d.Facts[0].Fields)
				rows, _ := json.Marshal(d.Facts[0].Rows)
				got = strings.TrimSpace(fmt.Sprintf("%s %s\n%s", fields, rows, warnings.Error()))
			}
			if got != c.want && (c.name != "many" || !strings.Contains(got, c.want)) {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFactTableIsNoPartOfTheSet: rows do not change the set's hash, but sets with
// different rows are different for scenarios.
func TestFactTableIsNoPartOfTheSet(t *testing.T) {
	hashes, all := map[string]bool{}, Scenarios{}
	for _, city := range []string{"Seoul", "Busan"} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "set.yaml"), "facts: {stores: {file: t.csv, max_age: 1h}}\ncampaigns: {c: {on: View, offer: {channel: web, data: {city: '{{ facts.stores[event.properties.store].city }}'}}}}\n")
		put(t, filepath.Join(dir, "t.csv"), "key,city\n7,"+city+"\n")
		put(t, filepath.Join(dir, "set.test.yaml"), "campaigns: set.yaml\nscenarios: {one: {events: [10:00:00 ada View store=7, 10:59:59 bob View store=7, 11:00:00 cyd View store=7],"+
			" expect: [10:00:00 ada c city="+city+", 10:59:59 bob c city="+city+"], outcomes: {c: {fired: 2, error: 1}}}}\n")
		d, err := LoadCampaigns(dir)
		if err != nil {
			t.Fatal(err)
		}
		hashes[d.Hash()] = true
		f, err := all.Read(filepath.Join(dir, "set.test.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := f.Scenarios[0].Run()
		if err != nil {
			t.Fatal(err)
		}
		if differs := f.Scenarios[0].Compare(r); differs != "" {
			t.Error(differs)
		}
	}
	if len(hashes) != 1 {
		t.Errorf("%d hashes", len(hashes))
	}
}
