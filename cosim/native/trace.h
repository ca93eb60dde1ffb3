// What the flash did, for timelines: array operations, and transfers gathered into runs.
#pragma once

#include <cstdint>
#include <vector>

#include "lane_glue.h"
#include "nand.h"

// The layout is that of TRACE_DTYPE in native_lane.py.
struct TraceEvent {
    uint64_t cycle;   // begin
    uint32_t clocks;  // of a transfer, first word to last; 0 for array operations
    uint16_t channel;
    uint8_t die, kind;
};

class Trace {
public:
    enum Kind : uint8_t { SENSE, PROGRAM, ERASE, DATA_OUT = 4, DATA_IN };  // the first as in ArrayOp

    // A cache read is a sense too; it begins once the one before has ended.
    void operation(uint64_t cycle, uint32_t channel, uint32_t die, uint32_t op) {
        if (op == Nand::READ_CACHE) op = SENSE;
        if (op > ERASE) return;
        events.push_back({cycle, 0, uint16_t(channel), uint8_t(die), uint8_t(op)});
    }
    void transfer(uint64_t cycle, uint32_t channel, uint32_t die, Kind kind) {
        Run& run = runs_[channel];
        if (run.event < events.size()) {
            TraceEvent& event = events[run.event];
            if (event.die == die && event.kind == kind && cycle - run.last <= GAP) {
                run.last = cycle;
                event.clocks = uint32_t(cycle - event.cycle + 1);
                return;
            }
        }
        run = {events.size(), cycle};
        events.push_back({cycle, 1, uint16_t(channel), uint8_t(die), uint8_t(kind)});
    }
    void clear() {
        events.clear();
        for (Run& run : runs_) run = Run();
    }

    std::vector<TraceEvent> events;

private:
    static constexpr uint64_t GAP = 32;  // longer pauses end a run
    struct Run {
        std::size_t event = ~std::size_t(0);
        uint64_t last = 0;
    };
    Run runs_[CHANNELS];
};
