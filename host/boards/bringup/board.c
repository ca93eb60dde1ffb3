/*
 * What a board gives the bring-up test: the one file to change.
 *
 * INSTINFER_BASE        registers of the drive (s_axi), as the processor has them
 * INSTINFER_HOST        memory that m_axi_host reaches, as the processor has it
 * INSTINFER_HOST_AT     the same, as the drive has it
 * INSTINFER_DRAM        memory that m_axi_dram reaches, as the processor has it
 * INSTINFER_DRAM_AT     the same, as the drive has it, below 4 GiB
 *
 * All of it uncached, or instinfer_sync flushes and invalidates caches.
 */
#include <stdio.h>

#include "bringup.h"

#if !defined(INSTINFER_BASE) || !defined(INSTINFER_HOST) || !defined(INSTINFER_DRAM)
#error "board.c: say where the drive and its memories are, -DINSTINFER_BASE=0x..., see above"
#endif
#ifndef INSTINFER_HOST_AT
#define INSTINFER_HOST_AT INSTINFER_HOST
#endif
#ifndef INSTINFER_DRAM_AT
#define INSTINFER_DRAM_AT INSTINFER_DRAM
#endif

uint32_t instinfer_read32(uint32_t address)
{
    return *(volatile uint32_t *)((uintptr_t)INSTINFER_BASE + address);
}

void instinfer_write32(uint32_t address, uint32_t value)
{
    *(volatile uint32_t *)((uintptr_t)INSTINFER_BASE + address) = value;
}

void instinfer_sync(void)
{
#ifdef __GNUC__
    __sync_synchronize();
#endif
}

void instinfer_pause(void)
{
}

void instinfer_put(char character)
{
    putchar(character);
}

int main(void)
{
    struct instinfer_memory host = {(uint64_t *)(uintptr_t)INSTINFER_HOST, INSTINFER_HOST_AT,
                                    BRINGUP_HOST_BYTES};
    struct instinfer_memory dram = {(uint64_t *)(uintptr_t)INSTINFER_DRAM, INSTINFER_DRAM_AT,
                                    BRINGUP_DRAM_BYTES};
    return instinfer_bringup(host, dram) != 0;
}
