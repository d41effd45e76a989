/*
 * The examples on a Cortex-M without a C library: vectors, start-up, and output through a debugger
 * or an emulator (semihosting). A program for a board has the vendor's start-up and log in place of
 * this file.
 */
#include "../port.h"

int main(void);
void reset(void);
void stop(void);

/* From the linker script. */
extern uint32_t stack_end, data_start, data_end, data_load, bss_start, bss_end;

/* What no stack holds by chance. */
#define PAINT 0xdeadc0deu

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))(uintptr_t)&stack_end,
    reset,
    stop, /* NMI */
    stop, /* hard fault */
    stop, /* memory management */
    stop, /* bus fault */
    stop, /* usage fault */
};

/* Asks the debugger. */
static uint32_t semihosting(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

#define SYS_WRITE0 0x04u
#define SYS_EXIT_EXTENDED 0x20u
#define APPLICATION_EXIT 0x20026u

static void leave(uint32_t status)
{
    uint32_t arguments[2];

    arguments[0] = APPLICATION_EXIT;
    arguments[1] = status;
    for (;;) {
        semihosting(SYS_EXIT_EXTENDED, arguments);
    }
}

void say(const char *text)
{
    semihosting(SYS_WRITE0, text);
    semihosting(SYS_WRITE0, "\n");
}

void report(const char *name, uint32_t value)
{
    char digits[9];
    int i;

    for (i = 7; i >= 0; i--) {
        digits[i] = "0123456789abcdef"[value & 15u];
        value >>= 4;
    }
    digits[8] = 0;
    semihosting(SYS_WRITE0, name);
    semihosting(SYS_WRITE0, " = ");
    say(digits);
}

void stop(void)
{
    say("fault");
    leave(2);
}

/* Runs the program, and says how far down its stack reached. */
__attribute__((noinline)) static int painted(void)
{
    uint32_t here, *lowest;
    int status;

    for (lowest = &bss_end; lowest < &here; lowest++) {
        *(volatile uint32_t *)lowest = PAINT;
    }
    status = main();
    for (lowest = &bss_end; *(volatile uint32_t *)lowest == PAINT; lowest++) {
    }
    report("stack bytes", (uint32_t)((uintptr_t)&here - (uintptr_t)lowest));
    return status;
}

void reset(void)
{
    uint32_t *to = &data_start;
    const uint32_t *from = &data_load;

    while (to < &data_end) {
        *to++ = *from++;
    }
    for (to = &bss_start; to < &bss_end;) {
        *to++ = 0;
    }
#ifdef __ARM_FP
    /* Full access to the floating-point unit, before any function that uses it. */
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    leave((uint32_t)painted());
}
