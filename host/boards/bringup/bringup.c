/* Tries a drive: registers, host memory, dies, flash pages, one attend on golden vectors. */
#include "bringup.h"
#include "golden.h"
#include "report.h"

#define BITS_THAT_MAY_DIFFER                                                                       \
    (INSTINFER_CORRECTABLE_BITS * (INSTINFER_PAGE_BYTES / INSTINFER_CODEWORD_BYTES))

static int registers(void)
{
    static const uint32_t places[] = {INSTINFER_REG_SQ_BASE_LO, INSTINFER_REG_WINDOW_BYTES_HI,
                                      INSTINFER_REG_FLASH_ADDRESS};
    uint32_t id = instinfer_read32(INSTINFER_REG_ID);
    int failed = say_step(id == INSTINFER_DRIVE_ID);
    int kept = 1;
    say("register ID reads ");
    say_hex(id, 8);
    say("h\n");
    if (failed)
        return 1;
    for (uint32_t bit = 0; bit < 32; bit++)
        for (uint32_t n = 0; n < 3; n++) {
            uint32_t value = n & 1u ? ~(1u << bit) : 1u << bit;
            instinfer_write32(places[n], value);
            kept &= instinfer_read32(places[n]) == value;
        }
    failed += say_step(kept);
    say("registers keep what is written, bit by bit\n");
    return failed;
}

static int capabilities(struct drive *drive)
{
    uint64_t sqe[INSTINFER_SQE_WORDS] = {0};
    uint64_t *page = drive_at(drive->host, DRIVE_DATA);
    uint32_t status;
    int failed;
    page[0] = 0;
    instinfer_set_sqe_opcode(sqe, INSTINFER_OPCODE_CAPABILITIES);
    drive_data(drive, sqe, INSTINFER_MEMORY_PAGE);
    status = drive_execute(drive, sqe);
    failed = say_step(
        status == INSTINFER_STATUS_SUCCESS &&
        instinfer_get_capability_magic(page) == INSTINFER_CAPABILITY_MAGIC &&
        instinfer_get_capability_clock_hz(page) == INSTINFER_CLOCK_HZ &&
        instinfer_get_capability_channels(page) == INSTINFER_CHANNELS &&
        instinfer_get_capability_dies(page) == INSTINFER_DIES &&
        instinfer_get_capability_page_bytes(page) == INSTINFER_PAGE_BYTES &&
        instinfer_get_capability_max_head_dim(page) == INSTINFER_MAX_HEAD_DIM &&
        instinfer_get_capability_max_attend(page) == INSTINFER_MAX_ATTEND);
    say("CAPABILITIES: status ");
    say_hex(status, 4);
    say("h, the drive is the one of instinfer.h\n");
    return failed;
}

static void say_die(uint32_t channel, uint32_t die)
{
    say("channel ");
    say_number(channel);
    say(" die ");
    say_number(die);
    say(": ");
}

/* Whether a word begins with the signature of ONFI. */
static int is_onfi(uint64_t word)
{
    static const char signature[] = "ONFI";
    int same = 1;
    for (int n = 0; n < 4; n++)
        same &= (char)(word >> 8 * n & 0xffu) == signature[n];
    return same;
}

static uint32_t phy_state(uint32_t channel, uint32_t die)
{
    instinfer_write32(INSTINFER_REG_PHY_OF, INSTINFER_PUT(INSTINFER_REG_PHY_OF_CHANNEL, channel) |
                                                INSTINFER_PUT(INSTINFER_REG_PHY_OF_DIE, die));
    instinfer_read32(INSTINFER_REG_PHY_OF); /* the answer takes three clocks */
    return instinfer_read32(INSTINFER_REG_PHY_STATE);
}

/* What the PHY has found of a die as it started, if it tells. */
static void say_phy(uint32_t channel, uint32_t die)
{
    uint32_t state = phy_state(channel, die);
    uint32_t first = INSTINFER_TAKE(INSTINFER_REG_PHY_STATE_FIRST, state);
    uint32_t width = INSTINFER_TAKE(INSTINFER_REG_PHY_STATE_WIDTH, state);
    uint32_t offset = INSTINFER_TAKE(INSTINFER_REG_PHY_STATE_OFFSET, state);
    uint32_t usable = INSTINFER_TAKE(INSTINFER_REG_PHY_STATE_USABLE, state);
    if (!INSTINFER_TAKE(INSTINFER_REG_PHY_STATE_TELLS, state))
        return;
    say("      its PHY: R/B_n ");
    if (!INSTINFER_TAKE(INSTINFER_REG_PHY_STATE_ANSWERS, state)) {
        say("did not follow a reset: no power, no die, or wrong pins (CE_n, R/B_n, CLE, ALE, WE_n, "
            "DQ)\n");
        return;
    }
    say("followed a reset");
    if (!width && !usable)
        say(", no ID at any time: wrong pins of its data (CLK, W/R_n, DQS, DQ), or no NV-DDR");
    if (width) {
        say(", ID right at ");
        say_number(first);
        say(" to ");
        say_number(first + width - 1u);
        say(" half clocks");
    }
    if (width || (usable && offset)) {
        say(", data are taken at ");
        say_number(offset);
    }
    say(width && !usable ? ": too far from its channel's other dies\n" : "\n");
}

/* Reset and ID of a die. Where pages lie in a memory there is no ID, and asking is not allowed. */
static int identify(struct drive *drive, uint32_t channel, uint32_t die)
{
    const volatile uint64_t *word = drive_at(drive->dram, DRIVE_PAGE);
    uint32_t cause = drive_flash(drive, INSTINFER_NAND_OP_RESET, channel, die, 0), asked;
    uint64_t maker = 0;
    int has_id, failed;
    if (cause != INSTINFER_CAUSE_NONE) {
        say_step(0);
        say_die(channel, die);
        say("does not answer a reset: cause ");
        say_hex(cause, 4);
        say("h\n");
        say_phy(channel, die);
        return 1;
    }
    asked = drive_flash(drive, INSTINFER_NAND_OP_READ_ID, channel, die, 0x00);
    maker = word[0];
    has_id = asked != INSTINFER_CAUSE_NOT_ALLOWED;
    if (has_id && asked == INSTINFER_CAUSE_NONE)
        asked = drive_flash(drive, INSTINFER_NAND_OP_READ_ID, channel, die, 0x20);
    failed = has_id && (asked != INSTINFER_CAUSE_NONE || !is_onfi(word[0]));
    say_step(!failed);
    say_die(channel, die);
    say("reset, READ ID: cause ");
    say_hex(asked, 4);
    say(has_id ? "h, ID" : "h, it has none");
    for (int n = 0; has_id && n < 6; n++) {
        say(" ");
        say_hex(maker >> 8 * n & 0xffu, 2);
    }
    say(!has_id ? "\n" : failed ? ", not ONFI\n" : ", ONFI\n");
    say_phy(channel, die);
    return failed;
}

/* The next word of a page that nothing else looks like: xorshift, Marsaglia 2003. */
static uint64_t next(uint64_t word)
{
    word ^= word << 13;
    word ^= word >> 7;
    return word ^ word << 17;
}

/* What stands for no block, and what a search for one ends with if all are marked. */
#define NO_BLOCK INSTINFER_BLOCKS
#define ALL_MARKED 0x1001u

/* The block of each die that is written to. */
static uint32_t blocks[INSTINFER_CHANNELS][INSTINFER_DIES];

/* A maker marks a bad block by a zero in the first spare byte of its first page. */
static int is_marked(const volatile uint64_t *page)
{
    uint32_t spare = 8u * INSTINFER_PAGE_WORDS > INSTINFER_PAGE_BYTES;
    uint32_t mark = spare ? INSTINFER_PAGE_BYTES : INSTINFER_PAGE_BYTES - 1u;
    return (page[mark / 8u] >> 8 * (mark % 8u) & 0xffu) == 0;
}

/* Chooses the first block from BRINGUP_BLOCK on that is not marked. A memory has no marks. */
static uint32_t choose(struct drive *drive, uint32_t channel, uint32_t die)
{
    blocks[channel][die] = NO_BLOCK;
    for (uint32_t block = BRINGUP_BLOCK; block < INSTINFER_BLOCKS; block++) {
        uint32_t cause = INSTINFER_CAUSE_NONE;
        if (!INSTINFER_PAGES_IN_MEMORY)
            cause = drive_flash(drive, INSTINFER_NAND_OP_READ, channel, die,
                                block * INSTINFER_PAGES);
        if (cause != INSTINFER_CAUSE_NONE)
            return cause;
        if (INSTINFER_PAGES_IN_MEMORY || !is_marked(drive_at(drive->dram, DRIVE_PAGE))) {
            blocks[channel][die] = block;
            return INSTINFER_CAUSE_NONE;
        }
    }
    return ALL_MARKED;
}

/* A raw page of a block that is erased before and after. A few bits of raw flash may differ. */
static int raw_page(struct drive *drive, uint32_t channel, uint32_t die)
{
    volatile uint64_t *page = drive_at(drive->dram, DRIVE_PAGE);
    uint64_t seed = 0x9e3779b97f4a7c15ull + channel * INSTINFER_DIES + die, word = seed;
    uint32_t cause = choose(drive, channel, die), block = blocks[channel][die], differ = 0;
    uint32_t row = block * INSTINFER_PAGES;
    int failed;
    if (cause == INSTINFER_CAUSE_NONE)
        cause = drive_flash(drive, INSTINFER_NAND_OP_ERASE, channel, die, row);
    for (uint32_t n = 0; n < INSTINFER_PAGE_WORDS; n++)
        page[n] = word = next(word);
    if (cause == INSTINFER_CAUSE_NONE)
        cause = drive_flash(drive, INSTINFER_NAND_OP_PROGRAM, channel, die, row);
    for (uint32_t n = 0; n < INSTINFER_PAGE_WORDS; n++)
        page[n] = 0;
    if (cause == INSTINFER_CAUSE_NONE)
        cause = drive_flash(drive, INSTINFER_NAND_OP_READ, channel, die, row);
    word = seed;
    for (uint32_t n = 0; n < INSTINFER_PAGE_WORDS; n++) {
        word = next(word);
        for (uint64_t wrong = page[n] ^ word; wrong; wrong &= wrong - 1u)
            differ++;
    }
    if (cause == INSTINFER_CAUSE_NONE)
        cause = drive_flash(drive, INSTINFER_NAND_OP_ERASE, channel, die, row);
    if (cause == DRIVE_SILENT)
        blocks[channel][die] = NO_BLOCK;
    failed = say_step(cause == INSTINFER_CAUSE_NONE && differ <= BITS_THAT_MAY_DIFFER);
    say_die(channel, die);
    if (block == NO_BLOCK)
        say("no block is free of a maker's mark, or none can be read: cause ");
    else {
        say("block ");
        say_number(block);
        say(block == BRINGUP_BLOCK ? "" : ", those before it are marked bad,");
        say(" erased, programmed, read: cause ");
    }
    say_hex(cause, 4);
    say("h, ");
    say_number(differ);
    say(" of ");
    say_number(64u * INSTINFER_PAGE_WORDS);
    say(failed && block != NO_BLOCK ? " bits differ; a bad block without a mark? BRINGUP_BLOCK says "
                                      "where to begin\n"
                                    : " bits differ\n");
    return failed;
}

/* Leaves the blocks erased, whatever has failed: the firmware's first start looks at them. A die
   that never answered in time is not asked again. */
static int erase_blocks(struct drive *drive)
{
    uint32_t count = 0, failures = 0;
    for (uint32_t channel = 0; channel < INSTINFER_CHANNELS; channel++)
        for (uint32_t die = 0; die < INSTINFER_DIES; die++)
            if (blocks[channel][die] != NO_BLOCK) {
                uint32_t row = blocks[channel][die] * INSTINFER_PAGES;
                count++;
                failures += drive_flash(drive, INSTINFER_NAND_OP_ERASE, channel, die, row) !=
                            INSTINFER_CAUSE_NONE;
            }
    if (!count)
        return 0;
    say_step(!failures);
    say_number(count - failures);
    say(" of ");
    say_number(count);
    say(" blocks erased again\n");
    return failures != 0;
}

static int append(struct drive *drive)
{
    uint64_t sqe[INSTINFER_SQE_WORDS] = {0};
    uint64_t *data = drive_at(drive->host, DRIVE_DATA);
    uint64_t before = drive_counter(INSTINFER_COUNTER_PAGES_PROGRAMMED), pages;
    uint32_t status, left = 0;
    int failed;
    for (uint32_t n = 0; n < GOLDEN_KV_WORDS; n++)
        data[n] = golden_kv[n];
    instinfer_set_sqe_opcode(sqe, INSTINFER_OPCODE_APPEND);
    instinfer_set_sqe_tokens(sqe, GOLDEN_TOKENS);
    drive_data(drive, sqe, 8u * GOLDEN_KV_WORDS);
    status = drive_execute(drive, sqe);
    for (uint32_t look = 0; look < INSTINFER_PATIENCE; look++) {
        left = instinfer_read32(INSTINFER_REG_PROGRAM_USED);
        if (!left)
            break;
        instinfer_pause();
    }
    pages = drive_counter(INSTINFER_COUNTER_PAGES_PROGRAMMED) - before;
    failed = say_step(status == INSTINFER_STATUS_SUCCESS && pages == GOLDEN_PAGES && !left);
    say("APPEND of ");
    say_number(GOLDEN_TOKENS);
    say(" tokens: status ");
    say_hex(status, 4);
    say("h, ");
    say_number(pages);
    say(" pages programmed, of ");
    say_number(left);
    say(" it failed\n");
    return failed;
}

/* An FP16 number in units of 2^-24, its smallest; infinities and NaN become larger than any. */
static int64_t fixed(uint32_t half)
{
    int32_t exponent = (int32_t)(half >> 10 & 31u);
    int64_t value = (int64_t)(half & 1023u);
    if (exponent)
        value = (value | 1024) << (exponent - 1);
    return half >> 15 ? -value : value;
}

static uint32_t half_of(const uint64_t *words, uint32_t n)
{
    return (uint32_t)(words[n / 4u] >> 16 * (n % 4u) & 0xffffu);
}

static int attend(struct drive *drive)
{
    uint64_t sqe[INSTINFER_SQE_WORDS] = {0};
    uint64_t *job = drive_at(drive->host, DRIVE_DATA);
    uint64_t *result = drive_at(drive->host, DRIVE_RESULT);
    uint64_t before = drive_counter(INSTINFER_COUNTER_PAGES_READ), pages;
    uint32_t status, bytes = INSTINFER_JOB_BYTES + 8u * GOLDEN_Q_WORDS, differ = 0;
    int64_t farthest = 0;
    int failed;
    for (uint32_t n = 0; n < INSTINFER_JOB_WORDS; n++)
        job[n] = 0;
    for (uint32_t n = 0; n < GOLDEN_Q_WORDS; n++)
        job[INSTINFER_JOB_WORDS + n] = golden_q[n];
    for (uint32_t n = 0; n <= GOLDEN_Q_WORDS; n++)
        result[n] = 0;
    instinfer_set_job_queries(job, GOLDEN_QUERIES);
    instinfer_set_job_q_format(job, INSTINFER_FORMAT_FP16);
    instinfer_set_job_q_offset(job, INSTINFER_JOB_BYTES);
    instinfer_set_sqe_opcode(sqe, INSTINFER_OPCODE_ATTEND);
    instinfer_set_sqe_attend_jobs(sqe, 1);
    instinfer_set_sqe_attend_mode(sqe, INSTINFER_ATTEND_MODE_DENSE);
    instinfer_set_sqe_attend_bytes(sqe, bytes);
    instinfer_set_sqe_scale_mant(sqe, GOLDEN_SCALE_MANT);
    instinfer_set_sqe_scale_exp(sqe, GOLDEN_SCALE_EXP);
    instinfer_set_sqe_result(sqe, drive->host.address + DRIVE_RESULT);
    drive_data(drive, sqe, bytes);
    status = drive_execute(drive, sqe);
    pages = drive_counter(INSTINFER_COUNTER_PAGES_READ) - before;
    failed = say_step(status == INSTINFER_STATUS_SUCCESS && pages >= GOLDEN_PAGES &&
                      instinfer_get_job_status_written(result) &&
                      instinfer_get_job_status_status(result) == INSTINFER_STATUS_SUCCESS);
    say("ATTEND: status ");
    say_hex(status, 4);
    say("h, ");
    say_number(pages);
    say(" pages read\n");
    for (uint32_t n = 0; n < 4u * GOLDEN_Q_WORDS; n++) {
        uint32_t half = half_of(result + 1, n);
        int64_t off = fixed(half) - fixed(half_of(golden_attention, n));
        differ += half != half_of(golden_bits, n);
        farthest = off > farthest ? off : -off > farthest ? -off : farthest;
    }
    failed += say_step(differ == 0);
    say_number(differ);
    say(" of ");
    say_number(4u * GOLDEN_Q_WORDS);
    say(" elements are not those of the bit-exact model\n");
    failed += say_step(farthest <= GOLDEN_TOLERANCE);
    say("off the golden model by ");
    say_number((uint64_t)farthest);
    say(" * 2^-24 at most, ");
    say_number(GOLDEN_TOLERANCE);
    say(" may be\n");
    return failed;
}

/* What the drive waits for, if a step has failed. */
static void state(void)
{
    say("      STATUS ");
    say_hex(instinfer_read32(INSTINFER_REG_STATUS), 8);
    say("h, FLASH_STATUS ");
    say_hex(instinfer_read32(INSTINFER_REG_FLASH_STATUS), 8);
    say("h, MAILBOX_STATUS ");
    say_hex(instinfer_read32(INSTINFER_REG_MAILBOX_STATUS), 8);
    say("h, EVENT ");
    say_hex(instinfer_read32(INSTINFER_REG_EVENT), 8);
    say("h\n");
}

static int steps(struct drive *drive)
{
    int failed = registers();
    if (failed)
        return failed;
    drive_start(drive);
    failed = capabilities(drive);
    for (uint32_t n = 0; n < INSTINFER_CHANNELS * INSTINFER_DIES; n++)
        blocks[n / INSTINFER_DIES][n % INSTINFER_DIES] = NO_BLOCK;
    for (uint32_t channel = 0; channel < INSTINFER_CHANNELS; channel++)
        for (uint32_t die = 0; die < INSTINFER_DIES; die++)
            failed += identify(drive, channel, die) || raw_page(drive, channel, die);
    if (!failed) {
        drive_open(drive, GOLDEN_HEAD_DIM, GOLDEN_TOKENS);
        drive_push(&blocks[0][0]);
        failed = append(drive);
        if (!failed)
            failed = attend(drive);
    }
    return failed + erase_blocks(drive);
}

int instinfer_bringup(struct instinfer_memory host, struct instinfer_memory dram)
{
    struct drive drive = {host, dram, 0, 0, 1, 0};
    int failed;
    if (host.bytes < BRINGUP_HOST_BYTES || dram.bytes < BRINGUP_DRAM_BYTES) {
        say("FAIL  memory: BRINGUP_HOST_BYTES and BRINGUP_DRAM_BYTES are needed\n");
        return 1;
    }
    failed = steps(&drive);
    if (failed)
        state();
    say(failed ? "FAILED\n" : "PASSED\n");
    return failed;
}
