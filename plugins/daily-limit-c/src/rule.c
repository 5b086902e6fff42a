// So many events of one key per UTC day, and not one more: daily-limit, in C.
//
// The same configuration, verdicts, messages, notices and state as plugins/daily-limit, whose
// README.md says what they are; a test holds both to it.
//
// Memory: a call's arguments and its answer are the guest's own, and live in the heap; the bindings
// free the answer. Everything else stands on the stack, in buffers of a known size.

#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "day.h"
#include "filter.h"
#include "key.h"
#include "text.h"

// Bit 62 of a counter says that the day's notice was sent; below are the events admitted.
#define NOTICE_SENT (INT64_C(1) << 62)

// How long a day of event time is remembered after its last change: a month of stragglers.
#define EVENT_TIME_TTL_MS (32 * DAY_MS)

// A message takes 512 bytes, and so does the rest of a notice; its key can be six times as long in
// JSON as it is, and its topic is short.
#define MESSAGE_BYTES_MAX 1024
#define NOTICE_BYTES_MAX (6 * KEY_BYTES_MAX + 2048)

static struct config config;

// What the bindings will free.
static filter_string_t given(const struct text *text) {
    filter_string_t copy = {malloc(text->len + 1), text->len};
    memcpy(copy.ptr, text->ptr, text->len);
    return copy;
}

bool exports_filter_configure(filter_string_t *json, filter_string_t *error) {
    char room[2 * MESSAGE_BYTES_MAX];
    struct text sentence = text_in(room, sizeof room);
    const bool is_fine = config_read(&config, json->ptr, json->len, &sentence);
    filter_string_free(json);
    if (!is_fine) *error = given(&sentence);
    return is_fine;
}

static void reject(filter_verdict_t *verdict, const char *code, const struct text *message) {
    char room[64];
    struct text name = text_in(room, sizeof room);
    text_add(&name, code);
    verdict->tag = WEIR_PLUGIN_TYPES_VERDICT_REJECT;
    verdict->val.reject.code = given(&name);
    verdict->val.reject.message = given(message);
    verdict->val.reject.retry_after_ms.is_some = false;
}

// The counter of a key and day; 0 if there is none.
static int64_t stored_at(filter_list_u8_t *cell) {
    int64_t counter = 0;
    filter_list_u8_t value;
    if (weir_plugin_state_get(cell, &value)) {
        if (value.len == sizeof counter) memcpy(&counter, value.ptr, sizeof counter);
        filter_list_u8_free(&value);
    }
    return counter;
}

static void notify(const struct key *key, uint64_t day, uint64_t time) {
    char room[NOTICE_BYTES_MAX];
    struct text json = text_in(room, sizeof room);
    text_add(&json, "{\"day\":\"");
    day_name(&json, day);
    text_add(&json, "\",\"key\":");
    text_add_json(&json, key->bytes, key->len);
    text_add(&json, ",\"limit\":");
    text_add_number(&json, config.limit, 1);
    text_add(&json, ",\"opens_at\":\"");
    day_name(&json, day + 1);
    text_add(&json, "T00:00:00Z\",\"topic\":");
    filter_string_t topic;
    weir_plugin_context_topic(&topic);
    text_add_json(&json, topic.ptr, topic.len);
    filter_string_free(&topic);
    text_add(&json, "}");
    // An import only borrows what it is given.
    weir_plugin_outbox_event_t event = {
        .key = {true, {(uint8_t *)key->bytes, key->len}},
        .value = {(uint8_t *)json.ptr, json.len},
        .headers = {NULL, 0},
        .timestamp = time,
    };
    filter_string_t target = {(uint8_t *)config.notice, config.notice_len};
    weir_plugin_outbox_emit(&target, &event);
}

static void count(const struct key *key, uint64_t time, filter_verdict_t *verdict) {
    const uint64_t day = time / DAY_MS;
    const uint64_t opens_in = day_end(day) - time;
    uint64_t ttl = config.by_event_time ? EVENT_TIME_TTL_MS : opens_in;
    uint8_t room[CELL_BYTES_MAX];
    filter_list_u8_t cell = {room, key_cell(key, day, room)};
    const int64_t stored = stored_at(&cell);
    if ((uint64_t)(stored & ~NOTICE_SENT) < config.limit) {
        weir_plugin_state_increment(&cell, 1, &ttl);
        verdict->tag = WEIR_PLUGIN_TYPES_VERDICT_ACCEPT;
        return;
    }
    if (config.notice_len != 0 && (stored & NOTICE_SENT) == 0) {
        notify(key, day, time);
        weir_plugin_state_increment(&cell, NOTICE_SENT, &ttl);
    }
    char words[MESSAGE_BYTES_MAX];
    struct text message = text_in(words, sizeof words);
    text_add_short(&message, key->bytes, key->len);
    text_add(&message, " has used its ");
    text_add_number(&message, config.limit, 1);
    text_add(&message, " for ");
    day_name(&message, day);
    text_add(&message, " (UTC); it opens again at ");
    day_name(&message, day + 1);
    text_add(&message, "T00:00:00Z");
    reject(verdict, "daily-limit", &message);
    verdict->val.reject.retry_after_ms.is_some = true;
    verdict->val.reject.retry_after_ms.val = opens_in;
}

void exports_filter_process(filter_event_t *event, filter_verdict_t *verdict) {
    char words[MESSAGE_BYTES_MAX];
    struct text missing = text_in(words, sizeof words);
    struct key key;
    if (key_of(&key, event, &config, &missing)) {
        count(&key, config.by_event_time ? event->timestamp : weir_plugin_context_now(), verdict);
    } else {
        reject(verdict, "no-key", &missing);
    }
    weir_plugin_types_event_free(event);
}
