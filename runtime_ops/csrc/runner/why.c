/* Writes messages. */
#include "runner/why.h"

#include <stdarg.h>
#include <stdio.h>

void ec_why(ec_message *why, const char *hint, const char *format, ...) {
    va_list values;
    if (why == NULL) return;
    va_start(values, format);
    vsnprintf(why->text, sizeof why->text, format, values);
    va_end(values);
    snprintf(why->hint, sizeof why->hint, "%s", hint);
}

ec_shown ec_show(ec_slice text) {
    ec_shown shown;
    size_t n = text.size < sizeof shown.text - 1 ? (size_t)text.size : sizeof shown.text - 1;
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = text.data[i];
        shown.text[i] = byte >= 0x20 && byte < 0x7F ? (char)byte : '?';
    }
    shown.text[n] = '\0';
    return shown;
}
