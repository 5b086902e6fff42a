// Package rule admits so many events of one key per UTC day, and not one more: daily-limit, in Go.
//
// The same configuration, verdicts, messages, notices and state as plugins/daily-limit, whose
// README.md says what they are; a test holds both to it.
package rule

import (
	"encoding/binary"
	"strconv"

	"plugin/gen/weir_plugin_context"
	"plugin/gen/weir_plugin_log"
	"plugin/gen/weir_plugin_outbox"
	"plugin/gen/weir_plugin_state"
	. "plugin/gen/weir_plugin_types"
	. "plugin/gen/wit_types"
)

// noticeSent is bit 62 of a counter: the day's notice was sent. Below are the events admitted.
const noticeSent = int64(1) << 62

// eventTimeTTLMs is how long a day of event time is remembered after its last change: a month of
// stragglers.
const eventTimeTTLMs = 32 * dayMs

var config settings

// Configure takes the binding's JSON; an error refuses the binding.
func Configure(json string) Result[Unit, string] {
	defer tell()
	read, err := readSettings(json)
	if err != nil {
		return Err[Unit](err.Error())
	}
	config = read
	return Ok[Unit, string](Unit{})
}

// Process judges one event.
func Process(event Event) Verdict {
	defer tell()
	key, err := keyOf(event, config.pointer)
	if err != nil {
		return MakeVerdictReject(Rejection{Code: "no-key", Message: err.Error()})
	}
	time := event.Timestamp
	if !config.byEventTime {
		time = weir_plugin_context.Now()
	}
	return count(key, time)
}

func count(key []byte, time uint64) Verdict {
	day := dayOf(time)
	opensInMs := day.end() - time
	ttl := Some(opensInMs)
	if config.byEventTime {
		ttl = Some[uint64](eventTimeTTLMs)
	}
	cell := cellOf(key, day)
	stored := int64(0)
	if value := weir_plugin_state.Get(cell); value.IsSome() {
		stored = int64(binary.LittleEndian.Uint64(value.Some()))
	}
	if stored&^noticeSent < config.limit {
		weir_plugin_state.Increment(cell, 1, ttl)
		return MakeVerdictAccept()
	}
	if config.notice != "" && stored&noticeSent == 0 {
		weir_plugin_outbox.Emit(config.notice, notice(key, day, time))
		weir_plugin_state.Increment(cell, noticeSent, ttl)
	}
	return MakeVerdictReject(Rejection{
		Code: "daily-limit",
		Message: short(key) + " has used its " + strconv.FormatInt(config.limit, 10) + " for " + day.String() +
			" (UTC); it opens again at " + (day + 1).String() + "T00:00:00Z",
		RetryAfterMs: Some(opensInMs),
	})
}

func notice(key []byte, day day, time uint64) Event {
	value := `{"day":"` + day.String() + `","key":` + quoted(textOf(key)) +
		`,"limit":` + strconv.FormatInt(config.limit, 10) + `,"opens_at":"` + (day + 1).String() +
		`T00:00:00Z","topic":` + quoted(weir_plugin_context.Topic()) + `}`
	return Event{Key: Some(key), Value: []byte(value), Timestamp: time}
}

// tell brings a panic's text to the plugin's log, since nothing is written by other ways; the panic
// goes on and is a trap.
func tell() {
	if why := recover(); why != nil {
		text := "panic"
		if err, isError := why.(error); isError {
			text += ": " + err.Error()
		}
		weir_plugin_log.Write(weir_plugin_log.LevelError, text)
		panic(why)
	}
}
