// Fields of ports: Verilator makes a port an integer of 8 to 64 bits or, above, an array of 32-bit words.
#pragma once

#include <cstdint>
#include <verilated.h>

template <int LOW, int WIDTH, typename T>
static inline uint64_t field(const T& port) {
    static_assert(WIDTH <= 64, "a field is read as one word");
    return (uint64_t(port) >> LOW) & (~uint64_t(0) >> (64 - WIDTH));
}

template <int LOW, int WIDTH, std::size_t N>
static inline uint64_t field(const VlWide<N>& port) {
    static_assert(WIDTH <= 64, "a field is read as one word");
    constexpr int word = LOW / 32, shift = LOW % 32;
    uint64_t value = port[word] >> shift;
    if (shift + WIDTH > 32) value |= uint64_t(port[word + 1]) << (32 - shift);
    if (shift + WIDTH > 64) value |= uint64_t(port[word + 2]) << (64 - shift);
    return value & (~uint64_t(0) >> (64 - WIDTH));
}

template <int LOW, int WIDTH, typename T>
static inline void set_field(T& port, uint64_t value) {
    const uint64_t mask = (~uint64_t(0) >> (64 - WIDTH)) << LOW;
    port = T((uint64_t(port) & ~mask) | ((value << LOW) & mask));
}

template <int LOW, int WIDTH, std::size_t N>
static inline void set_field(VlWide<N>& port, uint64_t value) {
    for (int bit = 0; bit < WIDTH;) {
        const int word = (LOW + bit) / 32, shift = (LOW + bit) % 32;
        const int count = WIDTH - bit < 32 - shift ? WIDTH - bit : 32 - shift;
        const uint32_t mask = (~uint32_t(0) >> (32 - count)) << shift;
        port[word] = (port[word] & ~mask) | ((uint32_t(value >> bit) << shift) & mask);
        bit += count;
    }
}
