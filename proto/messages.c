/* messages.c - names of message types, and texts that are safe to log and to send. */
#include "proto/wire.h"

#include <stdarg.h>
#include <string.h>

const char *brg_msg_name(uint32_t type) {
    switch (type) {
    case BRG_MSG_HELLO: return "Hello";
    case BRG_MSG_BEAT: return "Beat";
    case BRG_MSG_DONE: return "Done";
    case BRG_MSG_DRAIN: return "Drain";
    case BRG_MSG_BYE: return "Bye";
    case BRG_MSG_FAULT: return "Fault";
    case BRG_MSG_AT_RISK: return "AtRisk";
    case BRG_MSG_DRAIN_CANCEL: return "DrainCancel";
    case BRG_MSG_ATTACH: return "Attach";
    case BRG_MSG_GET: return "Get";
    case BRG_MSG_PART: return "Part";
    case BRG_MSG_GONE: return "Gone";
    case BRG_MSG_WELCOME: return "Welcome";
    case BRG_MSG_REFUSED: return "Refused";
    case BRG_MSG_REHELLO: return "Rehello";
    case BRG_MSG_RUN: return "Run";
    case BRG_MSG_TASK: return "Task";
    case BRG_MSG_COMMIT: return "Commit";
    case BRG_MSG_RELEASE: return "Release";
    case BRG_MSG_DRAIN_ACK: return "DrainAck";
    case BRG_MSG_OPERATE: return "Operate";
    case BRG_MSG_OPERATE_REPLY: return "OperateReply";
    case BRG_MSG_HOLDING: return "Holding";
    case BRG_MSG_PLACED: return "Placed";
    case BRG_MSG_READY: return "Ready";
    case BRG_MSG_LOST_PEER: return "LostPeer";
    case BRG_MSG_FETCH_FAILED: return "FetchFailed";
    case BRG_MSG_LEARNED: return "Learned";
    case BRG_MSG_KEPT: return "Kept";
    case BRG_MSG_EVALUATED: return "Evaluated";
    case BRG_MSG_PLACE: return "Place";
    case BRG_MSG_START: return "Start";
    case BRG_MSG_STEP_COMMIT: return "StepCommit";
    case BRG_MSG_UNSEAT: return "Unseat";
    case BRG_MSG_LEARN: return "Learn";
    case BRG_MSG_RELAY_TO: return "RelayTo";
    case BRG_MSG_CHOOSE: return "Choose";
    case BRG_MSG_SAVE: return "Save";
    default: return "unknown";
    }
}

/* Length of the clean character at `s` (1 .. 4), or 0: a control character, or no UTF-8 by the
 * table of RFC 3629, section 4, which leaves out overlong forms and surrogates. */
static size_t clean_char_bytes(const uint8_t *s, size_t left_bytes) {
    const uint8_t lead = s[0];
    if (lead < 0x80) return lead >= 0x20 && lead != 0x7f;
    const size_t size_bytes = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead < 0xc2 || lead > 0xf4 || size_bytes > left_bytes) return 0;
    const uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < size_bytes; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
    }
    if (lead == 0xc2 && s[1] < 0xa0) return 0; /* U+0080 .. U+009F: control characters too */
    return size_bytes;
}

int brg_text_valid(const uint8_t *bytes, size_t size_bytes) {
    for (size_t i = 0; i < size_bytes;) {
        const size_t step = clean_char_bytes(bytes + i, size_bytes - i);
        if (step == 0) return 0;
        i += step;
    }
    return 1;
}

void brg_text_set(char *out, const char *format, ...) {
    char raw[2 * BRG_TEXT_BYTES_MAX];
    va_list args;
    va_start(args, format);
    const int printed = vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    if (printed < 0) raw[0] = '\0';

    const size_t raw_bytes = strlen(raw);
    size_t used = 0;
    for (size_t i = 0; i < raw_bytes;) {
        const size_t clean = clean_char_bytes((const uint8_t *)raw + i, raw_bytes - i);
        const size_t step = clean == 0 ? 1 : clean;
        if (used + step > BRG_TEXT_BYTES_MAX) break;
        if (clean == 0) {
            out[used] = '?';
        } else {
            memcpy(out + used, raw + i, clean);
        }
        used += step;
        i += step;
    }
    memset(out + used, 0, BRG_TEXT_BYTES_MAX + 1 - used);
}
