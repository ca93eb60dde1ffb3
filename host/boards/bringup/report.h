/* Lines of the report, by instinfer_put alone. */
#ifndef INSTINFER_REPORT_H
#define INSTINFER_REPORT_H

#include "drive.h"

static inline void say(const char *text)
{
    while (*text)
        instinfer_put(*text++);
}

static inline void say_number(uint64_t value)
{
    char digits[20];
    int count = 0;
    do
        digits[count++] = (char)('0' + value % 10u);
    while (value /= 10u);
    while (count)
        instinfer_put(digits[--count]);
}

static inline void say_hex(uint64_t value, int digits)
{
    while (digits--)
        instinfer_put("0123456789abcdef"[value >> 4 * digits & 15u]);
}

/* PASS or FAIL at the beginning of a line; whether it failed. */
static inline int say_step(int passed)
{
    say(passed ? "PASS  " : "FAIL  ");
    return !passed;
}

#endif
