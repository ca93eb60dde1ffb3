// Runs page programs, block erases and page reads through a channel of the drive with its dies, on the
// buffers of an array, until a clock or until all are done.

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "bus.h"
#include "lane_glue.h"
#include "memory.h"
#include "nand.h"

namespace {

constexpr uint32_t READ = 0, PROGRAM = 1, ERASE = 2;  // as in NandOp
constexpr uint64_t NEVER = ~uint64_t(0);
constexpr uint32_t HEADER_WORDS = 2;  // of SLOT_HEADER
constexpr MemoryTiming TIMING{20, 20, 16};

}  // namespace

// The layout is that of `JOB` in channel_lane.py.
struct Job {
    uint32_t op, die, row;
    uint32_t after;  // another job that has to be done before this one is given; its own number: none
    uint64_t taken, done;  // clocks, NEVER if not
    uint32_t failed;       // a word with an error mark, a completion that tells of a failure
    uint32_t spare;
};

// Jobs are given in their order. `words` [count][page_words] holds what is programmed, and what was
// read comes there, as does what is marked to `errors`. `sink` takes what the bus shows; it may be
// null. Returns the clocks that have passed.
extern "C" uint64_t channel_run(Job* jobs, uint32_t count, uint64_t* words, uint8_t* errors,
                                uint32_t page_words, uint32_t slots, uint64_t limit,
                                const NandView* view, BusSink sink, char* violation, uint32_t room) {
    VerilatedContext context;
    auto top = std::make_unique<Vtop>(&context, "top");
    Nand nand(*view);
    BusRecord bus(sink);
    // A page of each slot, in the memory that the channel reads: SLOT_HEADER, then its words.
    const uint32_t slot_words = HEADER_WORDS + page_words;
    std::vector<uint64_t> pages(uint64_t(slots) * slot_words);
    Memory memory("slots", reinterpret_cast<uint8_t*>(pages.data()), 0, 8 * pages.size(), TIMING);
    std::deque<uint32_t> free_slots;
    for (uint32_t slot = 0; slot < slots; slot++) free_slots.push_back(slot);
    std::vector<uint32_t> slot_of(count);
    std::deque<uint32_t> reading;  // whose words are still to come
    std::vector<std::deque<uint32_t>> begun[3];
    for (auto& dies : begun) dies.resize(view->dies);
    uint32_t given = 0, done = 0, word_out = 0;
    uint64_t clock = 0;
    for (; clock < limit && done < count && nand.violation().empty(); clock++) {
        const Job* next = given < count ? jobs + given : nullptr;
        const bool free = next && (next->after == given || jobs[next->after].done != NEVER) &&
                          (next->op != PROGRAM || !free_slots.empty());
        top->reads = free && next->op == READ;
        top->programs = free && next->op == PROGRAM;
        top->erases = free && next->op == ERASE;
        if (next) {
            top->die = next->die;
            top->row = next->row;
            if (!free_slots.empty()) top->slot = free_slots.front();
        }
        top->beat_valid = memory.shows_beat(clock);
        if (top->beat_valid) {
            top->beat = memory.beat().data;
            top->beat_last = memory.beat().last;
        }
        top->clk = 0;
        top->eval();

        if (free && top->ready) {
            jobs[given].taken = clock;
            if (next->op == READ) {
                reading.push_back(given);
            } else {
                begun[next->op][next->die].push_back(given);
                if (next->op == PROGRAM) {
                    const uint32_t slot = slot_of[given] = free_slots.front();
                    free_slots.pop_front();
                    uint64_t* page = &pages[uint64_t(slot) * slot_words];
                    page[0] = next->row | uint64_t(next->die) << 24 | uint64_t(page_words) << 40;
                    memcpy(page + HEADER_WORDS, words + uint64_t(given) * page_words,
                           8 * page_words);
                }
            }
            given++;
        }
        if (top->beat_valid && top->beat_ready) memory.take_beat();
        if (top->read_valid) memory.take_read(clock, top->read_address, top->read_beats);
        if (top->word_valid) {
            const uint32_t job = reading.front();
            words[uint64_t(job) * page_words + word_out] = top->word;
            errors[uint64_t(job) * page_words + word_out] = top->word_error;
            jobs[job].failed |= top->word_error;
            if (++word_out == page_words) {
                word_out = 0;
                reading.pop_front();
                jobs[job].done = clock;
                done++;
            }
        }
        if (top->done_valid) {
            auto& waiting = begun[top->done_op][top->done_die];
            jobs[waiting.front()].done = clock;
            jobs[waiting.front()].failed = top->done_failed;
            if (top->done_op == PROGRAM) free_slots.push_back(slot_of[waiting.front()]);
            waiting.pop_front();
            done++;
        }
        SEE_BUS(0, bus, top, clock)
        nand.failed[0] = 0;
        if (top->array___05Fop_valid)
            nand.operate(0, top->array___05Fop_die, top->array___05Fop, top->array___05Fop_row,
                         top->array___05Fop_plane, top->array___05Fop_planes, clock,
                         top->array___05Fop_clocks);
        if (top->array___05Freg_write)
            nand.write_register(0, top->array___05Freg_die, top->array___05Freg_plane,
                                top->array___05Freg_column, top->array___05Freg_w_data);
        if (top->array___05Freg_read)
            nand.answer[0] = nand.read_register(0, top->array___05Freg_die, top->array___05Freg_plane,
                                                top->array___05Freg_column);
        top->clk = 1;
        top->eval();
        top->array___05Freg_r_data = nand.answer[0];
        top->array___05Fop_failed = nand.failed[0];
    }
    bus.flush();
    top->final();
    const std::string& text = nand.violation().empty() ? memory.violation() : nand.violation();
    strncpy(violation, text.c_str(), room - 1);
    return clock;
}
