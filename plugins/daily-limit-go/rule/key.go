package rule

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	. "plugin/gen/weir_plugin_types"
)

// keyBytesMax: longer keys are refused, so that a publisher's key can never make a notice that does
// not fit.
const keyBytesMax = 4096

// plainBytesMax: keys up to here stand in the state as they are; longer ones as their SHA-256. It
// must be a cryptographic one: publishers choose keys, and two with one hash would share a limit.
const plainBytesMax = 128

// shortChars is what of a key a message shows: a message takes 512 bytes.
const shortChars = 48

// keyOf is what an event is about; the error is what was looked for and not found.
func keyOf(event Event, pointer string) ([]byte, error) {
	var key []byte
	var err error
	switch {
	case pointer != "":
		key, err = keyAt(pointer, event.Value)
	case event.Key.IsSome():
		key = event.Key.Some()
	default:
		err = errors.New("The event has no key; publish it with the key that its daily limit is counted by")
	}
	if err == nil && keyBytesMax < len(key) {
		err = errors.New("The key is " + strconv.Itoa(len(key)) + " bytes long; keys of up to " +
			strconv.Itoa(keyBytesMax) + " bytes are counted")
	}
	return key, err
}

func keyAt(pointer string, value []byte) ([]byte, error) {
	document, err := readJSON(string(value))
	if err != nil {
		return nil, errors.New("The value is not JSON, so " + pointer + " was not looked for")
	}
	found, isThere := follow(pointer, document)
	if !isThere {
		return nil, errors.New("There is nothing at " + pointer + "; a daily limit is counted by it")
	}
	switch found := found.(type) {
	case string:
		return []byte(found), nil
	case numeral:
		return []byte(found), nil
	case bool:
		return []byte(strconv.FormatBool(found)), nil
	case nil:
		return nil, errors.New("There is null at " + pointer + "; a daily limit is counted by it")
	default:
		return nil, errors.New("What is at " + pointer + " must be a string, a number or a bool to be counted by")
	}
}

// follow an RFC 6901 pointer.
func follow(pointer string, document any) (any, bool) {
	target := document
	for _, token := range strings.Split(pointer, "/")[1:] {
		name := strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		isThere := false
		switch container := target.(type) {
		case map[string]any:
			target, isThere = container[name]
		case []any:
			at, err := strconv.ParseUint(name, 10, 31)
			if err == nil && strconv.FormatUint(at, 10) == name && at < uint64(len(container)) {
				target, isThere = container[at], true
			}
		}
		if !isThere {
			return nil, false
		}
	}
	return target, true
}

// textOf has U+FFFD for what is no UTF-8: one for each longest beginning of a character, as in
// browsers. (Go's own ranges have one for each byte.)
func textOf(bytes []byte) string {
	if utf8.Valid(bytes) {
		return string(bytes)
	}
	var text strings.Builder
	text.Grow(3 * len(bytes))
	for 0 < len(bytes) {
		c, size := utf8.DecodeRune(bytes)
		if c == utf8.RuneError && size == 1 {
			for size < len(bytes) && !utf8.FullRune(bytes[:size]) && isBeginning(bytes[:size+1]) {
				size++
			}
		}
		text.WriteRune(c)
		bytes = bytes[size:]
	}
	return text.String()
}

// isBeginning says whether a character can begin like this.
func isBeginning(bytes []byte) bool {
	if !utf8.FullRune(bytes) {
		return true
	}
	c, size := utf8.DecodeRune(bytes)
	return c != utf8.RuneError || size != 1
}

// short is one line of text for a message, cut where it is long.
func short(key []byte) string {
	// A character has four bytes at most: behind the last one shown nothing is looked at.
	text := []rune(textOf(key[:min(len(key), 4*(shortChars+1))]))
	for i, c := range text {
		if unicode.IsControl(c) {
			text[i] = utf8.RuneError
		}
	}
	if len(text) <= shortChars {
		return string(text)
	}
	return string(text[:shortChars]) + "…"
}

// cellOf is the state key for a day.
//
//	| form u8: 'k' plain, 'h' hashed | day u64 BE | the key, or its SHA-256 ... |
func cellOf(key []byte, day day) []byte {
	form, name := byte('k'), key
	if plainBytesMax < len(key) {
		hash := sha256.Sum256(key)
		form, name = 'h', hash[:]
	}
	return append(binary.BigEndian.AppendUint64([]byte{form}, uint64(day)), name...)
}
