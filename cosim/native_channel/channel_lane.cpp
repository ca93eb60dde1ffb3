// Runs page programs, block erases and page reads through a channel of the drive with its dies, on the
// buffers of an array, until a clock or until all are done.

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "lane_glue.h"
#include "nand.h"

namespace {

constexpr uint32_t READ = 0, PROGRAM = 1, ERASE = 2;  // as in NandOp
constexpr uint64_t NEVER = ~uint64_t(0);

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
// read comes there, as does what is marked to `errors`. Returns the clocks that have passed.
extern "C" uint64_t channel_run(Job* jobs, uint32_t count, uint64_t* words, uint8_t* errors,
                                uint32_t page_words, uint64_t limit, const NandView* view,
                                char* violation, uint32_t room) {
    VerilatedContext context;
    auto top = std::make_unique<Vtop>(&context, "top");
    Nand nand(*view);
    std::deque<uint32_t> writing, reading;  // whose words are still to be given, or to come
    std::vector<std::deque<uint32_t>> begun[3];
    for (auto& dies : begun) dies.resize(view->dies);
    uint32_t given = 0, done = 0, word_in = 0, word_out = 0;
    uint64_t clock = 0;
    for (; clock < limit && done < count && nand.violation().empty(); clock++) {
        const Job* next = given < count ? jobs + given : nullptr;
        const bool free = next && (next->after == given || jobs[next->after].done != NEVER);
        top->reads = free && next->op == READ;
        top->programs = free && next->op == PROGRAM;
        top->erases = free && next->op == ERASE;
        if (next) {
            top->die = next->die;
            top->row = next->row;
        }
        top->data_valid = !writing.empty();
        if (!writing.empty()) top->data = words[uint64_t(writing.front()) * page_words + word_in];
        top->clk = 0;
        top->eval();

        if (free && top->ready) {
            jobs[given].taken = clock;
            if (next->op == READ) {
                reading.push_back(given);
            } else {
                begun[next->op][next->die].push_back(given);
                if (next->op == PROGRAM) writing.push_back(given);
            }
            given++;
        }
        if (top->data_valid && top->data_ready && ++word_in == page_words) {
            word_in = 0;
            writing.pop_front();
        }
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
            waiting.pop_front();
            done++;
        }
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
    top->final();
    strncpy(violation, nand.violation().c_str(), room - 1);
    return clock;
}
