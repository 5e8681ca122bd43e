package load

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Goals are bounds of an answer's times; one without bounds is good.
type Goals map[string]time.Duration

// ParseGoals reads ttft:MS, tpot:MS and e2el:MS, separated by commas or blanks.
func ParseGoals(s string) (Goals, error) {
	goals := Goals{}
	for _, item := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, value, _ := strings.Cut(item, ":")
		ms, err := strconv.ParseFloat(value, 64)
		switch _, again := goals[name]; {
		case name != "ttft" && name != "tpot" && name != "e2el", err != nil, !(ms >= 0), math.IsInf(ms, 0), ms > mostWait:
			return nil, fmt.Errorf("%.60q: want ttft:MS, tpot:MS or e2el:MS, such as ttft:500,tpot:50", item)
		case again:
			return nil, fmt.Errorf("%s is given twice", name)
		}
		goals[name] = time.Duration(ms * float64(time.Millisecond))
	}
	return goals, nil
}

// met tells whether an answer is good. One token has no time per token.
func (g Goals) met(r *Result) bool {
	for name, most := range g {
		var took time.Duration
		switch name {
		case "ttft":
			took = r.First
		case "tpot":
			took = r.PerToken()
		case "e2el":
			took = r.Whole
		}
		if took > most {
			return false
		}
	}
	return true
}
