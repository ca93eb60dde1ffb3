// The native lane: a Verilated drive, its memories and its flash arrays behind a small C ABI.
//
// Python enters at events (an interrupt, a command for the firmware, a limit), never at clocks.
// One clock: look at the outputs, set the inputs, edge. Inputs are registered in the Verilog around the
// drive, so whatever the drive asks in clock t is answered in clock t + 1 at the earliest.
//
// lane_glue.h is generated for each design: the number of channels and where the fields of packed
// payloads lie.

#include <memory>
#include <vector>

#include "Vtop.h"
#include "bits.h"
#include "bus.h"
#include "lane_glue.h"
#include "memory.h"
#include "nand.h"
#include "trace.h"

namespace {

enum Stop : uint32_t { IRQ = 1, MAILBOX = 2, STUCK = 4, CYCLES = 8, SLICE = 16, VIOLATION = 32 };

constexpr uint32_t NO_TIMER = 0xFFFFFFFF;
constexpr uint32_t SKIP_MARGIN = 3;  // clocks between looking at a timer and the end of a skip
constexpr int STUCK_CLOCKS = 64;
#ifdef PAGE_MEMORY
constexpr std::size_t PAGE_PORTS = CHANNELS;
#else
constexpr std::size_t PAGE_PORTS = 0;
#endif

}  // namespace

struct LaneSettings {
    uint64_t host_base, host_bytes, dram_bytes, page_base, page_bytes;
    MemoryTiming host, dram;
    uint32_t skip_idle, trace;
};

// What Python reads without a call; the layout is that of `_Status` in native_lane.py.
struct LaneStatus {
    uint64_t cycle, evaluated, irqs, trace_events;
    uint32_t mailbox, quiet, next_event, spare;
};

class Lane {
public:
    Lane(const LaneSettings& settings, uint8_t* host, uint8_t* dram, const NandView& nand, BusSink sink)
        : buses(sink), context_(new VerilatedContext), top_(new Vtop(context_.get(), "top")), settings_(settings),
          host_("host memory", host, settings.host_base, settings.host_bytes, settings.host),
          dram_("device DRAM", dram, 0, settings.dram_bytes, settings.dram),
          pages_(PAGE_PORTS, Memory("page memory", nand.cells, settings.page_base,
                                    settings.page_bytes, settings.dram, true)),
          nand_(nand) {
        top_->clk = 0;
        top_->eval();
        drive_memories(0);
        status.cycle = status.evaluated = 0;
        status.next_event = NO_TIMER;
    }
    ~Lane() {
        // Scopes leave the thread's context when they go, which may be another lane's by now.
        Verilated::threadContextp(context_.get());
        top_->final();
        top_.reset();
    }

    uint32_t run(uint32_t stop, uint64_t until, uint64_t evaluations) {
        const uint64_t slice = status.evaluated + evaluations;
        ends_stuck_ = stop & STUCK;
        while (true) {
            uint32_t why = 0;
            if (status.irqs && stop & IRQ) why |= IRQ;
            if (top_->mailbox && stop & MAILBOX) why |= MAILBOX;
            if (resting_ >= STUCK_CLOCKS && stop & STUCK) why |= STUCK;
            if (violated()) why |= VIOLATION;
            if (why) return why;
            if (status.cycle >= until) return CYCLES;
            if (status.evaluated >= slice) return SLICE;
            clock(until);
        }
    }

    // An access begins with the next clock, as all that the environment drives.
    uint32_t csr_read(uint32_t address) {
        if (skipping_) clock(0);
        top_->csr___05Faddr = address;
        top_->csr___05Fr_en = 1;
        clock(0);
        top_->csr___05Fr_en = 0;
        clock(0);
        const uint32_t data = top_->csr___05Fr_data;
        clock(0);
        resting_ = 0;
        return data;
    }

    void csr_write(uint32_t address, uint32_t value) {
        if (skipping_) clock(0);
        top_->csr___05Faddr = address;
        top_->csr___05Fw_data = value;
        top_->csr___05Fw_en = 1;
        clock(0);
        top_->csr___05Fw_en = 0;
        clock(0);
        resting_ = 0;
    }

    void spoil_pages(uint64_t first, uint64_t last) {
        for (Memory& memory : pages_) memory.spoil(first, last);
    }

    const char* violation() const {
        return !host_.violation().empty()   ? host_.violation().c_str()
               : !dram_.violation().empty() ? dram_.violation().c_str()
               : !pages_violation().empty() ? pages_violation().c_str()
                                            : nand_.violation().c_str();
    }

    LaneStatus status{};
    Trace trace;
    BusRecord buses;

private:
    bool violated() const { return *violation() != 0; }
    const std::string& pages_violation() const {
        static const std::string none;
        for (const Memory& memory : pages_)
            if (!memory.violation().empty()) return memory.violation();
        return none;
    }
    bool memories_idle() const {
        for (const Memory& memory : pages_)
            if (!memory.idle()) return false;
        return host_.idle() && dram_.idle();
    }

    void edge() {
        top_->clk = 1;
        top_->eval();
        top_->clk = 0;
        top_->eval();
    }

    // One clock: what the drive shows in it, what it is shown in the next, then the edge between.
    // `until` bounds a skip; 0 allows none.
    void clock(uint64_t until) {
        const uint64_t cycle = status.cycle;
        moved_ = !memories_idle();
        sample(cycle);
        status.evaluated++;
        status.cycle = cycle + skipping_ + 1;
        drive(until);
        edge();
    }

    void sample(uint64_t cycle) {
#define SEE(n) SEE_BUS(n, buses, top_, cycle)
        FOR_EACH_CHANNEL(SEE)
#undef SEE
        status.irqs += irq_ = top_->irq;
        status.mailbox = top_->mailbox;
        status.quiet = top_->quiet;
        status.next_event = top_->next_event;
#define TAKE(port, memory)                                                                         \
    if (top_->port##___05Far___05Fvalid & top_->port##___05Far___05Fready)                           \
        memory.take_read(cycle, field<BURST_ADDRESS>(top_->port##___05Far___05Fpayload),              \
                         uint32_t(field<BURST_BEATS>(top_->port##___05Far___05Fpayload)));             \
    if (top_->port##___05Fr___05Fvalid & top_->port##___05Fr___05Fready) memory.take_beat();           \
    if (top_->port##___05Fb___05Fvalid & top_->port##___05Fb___05Fready) memory.take_response();       \
    if (top_->port##___05Fw___05Fvalid & top_->port##___05Fw___05Fready)                               \
        memory.take_write_data(cycle, field<W_DATA>(top_->port##___05Fw___05Fpayload),                \
                               uint32_t(field<W_STROBE>(top_->port##___05Fw___05Fpayload)),            \
                               field<W_LAST>(top_->port##___05Fw___05Fpayload));                       \
    if (top_->port##___05Faw___05Fvalid & top_->port##___05Faw___05Fready)                           \
        memory.take_write(field<BURST_ADDRESS>(top_->port##___05Faw___05Fpayload),                    \
                          uint32_t(field<BURST_BEATS>(top_->port##___05Faw___05Fpayload)));
        TAKE(host, host_)
        TAKE(dram, dram_)
#ifdef PAGE_MEMORY
#define TAKE_PAGES(n) TAKE(pages___05F##n, pages_[n])
        FOR_EACH_CHANNEL(TAKE_PAGES)
#undef TAKE_PAGES
#else
#define SERVE(n)                                                                                     \
    nand_.failed[n] = 0;                                                                             \
    if (top_->array___05F##n##___05Fop_valid) {                                                       \
        const uint32_t die = top_->array___05F##n##___05Fop_die, op = top_->array___05F##n##___05Fop;  \
        const uint32_t planes = top_->array___05F##n##___05Fop_planes;                                 \
        nand_.operate(n, die, op, top_->array___05F##n##___05Fop_row,                                  \
                      top_->array___05F##n##___05Fop_plane, planes, cycle,                             \
                      top_->array___05F##n##___05Fop_clocks);                                          \
        if (settings_.trace)                                                                         \
            for (int rows = 1 + __builtin_popcount(planes); rows > 0; rows--)                         \
                trace.operation(cycle, n, die, op);                                                  \
    }                                                                                                \
    if (top_->array___05F##n##___05Freg_write) {                                                      \
        const uint32_t die = top_->array___05F##n##___05Freg_die;                                      \
        nand_.write_register(n, die, top_->array___05F##n##___05Freg_plane,                            \
                             top_->array___05F##n##___05Freg_column,                                   \
                             top_->array___05F##n##___05Freg_w_data);                                  \
        if (settings_.trace) trace.transfer(cycle, n, die, Trace::DATA_IN);                           \
    }                                                                                                \
    if (top_->array___05F##n##___05Freg_read) {                                                       \
        const uint32_t die = top_->array___05F##n##___05Freg_die;                                      \
        nand_.answer[n] = nand_.read_register(n, die, top_->array___05F##n##___05Freg_plane,           \
                                              top_->array___05F##n##___05Freg_column);                 \
        moved_ = true;                                                                               \
        if (settings_.trace) trace.transfer(cycle, n, die, Trace::DATA_OUT);                          \
    }
        FOR_EACH_CHANNEL(SERVE)
#undef SERVE
#endif
#undef TAKE
        status.trace_events = trace.events.size();
    }

    void drive(uint64_t until) {
        const uint64_t next = status.cycle;
        const bool busy = !memories_idle();
        // The memories only need driving while something is on its way, and once more to say so.
        if (busy || !driven_idle_) drive_memories(next);
        driven_idle_ = !busy;
#ifndef PAGE_MEMORY
#define ANSWER(n)                                                                                    \
    top_->array___05F##n##___05Freg_r_data = nand_.answer[n];                                          \
    top_->array___05F##n##___05Fop_failed = nand_.failed[n];
        FOR_EACH_CHANNEL(ANSWER)
#undef ANSWER
#endif
        // An answer taken in this very clock may still wake the drive.
        const bool still = status.quiet && !busy && !moved_ && !irq_;
        const bool no_timer = status.next_event == NO_TIMER;
        const bool may_skip = no_timer ? !ends_stuck_ : status.next_event > SKIP_MARGIN;
        resting_ = still && no_timer ? resting_ + 1 : 0;
        uint64_t skip = 0;
        // After a skip the timers seen before it mean nothing.
        if (still && may_skip && !skipping_ && settings_.skip_idle && until > next + 1) {
            skip = no_timer ? NO_TIMER - SKIP_MARGIN : status.next_event - SKIP_MARGIN;
            if (skip > until - next - 1) skip = until - next - 1;
        }
        top_->skip = skipping_ = uint32_t(skip);
    }

    void drive_memories(uint64_t cycle) {
#define SHOW(port, memory)                                                                         \
    top_->port##___05Far___05Fready = memory.takes_read();                                            \
    top_->port##___05Faw___05Fready = memory.takes_write();                                           \
    top_->port##___05Fw___05Fready = memory.takes_write_data();                                       \
    top_->port##___05Fr___05Fvalid = memory.shows_beat(cycle);                                        \
    if (memory.shows_beat(cycle)) {                                                                 \
        const Beat beat = memory.beat();                                                            \
        set_field<R_DATA>(top_->port##___05Fr___05Fpayload, beat.data);                               \
        set_field<R_LAST>(top_->port##___05Fr___05Fpayload, beat.last);                               \
        set_field<R_ERROR>(top_->port##___05Fr___05Fpayload, beat.error);                             \
    }                                                                                              \
    top_->port##___05Fb___05Fvalid = memory.shows_response(cycle);                                    \
    if (memory.shows_response(cycle))                                                               \
        set_field<B_ERROR>(top_->port##___05Fb___05Fpayload, memory.response_error());
        SHOW(host, host_)
        SHOW(dram, dram_)
#ifdef PAGE_MEMORY
#define SHOW_PAGES(n) SHOW(pages___05F##n, pages_[n])
        FOR_EACH_CHANNEL(SHOW_PAGES)
#undef SHOW_PAGES
#endif
#undef SHOW
    }

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vtop> top_;
    LaneSettings settings_;
    Memory host_, dram_;
    std::vector<Memory> pages_;  // one behind each channel's port, on the same cells
    Nand nand_;
    bool driven_idle_ = false;
    bool ends_stuck_ = false;
    bool moved_ = false;  // something was under way when this clock began
    bool irq_ = false;
    uint32_t skipping_ = 0;  // what `skip` is in the clock that comes
    int resting_ = 0;
};

extern "C" {
Lane* lane_new(const LaneSettings* settings, uint8_t* host, uint8_t* dram, const NandView* nand,
               BusSink sink) {
    return new Lane(*settings, host, dram, *nand, sink);
}
void lane_delete(Lane* lane) { delete lane; }
LaneStatus* lane_status(Lane* lane) { return &lane->status; }
uint32_t lane_run(Lane* lane, uint32_t stop, uint64_t until, uint64_t evaluations) {
    return lane->run(stop, until, evaluations);
}
uint32_t lane_csr_read(Lane* lane, uint32_t address) { return lane->csr_read(address); }
void lane_csr_write(Lane* lane, uint32_t address, uint32_t value) { lane->csr_write(address, value); }
void lane_spoil_pages(Lane* lane, uint64_t first, uint64_t last) { lane->spoil_pages(first, last); }
const char* lane_violation(Lane* lane) { return lane->violation(); }
const TraceEvent* lane_trace(Lane* lane) { return lane->trace.events.data(); }
void lane_trace_clear(Lane* lane) {
    lane->trace.clear();
    lane->status.trace_events = 0;
}
void lane_bus_flush(Lane* lane) { lane->buses.flush(); }
}
