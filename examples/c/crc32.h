/* CRC-32 (IEEE 802.3) of results, so that a device and a host can be compared by one number. */
#ifndef CRC32_H
#define CRC32_H

#include <stdint.h>

/*
 * Adds the `bytes` low bytes of a word, the lowest first. Start with 0xffffffff; the checksum is
 * the complement.
 */
static void crc32_add(uint32_t *crc, uint32_t word, int bytes)
{
    int bit;

    for (; bytes > 0; bytes--) {
        *crc ^= word & 0xffu;
        for (bit = 0; bit < 8; bit++) {
            *crc = (*crc >> 1) ^ ((*crc & 1u) ? 0xedb88320u : 0u);
        }
        word >>= 8;
    }
}

#endif
