package rule

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Reads JSON as the other daily-limits do. encoding/json would mend what is no JSON (halves of
// surrogate pairs, bytes that are no UTF-8), and doubles the component.

// depthMax: deeper than this nothing is read, so that no publisher can exhaust the stack.
const depthMax = 127

// numeral is a number as it was written, with its exponent as e+5 or e-5: a limit is counted by that.
type numeral string

// readJSON gives nil, a bool, a numeral, a string, a []any or a map[string]any.
func readJSON(text string) (value any, err error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("it is no UTF-8")
	}
	reader := reader{rest: text}
	defer func() {
		switch why := recover().(type) {
		case nil:
		case notJSON:
			at := len(text) - len(reader.rest)
			value, err = nil, errors.New(string(why)+" at byte "+strconv.Itoa(at))
		default:
			panic(why)
		}
	}()
	value = reader.value(0)
	reader.spaces()
	if reader.rest != "" {
		panic(notJSON("trailing characters"))
	}
	return value, nil
}

// notJSON ends the reading, through all the depths of it.
type notJSON string

// reader has what is not read yet.
type reader struct{ rest string }

func (r *reader) spaces() { r.rest = strings.TrimLeft(r.rest, " \t\n\r") }

// has says whether this stands here, behind spaces, and then goes past it.
func (r *reader) has(word string) bool {
	r.spaces()
	rest, stands := strings.CutPrefix(r.rest, word)
	r.rest = rest
	return stands
}

func (r *reader) expect(word string) {
	if !r.has(word) {
		panic(notJSON("expected " + word))
	}
}

// next takes one byte; 0 at the end.
func (r *reader) next() byte {
	if r.rest == "" {
		return 0
	}
	next := r.rest[0]
	r.rest = r.rest[1:]
	return next
}

func (r *reader) value(depth int) any {
	switch {
	case r.has("{"):
		return r.object(depth + 1)
	case r.has("["):
		return r.array(depth + 1)
	case r.has(`"`):
		return r.string()
	case r.has("true"):
		return true
	case r.has("false"):
		return false
	case r.has("null"):
		return nil
	}
	return r.number()
}

func (r *reader) object(depth int) map[string]any {
	check(depth)
	members := map[string]any{}
	if r.has("}") {
		return members
	}
	for {
		r.expect(`"`)
		name := r.string()
		r.expect(":")
		members[name] = r.value(depth)
		if !r.has(",") {
			r.expect("}")
			return members
		}
	}
}

func (r *reader) array(depth int) []any {
	check(depth)
	elements := []any{}
	if r.has("]") {
		return elements
	}
	for {
		elements = append(elements, r.value(depth))
		if !r.has(",") {
			r.expect("]")
			return elements
		}
	}
}

func check(depth int) {
	if depthMax < depth {
		panic(notJSON("nested too deep"))
	}
}

func (r *reader) number() numeral {
	start := r.rest
	r.take("-")
	if !r.take("0") {
		r.digits()
	}
	if r.take(".") {
		r.digits()
	}
	mantissa := start[:len(start)-len(r.rest)]
	if !r.take("e") && !r.take("E") {
		return numeral(mantissa)
	}
	sign := "+"
	if r.take("-") {
		sign = "-"
	} else {
		r.take("+")
	}
	return numeral(mantissa + "e" + sign + r.digits())
}

// take is has without spaces.
func (r *reader) take(word string) bool {
	rest, stands := strings.CutPrefix(r.rest, word)
	r.rest = rest
	return stands
}

func (r *reader) digits() string {
	rest := strings.TrimLeft(r.rest, "0123456789")
	digits := r.rest[:len(r.rest)-len(rest)]
	if digits == "" {
		panic(notJSON("expected a value"))
	}
	r.rest = rest
	return digits
}

// string reads on behind the first quote.
func (r *reader) string() string {
	var text strings.Builder
	for {
		plain := 0
		for plain < len(r.rest) && r.rest[plain] != '"' && r.rest[plain] != '\\' && 0x20 <= r.rest[plain] {
			plain++
		}
		text.WriteString(r.rest[:plain])
		r.rest = r.rest[plain:]
		switch r.next() {
		case '"':
			return text.String()
		case '\\':
			text.WriteString(r.escape())
		default:
			panic(notJSON("expected the end of a string"))
		}
	}
}

func (r *reader) escape() string {
	name := r.next()
	if name == 'u' {
		return string(r.unit())
	}
	at := strings.IndexByte(`"\/bfnrt`, name)
	if at < 0 {
		panic(notJSON("no such escape"))
	}
	return "\"\\/\b\f\n\r\t"[at : at+1]
}

// unit is a character by its UTF-16 units: one, or a pair of surrogates, never half of a pair.
func (r *reader) unit() rune {
	high := r.hex()
	if high < 0xd800 || 0xdfff < high {
		return high
	}
	if high < 0xdc00 && r.take(`\u`) {
		if low := r.hex(); 0xdc00 <= low && low <= 0xdfff {
			return 0x10000 + (high-0xd800)<<10 + low - 0xdc00
		}
	}
	panic(notJSON("half of a surrogate pair"))
}

func (r *reader) hex() rune {
	if 4 <= len(r.rest) {
		if unit, err := strconv.ParseUint(r.rest[:4], 16, 16); err == nil {
			r.rest = r.rest[4:]
			return rune(unit)
		}
	}
	panic(notJSON("expected four hex digits"))
}

// quoted is a text as JSON, with the same escapes as the other daily-limits write.
func quoted(text string) string {
	const named = "\"\\\b\f\n\r\t"
	var out strings.Builder
	out.WriteByte('"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case 0x20 <= c && c != '"' && c != '\\':
			out.WriteByte(c)
		case 0 <= strings.IndexByte(named, c):
			out.WriteByte('\\')
			out.WriteByte(`"\bfnrt`[strings.IndexByte(named, c)])
		default:
			out.WriteString(`\u00`)
			out.WriteByte("0123456789abcdef"[c>>4])
			out.WriteByte("0123456789abcdef"[c&15])
		}
	}
	out.WriteByte('"')
	return out.String()
}
