package eval

import (
	"slices"
	"strconv"
	"strings"
)

// Variable tracking of RULER's: lines that give a variable the value of another, strewn into noise, and a question for all that
// have a value.
const (
	vtTemplate = "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n" +
		"{context}\nQuestion: Find all variables that are assigned the value {query} in the text above."
	vtPrefix = " Answer: According to the chain(s) of variable assignment in the text above, {num} variables are assigned the value {query}, they are: "
	vtTokens = 30
	vtHops   = 4

	vtShotTokens = 500     // of the example that comes first, at most
	vtShotValue  = "12345" // until it gets a value by chance
)

// vartrack makes one chain, in so many lines of noise.
func vartrack(d Draws, size, nameLength int, value func() string) made {
	names := make([]string, 0, vtHops+1)
	for len(names) < vtHops+1 {
		name := letters(d, 'A', nameLength)
		if name != "VAR" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	v := value()
	chain := []string{"VAR " + names[0] + " = " + v}
	for i, name := range names[1:] {
		chain = append(chain, "VAR "+name+" = VAR "+names[i]+" ")
	}
	lines := slices.Repeat([]string{noise}, max(size, len(chain)))
	places := d.Sample(len(lines), len(chain))
	slices.Sort(places)
	for i, p := range places {
		lines = slices.Insert(lines, p+i, chain[i])
	}
	context := strings.ReplaceAll(strings.Join(lines, "\n"), ". \n", ".\n")
	fill := strings.NewReplacer("{context}", context, "{query}", v, "{num}", strconv.Itoa(vtHops+1))
	return made{fill.Replace(vtTemplate), fill.Replace(vtPrefix), names, -1}
}

func fiveDigits(d Draws) string { return strconv.Itoa(10_000 + d.Below(89_999)) }

// vartrackShot is an example with its answer; names and value are drawn a second time, and the lines stay where they are.
func vartrackShot(d Draws, size int) string {
	m := vartrack(d, size, 3, func() string { return vtShotValue })
	example := m.text + m.prefix + " " + strings.Join(m.answers, " ") + "\n"
	given := slices.Clone(m.answers)
	for _, name := range m.answers {
		next := letters(d, 'A', len(name))
		for next == "VAR" || slices.Contains(given, next) {
			next = letters(d, 'A', len(name))
		}
		given = append(given, next)
		example = strings.ReplaceAll(example, name, next)
	}
	return strings.ReplaceAll(example, vtShotValue, fiveDigits(d))
}

// vartrackSample is the example and the question behind it.
func vartrackSample(d Draws, size, shot int) made {
	m := vartrack(d, size, 5, func() string { return fiveDigits(d) })
	m.text = vartrackShot(d, shot) + "\n" + m.text
	return m
}

// vtShotSize is the largest example that has its tokens at most.
func vtShotSize(count func(string) int) int {
	size := 1
	for size < vtShotTokens {
		m := vartrack(newDraws(0, "vt", 0, 0), size+1, 3, func() string { return vtShotValue })
		if count(m.text+m.prefix) > vtShotTokens {
			break
		}
		size++
	}
	return size
}
