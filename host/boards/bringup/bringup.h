#ifndef INSTINFER_BRINGUP_H
#define INSTINFER_BRINGUP_H

#include "drive.h"

#ifndef BRINGUP_BLOCK
#define BRINGUP_BLOCK 4u /* of every die: it or the next one without a maker's mark is written */
#endif

/* The memory that it needs. */
#define BRINGUP_HOST_BYTES (DRIVE_DATA + INSTINFER_MAX_TRANSFER)
#define BRINGUP_DRAM_BYTES                                                                         \
    (DRIVE_TABLES + 2u * INSTINFER_MEMORY_PAGE + 2u * INSTINFER_PAGE_BYTES +                       \
     INSTINFER_MAP_ENTRY_BYTES * INSTINFER_MAX_TOKENS)

/*
 * Tries a drive that was just reset, step by step, and reports a line for each. What that block and
 * the device DRAM hold is lost; the block is erased at the end. Returns how many steps have failed; it ends with the first that
 * makes others meaningless.
 */
int instinfer_bringup(struct instinfer_memory host, struct instinfer_memory dram);

#endif
