#include "key.h"

#include <string.h>

#include "json.h"
#include "sha256.h"

static bool say(struct text *missing, const char *before, const struct config *config, const char *after) {
    text_add(missing, before);
    text_add_bytes(missing, config->pointer, config->pointer_len);
    text_add(missing, after);
    return false;
}

// The length of what the pointer finds; what is longer than there is room for is cut.
static bool find(struct key *key, const filter_list_u8_t *value, const struct config *config,
                 struct text *missing) {
    struct json json;
    if (!json_read(&json, value->ptr, value->len)) {
        return say(missing, "The value is not JSON, so ", config, " was not looked for");
    }
    json = json_at(json, config->pointer, config->pointer_len);
    switch (json.kind) {
    case JSON_NOTHING:
        return say(missing, "There is nothing at ", config, "; a daily limit is counted by it");
    case JSON_NULL:
        return say(missing, "There is null at ", config, "; a daily limit is counted by it");
    case JSON_ARRAY:
    case JSON_OBJECT:
        return say(missing, "What is at ", config, " must be a string, a number or a bool to be counted by");
    default:
        key->len = json_text(json, key->bytes, sizeof key->bytes);
        return true;
    }
}

bool key_of(struct key *key, const filter_event_t *event, const struct config *config, struct text *missing) {
    if (config->pointer_len != 0) {
        if (!find(key, &event->value, config, missing)) return false;
    } else if (!event->key.is_some) {
        text_add(missing, "The event has no key; publish it with the key that its daily limit is counted by");
        return false;
    } else {
        key->len = event->key.val.len;
        memcpy(key->bytes, event->key.val.ptr, key->len < sizeof key->bytes ? key->len : sizeof key->bytes);
    }
    if (key->len <= KEY_BYTES_MAX) return true;
    text_add(missing, "The key is ");
    text_add_number(missing, key->len, 1);
    text_add(missing, " bytes long; keys of up to ");
    text_add_number(missing, KEY_BYTES_MAX, 1);
    text_add(missing, " bytes are counted");
    return false;
}

size_t key_cell(const struct key *key, uint64_t day, uint8_t cell[CELL_BYTES_MAX]) {
    const bool is_plain = key->len <= PLAIN_BYTES_MAX;
    cell[0] = is_plain ? 'k' : 'h';
    for (int i = 8; i >= 1; i--, day >>= 8) cell[i] = (uint8_t)day;
    if (is_plain) {
        memcpy(cell + 9, key->bytes, key->len);
        return 9 + key->len;
    }
    sha256(key->bytes, key->len, cell + 9);
    return 9 + SHA256_BYTES;
}
