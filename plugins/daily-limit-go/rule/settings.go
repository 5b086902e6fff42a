package rule

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// limitMax: more than this many events of one key a day is no limit that anyone counts by.
const limitMax int64 = 1_000_000_000_000

// pointerBytesMax: a pointer is shown in refusals, which take 512 bytes.
const pointerBytesMax = 256

// settings are the binding's configuration.
type settings struct {
	limit       int64
	pointer     string // "": the event's own key
	byEventTime bool
	notice      string // "": no notices
}

// readSettings checks the configuration whole; an error is one sentence that says what to write.
func readSettings(text string) (settings, error) {
	document, err := readJSON(text)
	if err != nil {
		return settings{}, errors.New("the config is not JSON (" + err.Error() + `); write at least {"limit":10}`)
	}
	fields, isObject := document.(map[string]any)
	if !isObject {
		return settings{}, errors.New(`write the config as a JSON object, at least {"limit":10}`)
	}
	var unknown []string
	for name := range fields {
		if !slices.Contains([]string{"limit", "key", "time", "notice"}, name) {
			unknown = append(unknown, name)
		}
	}
	if unknown != nil {
		return settings{}, errors.New(`there is no field "` + slices.Min(unknown) +
			`"; write "limit", "key", "time" or "notice"`)
	}
	read := settings{}
	for _, check := range []func(map[string]any, *settings) error{checkLimit, checkKey, checkTime, checkNotice} {
		if err := check(fields, &read); err != nil {
			return settings{}, err
		}
	}
	return read, nil
}

func checkLimit(fields map[string]any, to *settings) error {
	field, isThere := fields["limit"]
	if !isThere {
		return errors.New(`"limit" is missing; write the events per key and day, as in {"limit":10}`)
	}
	number, _ := field.(numeral)
	limit, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil || limit < 1 || limitMax < limit {
		return errors.New(`"limit" must be a whole number from 1 to ` + strconv.FormatInt(limitMax, 10) + `, as in {"limit":10}`)
	}
	to.limit = limit
	return nil
}

func checkKey(fields map[string]any, to *settings) error {
	field, isThere := fields["key"]
	text, _ := field.(string)
	switch {
	case !isThere || text == "event":
		return nil
	case len(text) <= pointerBytesMax && isPointer(text):
		to.pointer = text
		return nil
	}
	return errors.New(`"key" must be "event" or a JSON pointer of up to ` + strconv.Itoa(pointerBytesMax) +
		` bytes that begins with "/", as "/user/id" (with ~0 for ~ and ~1 for / in a name)`)
}

// isPointer: in RFC 6901 every ~ is followed by 0 or 1.
func isPointer(text string) bool {
	for _, rest := range strings.Split(text, "~")[1:] {
		if !strings.HasPrefix(rest, "0") && !strings.HasPrefix(rest, "1") {
			return false
		}
	}
	return strings.HasPrefix(text, "/")
}

func checkTime(fields map[string]any, to *settings) error {
	field, isThere := fields["time"]
	if isThere && field != "broker" && field != "event" {
		return errors.New(
			`"time" must be "broker" (when the broker took the event) or "event" (its own timestamp)`)
	}
	to.byEventTime = field == "event"
	return nil
}

func checkNotice(fields map[string]any, to *settings) error {
	field, isThere := fields["notice"]
	text, _ := field.(string)
	if isThere && text == "" {
		return errors.New(`"notice" must be the name of a topic, as "notices"; leave it out for none`)
	}
	to.notice = text
	return nil
}
