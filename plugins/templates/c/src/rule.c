// PLUGIN_NAME: lets each key through a number of times, then refuses it until it was quiet for a
// minute. The config is that number, as 3.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter.h"

#define QUIET_MS 60000

static int64_t limit;

// The answer is freed by the bindings, so it has to be in the heap.
static filter_string_t text(const char *words) {
    filter_string_t copy = {malloc(strlen(words) + 1), strlen(words)};
    memcpy(copy.ptr, words, copy.len);
    return copy;
}

static void reject(filter_verdict_t *verdict, const char *code, const char *message) {
    verdict->tag = WEIR_PLUGIN_TYPES_VERDICT_REJECT;
    verdict->val.reject = (weir_plugin_types_rejection_t){.code = text(code), .message = text(message)};
}

// Called once, before the first event. False refuses the binding, with the error as its reason.
bool exports_filter_configure(filter_string_t *config, filter_string_t *error) {
    char number[20] = "", *end;
    memcpy(number, config->ptr, config->len < sizeof number ? config->len : sizeof number - 1);
    filter_string_free(config);
    limit = strtoll(number, &end, 10);
    if (*end != '\0') limit = 0;
    if (limit < 1) *error = text("write how often a key may pass, as 3");
    return 1 <= limit;
}

// Called for each event.
void exports_filter_process(filter_event_t *event, filter_verdict_t *verdict) {
    verdict->tag = WEIR_PLUGIN_TYPES_VERDICT_ACCEPT;
    if (!event->key.is_some) {
        reject(verdict, "no-key", "Publish with a key: each has its own limit.");
    } else {
        // What a refusal does to the state stands as well: who goes on trying stays out.
        uint64_t ttl_ms = QUIET_MS;
        if (limit < weir_plugin_state_increment(&event->key.val, 1, &ttl_ms)) {
            char message[100];
            snprintf(message, sizeof message, "That was more than %" PRId64 "; be quiet for a minute.", limit);
            reject(verdict, "too-many", message);
            verdict->val.reject.retry_after_ms = (filter_option_u64_t){true, QUIET_MS};
        }
    }
    weir_plugin_types_event_free(event);
}
