#include "config.h"

#include <string.h>

#include "json.h"

// More than this many events of one key a day is no limit that anyone counts by.
#define LIMIT_MAX UINT64_C(1000000000000)

static bool refuse(struct text *error, const char *sentence) {
    text_add(error, sentence);
    return false;
}

static bool is_string(struct json value, const char *text) {
    uint8_t bytes[16];
    return value.kind == JSON_STRING && json_text(value, bytes, sizeof bytes) == strlen(text) &&
           memcmp(bytes, text, strlen(text)) == 0;
}

static bool read_limit(struct config *config, struct json value, struct text *error) {
    if (value.kind == JSON_NOTHING) {
        return refuse(error, "\"limit\" is missing; write the events per key and day, as in {\"limit\":10}");
    }
    config->limit = 0;
    if (value.kind == JSON_NUMBER && value.len <= 13) {
        for (size_t i = 0; i < value.len; i++) {
            if (value.ptr[i] < '0' || '9' < value.ptr[i]) {
                config->limit = 0;
                break;
            }
            config->limit = 10 * config->limit + (uint64_t)(value.ptr[i] - '0');
        }
    }
    if (1 <= config->limit && config->limit <= LIMIT_MAX) return true;
    text_add(error, "\"limit\" must be a whole number from 1 to ");
    text_add_number(error, LIMIT_MAX, 1);
    return refuse(error, ", as in {\"limit\":10}");
}

// RFC 6901: every ~ is followed by 0 or 1.
static bool is_pointer(const char *text, size_t len) {
    if (len == 0 || POINTER_BYTES_MAX < len || text[0] != '/') return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '~' && (i + 1 == len || (text[i + 1] != '0' && text[i + 1] != '1'))) return false;
    }
    return true;
}

static bool read_key(struct config *config, struct json value, struct text *error) {
    config->pointer_len = 0;
    if (value.kind == JSON_NOTHING || is_string(value, "event")) return true;
    if (value.kind == JSON_STRING) {
        const size_t len = json_text(value, (uint8_t *)config->pointer, sizeof config->pointer);
        if (is_pointer(config->pointer, len)) {
            config->pointer_len = len;
            return true;
        }
    }
    return refuse(error,
                  "\"key\" must be \"event\" or a JSON pointer of up to 256 bytes that begins with \"/\", "
                  "as \"/user/id\" (with ~0 for ~ and ~1 for / in a name)");
}

static bool read_time(struct config *config, struct json value, struct text *error) {
    config->by_event_time = is_string(value, "event");
    return value.kind == JSON_NOTHING || config->by_event_time || is_string(value, "broker") ||
           refuse(error, "\"time\" must be \"broker\" (when the broker took the event) or \"event\" "
                         "(its own timestamp)");
}

static bool read_notice(struct config *config, struct json value, struct text *error) {
    config->notice_len = 0;
    if (value.kind == JSON_NOTHING) return true;
    const size_t len =
        value.kind == JSON_STRING ? json_text(value, (uint8_t *)config->notice, sizeof config->notice) : 0;
    if (len == 0 || NOTICE_NAME_BYTES_MAX < len) {
        return refuse(error, "\"notice\" must be the name of a topic, as \"notices\"; leave it out for none");
    }
    config->notice_len = len;
    return true;
}

// The first, in the order of bytes, of the names that are none of ours.
static bool has_unknown(struct json fields, struct text *error) {
    uint8_t first[512], other[512];
    size_t first_len = 0;
    bool is_found = false;
    struct json name, value;
    for (size_t at = 0; json_member(fields, &at, &name, &value);) {
        if (is_string(name, "limit") || is_string(name, "key") || is_string(name, "time") ||
            is_string(name, "notice")) {
            continue;
        }
        size_t len = json_text(name, other, sizeof other);
        if (sizeof other < len) len = sizeof other;
        const int order = memcmp(other, first, len < first_len ? len : first_len);
        if (!is_found || order < 0 || (order == 0 && len < first_len)) {
            memcpy(first, other, len);
            first_len = len;
            is_found = true;
        }
    }
    if (is_found) {
        text_add(error, "there is no field \"");
        text_add_bytes(error, first, first_len);
        text_add(error, "\"; write \"limit\", \"key\", \"time\" or \"notice\"");
    }
    return is_found;
}

bool config_read(struct config *config, const uint8_t *json, size_t len, struct text *error) {
    struct json fields;
    if (!json_read(&fields, json, len)) {
        return refuse(error, "the config is not JSON; write at least {\"limit\":10}");
    }
    if (fields.kind != JSON_OBJECT) {
        return refuse(error, "write the config as a JSON object, at least {\"limit\":10}");
    }
    if (has_unknown(fields, error)) return false;
    return read_limit(config, json_at(fields, "/limit", 6), error) &&
           read_key(config, json_at(fields, "/key", 4), error) &&
           read_time(config, json_at(fields, "/time", 5), error) &&
           read_notice(config, json_at(fields, "/notice", 7), error);
}
