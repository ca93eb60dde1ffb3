// The stream lane: a Verilated component with streams as ports, fed from arrays and emptied into arrays.
//
// One clock: decide what each side offers, settle, see what is transferred, edge. Sources hold what
// they offer until it is taken; how often they pause, and how often sinks do, is a probability of
// each stream, drawn from a generator of its own, so that a seed repeats a run exactly.
//
// stream_glue.h is generated for each component: its streams, inputs first.

#include <cstdint>
#include <cstring>
#include <memory>

#include "Vtop.h"
#include "stream_glue.h"

namespace {

template <typename T>
inline void put(T& port, const uint32_t* words, int count) {
    uint64_t value = words[0];
    if (count > 1) value |= uint64_t(words[1]) << 32;
    port = T(value);
}
template <std::size_t N>
inline void put(VlWide<N>& port, const uint32_t* words, int) {
    for (std::size_t n = 0; n < N; n++) port[n] = words[n];
}
template <typename T>
inline void get(const T& port, uint32_t* words, int count) {
    words[0] = uint32_t(uint64_t(port));
    if (count > 1) words[1] = uint32_t(uint64_t(port) >> 32);
}
template <std::size_t N>
inline void get(const VlWide<N>& port, uint32_t* words, int) {
    for (std::size_t n = 0; n < N; n++) words[n] = port[n];
}

// xorshift64*: the upper byte of each draw.
struct Draw {
    uint64_t state;
    explicit Draw(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15ull | 1) {}
    uint8_t next() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return uint8_t((state * 0x2545F4914F6CDD1Dull) >> 56);
    }
};

}  // namespace

// The layout is that of `_Stream` in stream_lane.py.
struct Stream {
    uint32_t* words;    // [count][words of a payload]
    uint64_t count;     // payloads to send, or room for those received
    uint64_t moved;     // transfers
    uint64_t refused;   // clocks in which the other side made this one wait
    uint64_t first, last;  // clocks of the first and last transfer
    uint32_t pause;     // of 256 clocks, those in which nothing is offered or taken
    uint32_t spare;
};

extern "C" uint64_t streams_run(Stream* streams, uint64_t seed, uint64_t wanted, uint64_t limit) {
    std::unique_ptr<VerilatedContext> context(new VerilatedContext);
    std::unique_ptr<Vtop> top(new Vtop(context.get(), "top"));
    Draw draws[STREAMS] = {
#define DRAW(n, ...) Draw(seed * 131 + n + 1),
        FOR_EACH_INPUT(DRAW) FOR_EACH_OUTPUT(DRAW)
#undef DRAW
    };
    bool offers[STREAMS] = {};
    top->rst = 1;
    for (int n = 0; n < 4; n++) {
        top->clk = n & 1;
        top->eval();
    }
    top->rst = 0;

    uint64_t received = 0, cycle = 0;
    for (; cycle < limit && received < wanted; cycle++) {
        top->clk = 0;
#define OFFER(n, name, size)                                                                       \
    {                                                                                              \
        Stream& s = streams[n];                                                                     \
        if (!offers[n] && s.moved < s.count && draws[n].next() >= s.pause) {                         \
            offers[n] = true;                                                                       \
            put(top->name##___05Fpayload, s.words + s.moved * size, size);                           \
        }                                                                                          \
        top->name##___05Fvalid = offers[n];                                                         \
    }
        FOR_EACH_INPUT(OFFER)
#undef OFFER
#define ACCEPT(n, name, size) \
    top->name##___05Fready = offers[n] = streams[n].moved < streams[n].count && draws[n].next() >= streams[n].pause;
        FOR_EACH_OUTPUT(ACCEPT)
#undef ACCEPT
        top->eval();
#define MOVED(n)                                             \
    {                                                        \
        Stream& s = streams[n];                               \
        if (!s.moved++) s.first = cycle;                      \
        s.last = cycle;                                       \
    }
#define SENT(n, name, size)                \
    if (offers[n]) {                        \
        if (top->name##___05Fready) {       \
            MOVED(n)                        \
            offers[n] = false;              \
        } else                              \
            streams[n].refused++;           \
    }
        FOR_EACH_INPUT(SENT)
#undef SENT
#define RECEIVED(n, name, size)                                                              \
    if (offers[n]) {                                                                         \
        if (top->name##___05Fvalid) {                                                        \
            get(top->name##___05Fpayload, streams[n].words + streams[n].moved * size, size);   \
            MOVED(n)                                                                         \
            received++;                                                                      \
        } else                                                                               \
            streams[n].refused++;                                                            \
    }
        FOR_EACH_OUTPUT(RECEIVED)
#undef RECEIVED
        top->clk = 1;
        top->eval();
    }
    top->final();
    return cycle;
}
