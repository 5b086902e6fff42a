// Package rule is PLUGIN_NAME: it lets each key through a number of times, then refuses it until it
// was quiet for a minute. The config is that number, as 3.
package rule

import (
	"strconv"

	"plugin/gen/weir_plugin_log"
	"plugin/gen/weir_plugin_state"
	. "plugin/gen/weir_plugin_types"
	. "plugin/gen/wit_types"
)

const quietMs = 60_000

var limit int64

// Configure is called once, before the first event. An error refuses the binding.
func Configure(config string) Result[Unit, string] {
	number, err := strconv.ParseInt(config, 10, 64)
	if err != nil || number < 1 {
		return Err[Unit]("write how often a key may pass, as 3")
	}
	limit = number
	return Ok[Unit, string](Unit{})
}

// Process is called for each event.
func Process(event Event) Verdict {
	defer tell()
	if !event.Key.IsSome() {
		return MakeVerdictReject(Rejection{Code: "no-key", Message: "Publish with a key: each has its own limit."})
	}
	// What a refusal does to the state stands as well: who goes on trying stays out.
	if limit < weir_plugin_state.Increment(event.Key.Some(), 1, Some[uint64](quietMs)) {
		return MakeVerdictReject(Rejection{
			Code:         "too-many",
			Message:      "That was more than " + strconv.FormatInt(limit, 10) + "; be quiet for a minute.",
			RetryAfterMs: Some[uint64](quietMs),
		})
	}
	return MakeVerdictAccept()
}

// tell brings a panic's text to the plugin's log: nothing else is there to write to. The panic goes
// on and is a fault of the plugin.
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
