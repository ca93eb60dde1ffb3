/*
 * What a board gives the bring-up test: the one file to change.
 *
 * INSTINFER_BASE        registers of the drive (s_axi), as the processor has them
 * INSTINFER_HOST        memory that m_axi_host reaches, as the processor has it
 * INSTINFER_HOST_AT     the same, as the drive has it
 * INSTINFER_DRAM        memory that m_axi_dram reaches, as the processor has it
 * INSTINFER_DRAM_AT     the same, as the drive has it, below 4 GiB; the project's firmware has it at 0
 * INSTINFER_STARTED     where a bit for each channel says that its PHY has started, if there is
 *                       such a place: before that the registers do not answer
 * INSTINFER_STARTED_ALL these bits
 * INSTINFER_PAGES_AT    pages, if they lie in a memory, as the drive has it: a multiple of 4096, and
 *                       nothing else there; for drive.c, too
 *
 * addresses.h has them where a block design comes with this. All of the memory is uncached, or
 * instinfer_sync flushes and invalidates caches; with AMD's standalone library caches are off.
 */
#include <stdio.h>

#include "addresses.h"
#include "bringup.h"

#ifdef __has_include
#if __has_include("xil_cache.h")
#include "xil_cache.h"
#define CACHES_OFF Xil_DCacheDisable()
#endif
#endif
#ifndef CACHES_OFF
#define CACHES_OFF (void)0
#endif

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

#ifdef INSTINFER_STARTED
/* Waits for the PHYs; reports each that does not start, and returns how many. */
static int wait_for_phys(void)
{
    uint32_t silent, looks = INSTINFER_PATIENCE;
    int failed = 0;
    do
        silent = ~*(volatile uint32_t *)(uintptr_t)INSTINFER_STARTED & INSTINFER_STARTED_ALL;
    while (silent && looks--);
    for (unsigned channel = 0; channel < 32; channel++)
        if (silent >> channel & 1u) {
            printf("FAIL  channel %u: its PHY does not start\n", channel);
            failed++;
        }
    return failed;
}
#else
#define wait_for_phys() 0
#endif

int main(void)
{
    struct instinfer_memory host = {(uint64_t *)(uintptr_t)INSTINFER_HOST, INSTINFER_HOST_AT,
                                    BRINGUP_HOST_BYTES};
    struct instinfer_memory dram = {(uint64_t *)(uintptr_t)INSTINFER_DRAM, INSTINFER_DRAM_AT,
                                    BRINGUP_DRAM_BYTES};
    CACHES_OFF;
    return wait_for_phys() || instinfer_bringup(host, dram);
}
