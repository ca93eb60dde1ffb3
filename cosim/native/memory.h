// Memory behind a memory port: in order, fixed latency, one beat a clock, several bursts in flight.
//
// sample() looks at the port just before a clock edge, drive() sets its inputs right after it:
//   - a burst whose address is taken in clock t shows its first beat in clock t + read_latency,
//   - write data land in the clock in which they are taken (their address at least a clock before),
//   - the response to a write shows write_latency clocks after its last data.
// Contents may be kept inverted, as those of flash_model.array.NandArray are.
// cosim/bfm.py (MemoryModel) keeps the same rules.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>

struct MemoryTiming {
    uint32_t read_latency, write_latency, outstanding;
};

struct Beat {
    uint64_t data;
    bool last, error;
};

class Memory {
public:
    Memory(const char* name, uint8_t* bytes, uint64_t base, uint64_t size, MemoryTiming timing,
           bool inverted = false)
        : name_(name), bytes_(bytes), base_(base), size_(size), timing_(timing),
          flips_(inverted ? ~uint64_t(0) : 0) {}

    // Before the edge: what was transferred in this clock.
    void take_read(uint64_t cycle, uint64_t address, uint32_t beats) {
        check(address, beats, "read");
        reads_.push_back({address, beats, 0, cycle + timing_.read_latency, !inside(address, beats)});
    }
    void take_write(uint64_t address, uint32_t beats) {
        check(address, beats, "write");
        writes_.push_back({address, beats, 0, 0, !inside(address, beats)});
    }
    void take_write_data(uint64_t cycle, uint64_t data, uint32_t strobe, bool last) {
        Burst& burst = writes_.front();
        if (last != (burst.done + 1 == burst.beats))
            fail("write burst of %llu beats at %llx: `last` is at the wrong beat", burst.beats,
                 burst.address);
        if (!burst.error) {
            uint8_t* to = bytes_ + (burst.address - base_) + 8 * burst.done;
            data ^= flips_;
            if (strobe == 0xFF) {
                memcpy(to, &data, 8);
            } else {
                for (int i = 0; i < 8; i++)
                    if (strobe >> i & 1) to[i] = uint8_t(data >> (8 * i));
            }
        }
        if (++burst.done == burst.beats) {
            burst.due = cycle + timing_.write_latency;
            responses_.push_back(burst);
            writes_.pop_front();
        }
    }
    void take_beat() {
        Burst& burst = reads_.front();
        if (++burst.done == burst.beats) reads_.pop_front();
    }
    void take_response() { responses_.pop_front(); }

    // After the edge: what to show in the clock that begins.
    bool takes_read() const { return reads_.size() < timing_.outstanding; }
    bool takes_write() const { return writes_.size() + responses_.size() < timing_.outstanding; }
    bool takes_write_data() const { return !writes_.empty(); }
    bool shows_beat(uint64_t cycle) const { return !reads_.empty() && reads_.front().due <= cycle; }
    Beat beat() const {
        const Burst& burst = reads_.front();
        uint64_t data = 0;
        if (!burst.error) {
            memcpy(&data, bytes_ + (burst.address - base_) + 8 * burst.done, 8);
            data ^= flips_;
        }
        return {data, burst.done + 1 == burst.beats, burst.error};
    }
    bool shows_response(uint64_t cycle) const {
        return !responses_.empty() && responses_.front().due <= cycle;
    }
    bool response_error() const { return responses_.front().error; }

    // Bursts that touch bytes from `first` on, `last` excluded, are answered with an error.
    void spoil(uint64_t first, uint64_t last) { bad_first_ = first, bad_last_ = last; }

    bool idle() const { return reads_.empty() && writes_.empty() && responses_.empty(); }
    const std::string& violation() const { return violation_; }

private:
    struct Burst {
        uint64_t address;
        uint32_t beats, done;
        uint64_t due;
        bool error;
    };

    bool inside(uint64_t address, uint32_t beats) const {
        const uint64_t bytes = 8ull * beats;
        return address >= base_ && address - base_ <= size_ && bytes <= size_ - (address - base_) &&
               !(address < bad_last_ && bad_first_ < address + bytes);
    }
    void check(uint64_t address, uint32_t beats, const char* what) {
        if (beats < 1 || beats > 256)
            fail("%llu beats at %llx: a burst has 1..256", beats, address, what);
        if (address % 8) fail("burst of %llu beats at %llx: not 8-byte aligned", beats, address, what);
        if (address % 4096 + 8 * beats > 4096)
            fail("burst of %llu beats at %llx crosses 4096 bytes", beats, address, what);
    }
    void fail(const char* format, unsigned long long a, unsigned long long b, const char* what = "") {
        char text[160];
        snprintf(text, sizeof text, format, a, b);
        if (violation_.empty()) violation_ = std::string(name_) + " " + what + ": " + text;
    }

    const char* name_;
    uint8_t* bytes_;
    uint64_t base_, size_;
    MemoryTiming timing_;
    uint64_t flips_;
    uint64_t bad_first_ = 0, bad_last_ = 0;
    std::deque<Burst> reads_, writes_, responses_;
    std::string violation_;
};
