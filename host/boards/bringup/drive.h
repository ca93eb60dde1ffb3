/*
 * A drive from a bare-metal processor: registers, management operations of the flash, commands.
 *
 * board.c gives the first five functions and two blocks of memory; all else is in drive.c.
 */
#ifndef INSTINFER_DRIVE_H
#define INSTINFER_DRIVE_H

#include "instinfer.h"

/* A register of the drive: byte address from its base. */
uint32_t instinfer_read32(uint32_t address);
void instinfer_write32(uint32_t address, uint32_t value);

/* What the drive reads is in memory, what it wrote is seen from here on: flush and invalidate
   caches, or a fence where memory is coherent. */
void instinfer_sync(void);

/* Lets about a microsecond pass; may do nothing. */
void instinfer_pause(void);

/* A character of the report. */
void instinfer_put(char character);

/* A block of memory: where the processor has it, and where the drive has it, 4096-byte aligned. */
struct instinfer_memory {
    uint64_t *words;
    uint64_t address;
    uint64_t bytes;
};

#ifndef INSTINFER_PATIENCE
#define INSTINFER_PATIENCE 50000000u /* looks with a pause each, after which nothing will come */
#endif

/* Of what waits for the drive, besides its own codes. */
#define DRIVE_SILENT 0x1000u

/* Places in host memory. Commands may name those from DRIVE_LIST on. */
#define DRIVE_SQ 0u
#define DRIVE_CQ (1u * INSTINFER_MEMORY_PAGE)
#define DRIVE_LIST (2u * INSTINFER_MEMORY_PAGE)
#define DRIVE_RESULT (3u * INSTINFER_MEMORY_PAGE)
#define DRIVE_DATA (4u * INSTINFER_MEMORY_PAGE)

/* Places in device DRAM: sequence table, program slots with the unit that is being made, a page. */
#define DRIVE_SEQUENCES 0u
#define DRIVE_SLOTS (INSTINFER_SEQUENCE_BYTES * INSTINFER_MAX_SEQUENCES)
#define DRIVE_PAGE                                                                                 \
    (DRIVE_SLOTS + INSTINFER_PROGRAM_SLOTS * INSTINFER_SLOT_BYTES + INSTINFER_COLUMN_BUFFER_BYTES)
#define DRIVE_TABLES                                                                               \
    ((DRIVE_PAGE + 8u * INSTINFER_PAGE_WORDS + INSTINFER_MEMORY_PAGE - 1u) /                       \
     INSTINFER_MEMORY_PAGE * INSTINFER_MEMORY_PAGE)

struct drive {
    struct instinfer_memory host, dram;
    uint32_t tail, head, phase, cid;
};

/* The words at a place of a block. */
static inline uint64_t *drive_at(struct instinfer_memory memory, uint32_t place)
{
    return memory.words + place / 8u;
}

/* A management operation, waited for: INSTINFER_CAUSE_*, or DRIVE_SILENT. READ, PROGRAM and
   READ_ID have their words at DRIVE_PAGE. */
uint32_t drive_flash(struct drive *drive, uint32_t op, uint32_t channel, uint32_t die,
                     uint32_t row);

/* Queues, window and tables, and where pages are if they lie in a memory; nothing is open. */
void drive_start(struct drive *drive);

/* Points prp1 and prp2 of an entry to bytes at DRIVE_DATA. */
void drive_data(struct drive *drive, uint64_t *sqe, uint32_t bytes);

/* A command, waited for: INSTINFER_STATUS_*, or DRIVE_SILENT. Gives it its cid and nsid. */
uint32_t drive_execute(struct drive *drive, uint64_t *sqe);

/* A sequence of one layer and one KV head, number 0, as the firmware's OPEN leaves it. */
void drive_open(struct drive *drive, uint32_t head_dim, uint32_t max_tokens);

/* Hands an erased block of every die to the append path: those of channel 0, then of the next. */
void drive_push(const uint32_t *blocks);

/* A counter of 64 bits. */
uint64_t drive_counter(uint32_t address);

#endif
