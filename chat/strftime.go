package chat

import (
	"fmt"
	"strings"
	"time"
)

// strftime formats a time as the C library does in its plain locale.
func (in *interp) strftime(t time.Time, format string) string {
	in.charge(len(format))
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		flag := byte(0)
		if strings.IndexByte("-_0^", format[i]) >= 0 && i+1 < len(format) {
			flag = format[i]
			i++
		}
		in.charge(64)
		s, ok := timePart(t, format[i])
		if !ok {
			s = format[i-1 : i+1]
			if flag != 0 {
				s = format[i-2 : i+1]
			}
		}
		switch flag {
		case '-':
			s = unpadded(s, "")
		case '_':
			s = unpadded(s, " ")
		case '^':
			s = strings.ToUpper(s)
		}
		b.WriteString(s)
	}
	return b.String()
}

// unpadded replaces the leading zeros of a number.
func unpadded(s, by string) string {
	n := 0
	for n < len(s)-1 && s[n] == '0' && isDecimal(s[n+1]) {
		n++
	}
	return strings.Repeat(by, n) + s[n:]
}

// layouts are the conversions that package time knows by itself.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'd': "02", 'e': "_2",
	'H': "15", 'I': "03", 'M': "04", 'm': "01", 'p': "PM", 'S': "05", 'y': "06", 'j': "002",
	'c': "Mon Jan _2 15:04:05 2006", 'D': "01/02/06", 'x': "01/02/06", 'F': "2006-01-02",
	'T': "15:04:05", 'X': "15:04:05", 'R': "15:04", 'r': "03:04:05 PM", 'P': "pm",
}

// timePart gives one conversion, and false for a letter that has none.
func timePart(t time.Time, c byte) (string, bool) {
	if layout, ok := layouts[c]; ok {
		return t.Format(layout), true
	}
	switch c {
	case 'Y':
		return fmt.Sprint(t.Year()), true
	case 'C':
		return fmt.Sprintf("%02d", t.Year()/100), true
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000), true
	case 'u':
		return fmt.Sprint((int(t.Weekday())+6)%7 + 1), true
	case 'w':
		return fmt.Sprint(int(t.Weekday())), true
	case 'U': // weeks begin on Sunday
		return fmt.Sprintf("%02d", (t.YearDay()+6-int(t.Weekday()))/7), true
	case 'W': // weeks begin on Monday
		return fmt.Sprintf("%02d", (t.YearDay()+6-(int(t.Weekday())+6)%7)/7), true
	case 'V':
		_, w := t.ISOWeek()
		return fmt.Sprintf("%02d", w), true
	case 'G':
		y, _ := t.ISOWeek()
		return fmt.Sprint(y), true
	case 'k':
		return fmt.Sprintf("%2d", t.Hour()), true
	case 'l':
		return fmt.Sprintf("%2d", (t.Hour()+11)%12+1), true
	case 's':
		return fmt.Sprint(t.Unix()), true
	case 'z', 'Z': // as in Python for a time without a zone
		return "", true
	case '%':
		return "%", true
	case 'n':
		return "\n", true
	case 't':
		return "\t", true
	}
	return "", false
}
