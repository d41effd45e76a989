/* The examples on a computer. */
#include "port.h"

#include <stdio.h>

void report(const char *name, uint32_t value)
{
    printf("%s = %08lx\n", name, (unsigned long)value);
}

void say(const char *text)
{
    puts(text);
}
