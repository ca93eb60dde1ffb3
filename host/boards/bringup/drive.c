/* A drive from a bare-metal processor, see drive.h. */
#include "drive.h"

#if INSTINFER_PAGES_IN_MEMORY && !defined(INSTINFER_PAGES_AT)
#error "drive.c: say where the pages are, as m_axi_pages_n have it, -DINSTINFER_PAGES_AT=0x..."
#endif

#define ENTRIES (INSTINFER_MEMORY_PAGE / INSTINFER_SQE_BYTES)

static void write64(uint32_t low, uint64_t value)
{
    instinfer_write32(low, (uint32_t)value);
    instinfer_write32(low + 4u, (uint32_t)(value >> 32));
}

static void clear(uint64_t *words, uint32_t bytes)
{
    for (uint32_t n = 0; n < bytes / 8u; n++)
        words[n] = 0;
}

uint64_t drive_counter(uint32_t address)
{
    uint64_t low = instinfer_read32(address);
    return low | (uint64_t)instinfer_read32(address + 4u) << 32;
}

uint32_t drive_flash(struct drive *drive, uint32_t op, uint32_t channel, uint32_t die, uint32_t row)
{
    uint32_t words = INSTINFER_PUT(INSTINFER_REG_FLASH_WORDS_WORDS, INSTINFER_PAGE_WORDS);
    uint32_t place = INSTINFER_PUT(INSTINFER_REG_FLASH_ROW_DIE, die) |
                     INSTINFER_PUT(INSTINFER_REG_FLASH_ROW_ROW, row);
    instinfer_sync();
    instinfer_write32(INSTINFER_REG_FLASH_ADDRESS, (uint32_t)drive->dram.address + DRIVE_PAGE);
    instinfer_write32(INSTINFER_REG_FLASH_WORDS, words);
    instinfer_write32(INSTINFER_REG_FLASH_ROW, place);
    instinfer_write32(INSTINFER_REG_FLASH_OP,
                      INSTINFER_PUT(INSTINFER_REG_FLASH_OP_OP, op) |
                          INSTINFER_PUT(INSTINFER_REG_FLASH_OP_CHANNEL, channel));
    for (uint32_t look = 0; look < INSTINFER_PATIENCE; look++) {
        uint32_t status = instinfer_read32(INSTINFER_REG_FLASH_STATUS);
        if (!INSTINFER_TAKE(INSTINFER_REG_FLASH_STATUS_BUSY, status)) {
            instinfer_sync();
            return INSTINFER_TAKE(INSTINFER_REG_FLASH_STATUS_CAUSE, status);
        }
        instinfer_pause();
    }
    return DRIVE_SILENT;
}

void drive_start(struct drive *drive)
{
    uint64_t host = drive->host.address;
    uint32_t dram = (uint32_t)drive->dram.address;
    clear(drive_at(drive->host, DRIVE_SQ), 2u * INSTINFER_MEMORY_PAGE);
    clear(drive_at(drive->dram, DRIVE_SEQUENCES), DRIVE_SLOTS - DRIVE_SEQUENCES);
    drive->tail = drive->head = 0;
    drive->phase = 1;
    instinfer_sync();
    instinfer_write32(INSTINFER_REG_CONTROL, 0);
    write64(INSTINFER_REG_SQ_BASE_LO, host + DRIVE_SQ);
    write64(INSTINFER_REG_CQ_BASE_LO, host + DRIVE_CQ);
    write64(INSTINFER_REG_WINDOW_BASE_LO, host + DRIVE_LIST);
    write64(INSTINFER_REG_WINDOW_BYTES_LO, drive->host.bytes - DRIVE_LIST);
    instinfer_write32(INSTINFER_REG_SQ_SIZE, ENTRIES);
    instinfer_write32(INSTINFER_REG_CQ_SIZE, ENTRIES);
    instinfer_write32(INSTINFER_REG_SEQUENCE_TABLE, dram + DRIVE_SEQUENCES);
    instinfer_write32(INSTINFER_REG_PROGRAM_BUFFER, dram + DRIVE_SLOTS);
#if INSTINFER_PAGES_IN_MEMORY
    write64(INSTINFER_REG_PAGE_BASE_LO, INSTINFER_PAGES_AT);
#endif
    instinfer_write32(INSTINFER_REG_CONTROL, INSTINFER_REG_CONTROL_ENABLE_MASK);
}

void drive_data(struct drive *drive, uint64_t *sqe, uint32_t bytes)
{
    uint64_t first = drive->host.address + DRIVE_DATA;
    uint32_t pages = (bytes + INSTINFER_MEMORY_PAGE - 1u) / INSTINFER_MEMORY_PAGE;
    uint64_t *list = drive_at(drive->host, DRIVE_LIST);
    for (uint32_t n = 1; n < pages; n++)
        list[n - 1u] = first + (uint64_t)n * INSTINFER_MEMORY_PAGE;
    instinfer_set_sqe_prp1(sqe, first);
    if (pages == 2u)
        instinfer_set_sqe_prp2(sqe, first + INSTINFER_MEMORY_PAGE);
    if (pages > 2u)
        instinfer_set_sqe_prp2(sqe, drive->host.address + DRIVE_LIST);
}

uint32_t drive_execute(struct drive *drive, uint64_t *sqe)
{
    uint64_t *entry = drive_at(drive->host, DRIVE_SQ + drive->tail * INSTINFER_SQE_BYTES);
    const volatile uint64_t *answer =
        drive_at(drive->host, DRIVE_CQ + drive->head * INSTINFER_CQE_BYTES);
    instinfer_set_sqe_nsid(sqe, 1);
    instinfer_set_sqe_cid(sqe, ++drive->cid);
    for (uint32_t n = 0; n < INSTINFER_SQE_WORDS; n++)
        entry[n] = sqe[n];
    drive->tail = (drive->tail + 1u) % ENTRIES;
    instinfer_sync();
    instinfer_write32(INSTINFER_REG_SQ_TAIL, drive->tail);
    for (uint32_t look = 0; look < INSTINFER_PATIENCE; look++) {
        uint64_t cqe[INSTINFER_CQE_WORDS] = {answer[0], answer[1]};
        if (instinfer_get_cqe_phase(cqe) == drive->phase) {
            drive->head = (drive->head + 1u) % ENTRIES;
            drive->phase ^= drive->head == 0;
            instinfer_write32(INSTINFER_REG_CQ_HEAD, drive->head);
            instinfer_sync();
            return (uint32_t)instinfer_get_cqe_status(cqe);
        }
        instinfer_pause();
        instinfer_sync();
    }
    return DRIVE_SILENT;
}

void drive_open(struct drive *drive, uint32_t head_dim, uint32_t max_tokens)
{
    uint32_t group = INSTINFER_PAGE_BYTES / (2u * head_dim);
    uint32_t groups = (max_tokens + group - 1u) / group;
    uint32_t passes = (max_tokens + INSTINFER_PASS_TOKENS - 1u) / INSTINFER_PASS_TOKENS;
    uint64_t *entry = drive_at(drive->dram, DRIVE_SEQUENCES);
    uint64_t at = drive->dram.address + DRIVE_TABLES;
    clear(entry, INSTINFER_SEQUENCE_BYTES);
    clear(drive_at(drive->dram, DRIVE_TABLES), INSTINFER_HEAD_BYTES); /* it holds no tokens */
    instinfer_set_sequence_format(entry, INSTINFER_FORMAT_FP16);
    instinfer_set_sequence_head_dim(entry, head_dim);
    instinfer_set_sequence_kv_heads(entry, 1);
    instinfer_set_sequence_layers(entry, 1);
    instinfer_set_sequence_max_tokens(entry, max_tokens);
    instinfer_set_sequence_groups(entry, groups);
    instinfer_set_sequence_group_tokens(entry, group);
    instinfer_set_sequence_pass_groups(entry, INSTINFER_PASS_TOKENS / group);
    instinfer_set_sequence_pass_rest(entry, INSTINFER_PASS_TOKENS % group);
    instinfer_set_sequence_pass_entries(entry, passes);
    instinfer_set_sequence_segment(entry, 1);
    instinfer_set_sequence_heads(entry, at);
    at += INSTINFER_MEMORY_PAGE;
    instinfer_set_sequence_passes(entry, at);
    at += INSTINFER_MEMORY_PAGE;
    instinfer_set_sequence_tail(entry, at);
    at += 2u * INSTINFER_PAGE_BYTES;
    instinfer_set_sequence_map(entry, at);
    instinfer_set_sequence_state(entry, INSTINFER_SEQUENCE_STATE_OPEN);
    instinfer_sync();
}

void drive_push(const uint32_t *blocks)
{
    /* after a reset it is being cleared */
    for (uint32_t look = 0; look < INSTINFER_PATIENCE; look++) {
        if (!instinfer_read32(INSTINFER_REG_STREAM_END))
            break;
        instinfer_pause();
    }
    instinfer_write32(INSTINFER_REG_STREAM, 0);
    for (uint32_t channel = 0; channel < INSTINFER_CHANNELS; channel++)
        for (uint32_t die = 0; die < INSTINFER_DIES; die++) {
            instinfer_write32(INSTINFER_REG_FLASH_ROW,
                              INSTINFER_PUT(INSTINFER_REG_FLASH_ROW_DIE, die) |
                                  INSTINFER_PUT(INSTINFER_REG_FLASH_ROW_ROW, *blocks++));
            instinfer_write32(INSTINFER_REG_STRIPE_BLOCK,
                              INSTINFER_PUT(INSTINFER_REG_STRIPE_BLOCK_CHANNEL, channel) |
                                  INSTINFER_PUT(INSTINFER_REG_STRIPE_BLOCK_COLUMN, die));
        }
    instinfer_write32(INSTINFER_REG_STRIPE_PUSH,
                      INSTINFER_PUT(INSTINFER_REG_STRIPE_PUSH_COLUMNS, INSTINFER_DIES));
}
