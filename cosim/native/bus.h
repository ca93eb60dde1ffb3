// What the channels' buses show, handed to Python batch by batch: of each, clocks with a strobe and
// those in which something is not as in the clock before; the first clock of all is one of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lane_glue.h"

// The layout is that of BUS_DTYPE in bus_record.py.
struct BusEvent {
    uint64_t cycle = ~uint64_t(0);
    uint64_t ready = 0;  // R/B# of the dies, one bit each
    uint16_t channel = 0;
    uint8_t die = 0, symbol = 0, strobe = 0, byte = 0;
};

using BusSink = void (*)(const BusEvent* events, uint64_t count);

class BusRecord {
public:
    // Without a sink nothing is recorded.
    explicit BusRecord(BusSink sink) : sink_(sink) {}

    void see(uint64_t cycle, uint32_t channel, uint32_t die, uint32_t symbol, bool strobe,
             uint32_t byte, uint64_t ready) {
        if (!sink_) return;
        // In data phases the lines carry data, which are nobody's business.
        if (symbol != COMMAND && symbol != ADDRESS) byte = 0;
        BusEvent& last = last_[channel];
        const bool first = last.cycle == BusEvent().cycle;
        if (!first && !strobe && !last.strobe && last.die == die && last.symbol == symbol &&
            last.byte == byte && last.ready == ready)
            return;
        last = {cycle, ready, uint16_t(channel), uint8_t(die), uint8_t(symbol), strobe,
                uint8_t(byte)};
        events_.push_back(last);
        if (events_.size() == BATCH) flush();
    }
    void flush() {
        if (!events_.empty()) sink_(events_.data(), events_.size());
        events_.clear();
    }

private:
    static constexpr uint32_t COMMAND = 1, ADDRESS = 2;  // as in Cycle of rtl/nand/phy.py
    static constexpr std::size_t BATCH = 1 << 16;

    BusSink sink_;
    std::vector<BusEvent> events_;
    BusEvent last_[CHANNELS];
};

// WATCHED is defined in the glue of a model that has the buses at its edge.
#ifdef WATCHED
#define SEE_BUS(n, record, top, cycle)                                                             \
    record.see(cycle, n, top->bus___05F##n##___05Fdie, top->bus___05F##n##___05Fcycle,             \
               top->bus___05F##n##___05Fstrobe, top->bus___05F##n##___05Fbyte,                     \
               top->bus___05F##n##___05Fready);
#else
#define SEE_BUS(n, record, top, cycle)
#endif
