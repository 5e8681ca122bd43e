package main

import (
	"encoding/json"
	"strings"
	"testing"

	"nosa/policy"
)

func TestPolicies(t *testing.T) {
	all := nosa(t, nil, "policies")
	if all.code != exitDone || all.errors != "" {
		t.Fatalf("exit %d: %s", all.code, all.errors)
	}
	for _, m := range policy.Methods() {
		if !strings.Contains(all.out, m.Name()+"  "+m.About()) {
			t.Errorf("%s is not listed:\n%s", m.Name(), all.out)
		}
	}
	one := nosa(t, nil, "policies", "snapkv", "--json")
	var list []policyJSON
	if err := json.Unmarshal([]byte(one.out), &list); err != nil || one.code != exitDone {
		t.Fatalf("exit %d, %s: %v", one.code, one.errors, err)
	}
	if len(list) != 1 || list[0].Name != "snapkv" || len(list[0].Options) != 4 || list[0].Options[1].Key != "window" || list[0].Options[1].Default != "32" {
		t.Errorf("%+v", list)
	}
	for _, args := range [][]string{{"policies", "nothing"}, {"run", "--policy", "nothing", "-p", "x"}, {"run", "--policy", "h2o:heavy=0", "-p", "x"}} {
		nosa(t, nil, args...).refused(t, exitUsage)
	}
}
