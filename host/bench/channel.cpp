// Runs page reads through a compiled channel: operations whenever it takes one, words taken at once.

#include <cstdint>
#include <memory>

#include "Vtop.h"

struct Read {
    uint32_t die, row, column, words;
};

// Kept up to date while it runs, for whoever watches.
struct Progress {
    uint64_t clock, senses;
};

// Clocks in which each read was taken, and in which its last word came; returns how many came within
// `limit` clocks. At most `in_flight` reads are taken and not yet done.
extern "C" uint32_t run(const Read* reads, uint32_t count, uint32_t in_flight, uint64_t limit,
                        uint64_t* takes, uint64_t* lasts, volatile Progress* progress) {
    VerilatedContext context;
    auto top = std::make_unique<Vtop>(&context, "top");
    uint32_t taken = 0, done = 0;
    uint64_t clock = 0, senses = 0;
    for (; clock < limit && done < count; clock++) {
        top->op_valid = taken < count && taken - done < in_flight;
        if (taken < count) {
            top->op_die = reads[taken].die;
            top->op_row = reads[taken].row;
            top->op_column = reads[taken].column;
            top->op_words = reads[taken].words;
        }
        top->eval();
        if (top->op_valid && top->op_ready) takes[taken++] = clock;
        if (top->last) lasts[done++] = clock;
        senses += top->sense;
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
        progress->clock = clock + 1;
        progress->senses = senses;
    }
    top->final();
    return done;
}
