/*
 * What the example programs want of their surroundings: host.c for a computer, cortex-m/ for a
 * microcontroller.
 */
#ifndef PORT_H
#define PORT_H

#include <stdint.h>

/* Prints "name = value", the value in hexadecimal. */
void report(const char *name, uint32_t value);

/* Prints a line. */
void say(const char *text);

#endif
