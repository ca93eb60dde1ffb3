// The NAND array behind the dies, on the buffers of flash_model.array.NandArray: the same operations,
// in the same order within a clock (array operation, register write, register read).
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include "lane_glue.h"

// Carries out a page operation in Python; returns a mask of the planes that have failed, or RAISED.
using PageOperation = uint32_t (*)(uint32_t channel, uint32_t die, uint32_t op, uint32_t row,
                                   uint32_t plane, uint32_t planes, uint64_t clock, uint32_t clocks);
constexpr uint32_t RAISED = 0xFFFFFFFF;

// A program or erase that a power cut may find in progress, see flash_model/power_cut.py.
struct Pending {
    uint64_t op, row, begin, end, state;
};

// The layout is that of `NandView` in cosim/array_view.py.
struct NandView {
    uint8_t* cells;  // inverted
    uint8_t* programmed;
    uint32_t* erase_counts;
    uint32_t* read_counts;
    uint32_t* page_programs;
    uint32_t* page_reads;
    double* written_s;
    const double* now_s;
    uint8_t* registers;       // cache registers of each plane, the bus sees them
    uint8_t* data_registers;  // behind them
    uint32_t* noted;          // rows of multi-plane commands, of each plane
    uint8_t* factory_pages;   // two of each die
    uint8_t* retry_levels;    // of each die
    uint64_t* operations;  // reads, programs and erases of each die
    Pending* pending;      // the last two programs or erases of each plane, for a power cut
    uint8_t* undo;         // cells of their pages before them
    uint64_t stride, dies, planes, blocks, pages;
    PageOperation in_python;  // for an array with faults, otherwise null
};

class Nand : NandView {
public:
    enum Op : uint32_t { READ, PROGRAM, ERASE, CLEAR, READ_CACHE, READ_CACHE_END, FACTORY_PAGE, READ_RETRY, NOTE };

    explicit Nand(const NandView& view) : NandView(view) {}

    // `plane` moves in a cache read, the noted rows of the planes in `mask` take part in the operation;
    // the die takes so many `clocks` after this one over it.
    void operate(uint32_t channel, uint32_t die, uint32_t op, uint32_t row, uint32_t plane,
                 uint32_t mask, uint64_t clock, uint32_t clocks) {
        const uint64_t unit = locate(channel, die);
        if (op == CLEAR) memset(registers + unit * planes * stride, 0xFF, planes * stride);
        if (op == READ_CACHE_END) show(unit, plane);
        if (op == FACTORY_PAGE)
            memcpy(registers + unit * planes * stride, factory_pages + (unit * 2 + (row & 1)) * stride,
                   stride);
        if (op == READ_RETRY) retry_levels[unit] = row & 7;
        if (op == CLEAR || (op >= READ_CACHE_END && op != NOTE)) return;

        if (row >= blocks * pages) return fail("row", row, blocks * pages);
        if (op == NOTE) {
            noted[unit * planes + plane_of(row)] = row;
            return;
        }
        if (in_python) {
            const uint32_t outcome = in_python(channel, die, op, row, plane, mask, clock, clocks);
            if (outcome != RAISED)
                failed[channel] = outcome;
            else if (violation_.empty())
                violation_ = "flash array: its Python code has failed";
            return;
        }
        if (op == READ_CACHE)
            show(unit, plane);
        else
            for (uint64_t other = 0; other < planes; other++)
                if (mask >> other & 1) in_plane(unit, op, noted[unit * planes + other], clock, clocks);
        in_plane(unit, op, row, clock, clocks);
    }
    uint64_t read_register(uint32_t channel, uint32_t die, uint32_t plane, uint32_t column) {
        uint64_t data = 0;  // also beyond the end of the page
        const uint64_t unit = locate(channel, die);
        if (column + 8 <= stride) memcpy(&data, cache(unit, plane) + column, 8);
        return data;
    }
    void write_register(uint32_t channel, uint32_t die, uint32_t plane, uint32_t column,
                        uint64_t data) {
        const uint64_t unit = locate(channel, die);
        if (column + 8 > stride) return fail("register column", column, stride - 7);
        memcpy(cache(unit, plane) + column, &data, 8);
    }

    uint64_t answer[CHANNELS] = {};
    uint32_t failed[CHANNELS] = {};  // planes, in the operation of this clock
    const std::string& violation() const { return violation_; }

private:
    // A read, program or erase of one row.
    void in_plane(uint64_t unit, uint32_t op, uint32_t row, uint64_t clock, uint32_t clocks) {
        const uint64_t page = unit * blocks * pages + row, block = page / pages, plane = plane_of(row);
        uint64_t* counts = operations + unit * 3;
        uint8_t* cell = cells + page * stride;
        uint8_t* behind = data_registers + (unit * planes + plane) * stride;
        switch (op) {
        case READ:
        case READ_CACHE:
            for (uint64_t i = 0; i < stride; i++) behind[i] = uint8_t(~cell[i]);
            if (op == READ) show(unit, plane);
            read_counts[block]++;
            page_reads[page]++;
            counts[0]++;
            break;
        case PROGRAM:
            memcpy(note(unit, op, row, clock, clocks, programmed[page]), cell, stride);
            for (uint64_t i = 0; i < stride; i++) cell[i] |= uint8_t(~cache(unit, plane)[i]);
            if (programmed[page] == 0) programmed[page] = 1;
            page_programs[page]++;
            written_s[block] = *now_s;
            counts[1]++;
            break;
        case ERASE:
            note(unit, op, row, clock, clocks, 0);
            for (uint64_t other = block * pages; other < (block + 1) * pages; other++) {
                if (programmed[other]) memset(cells + other * stride, 0, stride);
                programmed[other] = 0;
            }
            memset(page_reads + block * pages, 0, pages * sizeof *page_reads);
            written_s[block] = 0;
            erase_counts[block]++;
            read_counts[block] = 0;
            counts[2]++;
            break;
        }
    }
    uint64_t plane_of(uint32_t row) const { return row / pages % planes; }
    uint8_t* cache(uint64_t unit, uint64_t plane) { return registers + (unit * planes + plane) * stride; }
    void show(uint64_t unit, uint64_t plane) {
        memcpy(cache(unit, plane), data_registers + (unit * planes + plane) * stride, stride);
    }
    // Returns where the cells before a program are kept.
    uint8_t* note(uint64_t unit, uint32_t op, uint32_t row, uint64_t clock, uint32_t clocks,
                  uint8_t state) {
        const uint64_t first = 2 * (unit * planes + plane_of(row));
        Pending* last = pending + first;
        const int older = last[1].end < last[0].end;
        last[older] = {op, row, clock + 1, clock + 1 + clocks, state};
        return undo + (first + older) * stride;
    }
    uint64_t locate(uint32_t channel, uint32_t die) {
        if (die >= dies) {
            fail("die", die, dies);
            die = 0;
        }
        return channel * dies + die;
    }
    void fail(const char* what, uint64_t value, uint64_t limit) {
        char text[120];
        snprintf(text, sizeof text, "flash array: %s %llu does not exist, there are %llu", what,
                 (unsigned long long)value, (unsigned long long)limit);
        if (violation_.empty()) violation_ = text;
    }

    std::string violation_;
};
