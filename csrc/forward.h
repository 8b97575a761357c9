// The time loop of the forward pass, for every cell.
#pragma once

#include "cells.h"
#include "threads.h"

namespace {

// Rows whose input is projected in one go, so that W_ih is read once for all of them: with fewer than 8 entries, and from 8 on.
constexpr i64 rows_projected_few = 64, rows_projected_many = 256, many_entries = 8;

template <class T, class C>
struct ForwardScratch {
    static constexpr i64 L = Simd<T>::lanes, width = C::units * L, thread_gap = thread_gap_bytes / sizeof(T);
    i64 panels, padded_H, h_ld, GH, steps_projected = 0;
    std::size_t packed_bytes;
    T *weights, *bias, *h[2], *c, *zeros, *x_weights;
    T* projected = nullptr;  // W_ih x of the next steps_projected steps; null where each step computes its own
    ThreadSlot* slots;

    ForwardScratch(const ForwardArgs<T>& args, char* base, std::size_t& bytes, int parts) {
        BumpAllocator memory{base};
        panels = (args.H + width - 1) / width;
        padded_H = panels * width;
        h_ld = padded_H + 16;
        GH = C::G * args.H;
        // What depends on the weights alone comes first: PackedLayers keeps it between calls.
        BumpAllocator packed{args.packed_weights ? static_cast<char*>(args.packed_weights) : base};
        weights = packed.allocate<T>(panels * args.H * C::NV * L);
        bias = packed.allocate<T>((C::G + 1) * padded_H);
        x_weights = packed.allocate<T>(args.W_ih ? panels * args.I * C::NV * L : 0);
        packed_bytes = packed.used;
        if (!args.packed_weights) memory.used = packed.used;
        for (T*& buffer : h) buffer = memory.allocate<T>(args.B * h_ld + parts * thread_gap);
        c = memory.allocate<T>(C::has_cell_state ? args.B * padded_H + parts * thread_gap : 0);
        zeros = memory.allocate<T>(padded_H);
        const bool both_weights_cached = double(GH) * double(args.I + args.H) * sizeof(T) <= 2 * cached_weight_bytes;
        const bool project_each_step = args.B >= many_entries && both_weights_cached;
        // In a ragged batch that is split by entries, the rows of one part are not contiguous over several steps.
        const bool rows_are_contiguous = parts == 1 || splits_hidden_units(args, C::G) || !args.batch_sizes;
        if (args.x && args.T_ > 1 && !project_each_step && rows_are_contiguous) {
            const i64 rows_projected = args.B < many_entries ? rows_projected_few : rows_projected_many;
            steps_projected = min(args.T_, max(1, rows_projected / args.B));
            projected = memory.allocate<T>(steps_projected * args.B * panels * C::NV * L);
        }
        slots = memory.allocate<ThreadSlot>(parts);
        bytes = memory.used;
    }
};

// Packs the weights and biases of some of the panels.
template <class T, class C>
void pack_forward(const ForwardArgs<T>& args, const ForwardScratch<T, C>& scratch, Range panels) {
    constexpr i64 L = Simd<T>::lanes, width = C::units * L;
    const i64 H = args.H, I = args.I;
    for (i64 p = panels.lo; p < panels.hi; ++p) {
        i64 first[C::NV], count[C::NV];
        for (int v = 0; v < C::NV; ++v) {
            const i64 j = p * width + (C::G == 1 ? v * L : 0);
            first[v] = (C::G == 1 ? 0 : v * H) + j;
            count[v] = H - j < 0 ? 0 : (H - j < L ? H - j : L);
        }
        pack_panel_transposed<T, C::NV>(args.W_hh, H, H, first, count, scratch.weights + p * H * C::NV * L);
        if (args.W_ih)
            pack_panel_transposed<T, C::NV>(args.W_ih, I, I, first, count, scratch.x_weights + p * I * C::NV * L);
        for (i64 j = p * width; j < (p + 1) * width; ++j)
            for (int g = 0; g <= C::G; ++g) {
                T b = 0;
                if (j < H && args.b_ih) {
                    if (g < C::G) b = args.b_ih[g * H + j] + (C::has_hidden_n && g == C::G - 1 ? T(0) : args.b_hh[g * H + j]);
                    if (g == C::G && C::has_hidden_n) b = args.b_hh[(C::G - 1) * H + j];
                }
                scratch.bias[g * scratch.padded_H + j] = b;
            }
    }
}

// The entries and panels of one part: with split_hidden all entries and a range of the panels, otherwise a range of the entries
// and all panels.
template <class T, class C>
struct ForwardPart {
    Range entries, panels;
    i64 col0, col1;
    T *h[2], *c;
    T* projected;  // of the panels: one after the other, the rows of a panel ordered by `slot`

    ForwardPart(const ForwardArgs<T>& args, const ForwardScratch<T, C>& scratch, int part, int parts, bool split_hidden) {
        using S = ForwardScratch<T, C>;
        entries = split_hidden ? Range{0, args.B} : split_batch(args, part, parts);
        panels = split_hidden ? split(scratch.panels, part, parts) : Range{0, scratch.panels};
        col0 = min(panels.lo * S::width, args.H), col1 = min(panels.hi * S::width, args.H);
        const i64 offset = split_hidden ? 0 : part * S::thread_gap;
        h[0] = scratch.h[0] + offset, h[1] = scratch.h[1] + offset;
        c = C::has_cell_state ? scratch.c + offset : nullptr;
        projected = scratch.projected ? scratch.projected + (entries.lo * scratch.steps_projected * scratch.panels +
                                                             panels.lo * scratch.steps_projected * entries.size()) *
                                                                C::NV * S::L
                                      : nullptr;
    }
};

template <class T, class C>
void initialize_forward(const ForwardArgs<T>& args, const ForwardScratch<T, C>& scratch, int part, int parts,
                        bool split_hidden) {
    if (!args.packed_weights) pack_forward<T, C>(args, scratch, split(scratch.panels, part, parts));
    const ForwardPart<T, C> own(args, scratch, part, parts, split_hidden);
    const i64 H = args.H;
    if (C::has_cell_state)
        for (i64 b = own.entries.lo; b < own.entries.hi; ++b) {
            T* const c = own.c + b * scratch.padded_H + own.col0;
            if (args.c_0)
                std::memcpy(c, args.c_0 + b * H + own.col0, sizeof(T) * (own.col1 - own.col0));
            else
                std::memset(c, 0, sizeof(T) * (own.col1 - own.col0));
        }
    // A dense batch reads h_0 in place. In a ragged batch in reverse, entries start at different steps, so h_0 is copied.
    if (args.batch_sizes) {
        const Range copied = split_hidden ? split(args.B, part, parts) : own.entries;
        for (i64 b = copied.lo; b < copied.hi; ++b)
            for (T* buffer : own.h) {
                if (args.h_0)
                    std::memcpy(buffer + b * scratch.h_ld, args.h_0 + b * H, sizeof(T) * H);
                else
                    std::memset(buffer + b * scratch.h_ld, 0, sizeof(T) * H);
            }
    }
    if (!args.h_0 && part == 0) std::memset(scratch.zeros, 0, sizeof(T) * scratch.padded_H);
}

// What one thread computes.
template <class T, class C>
void forward_thread(const ForwardArgs<T>& args, const ForwardScratch<T, C>& scratch, Thread& thread, bool split_hidden) {
    using S = ForwardScratch<T, C>;
    constexpr i64 L = S::L, width = S::width, panel_row = C::NV * L;
    const i64 H = args.H, I = args.I;
    const int parts = thread.parts();
    thread.each_part([&](int part) { initialize_forward<T, C>(args, scratch, part, parts, split_hidden); });
    if ((!args.packed_weights || !args.h_0) && !thread.barrier()) return;
    alignas(64) T hidden_products[accumulators * L], input_products[accumulators * L];

    using Part = ForwardPart<T, C>;
    i64 projected_lo = 0;  // the first of the projected steps
    const auto slot = [&](const Part& own, i64 t, i64 b) {
        if (args.batch_sizes) return args.row(t, b) - args.row(projected_lo, 0);
        return (t - projected_lo) * own.entries.size() + b - own.entries.lo;
    };
    const auto projected_panel = [&](const Part& own, i64 p) {
        return own.projected + (p - own.panels.lo) * scratch.steps_projected * own.entries.size() * panel_row;
    };
    const auto project_rows = [&](const Part& own, i64 p, i64 first_row, i64 stride, i64 rows, i64 first_slot,
                                  i64 slot_stride) {
        T* const projected = projected_panel(own, p);
        for_row_tiles<T, C::NV>(0, rows, [&](i64 first, i64 tile_rows, TileFn<T> tile_fn) {
            tile_fn(I, args.x + (first_row + first * stride) * I, stride * I, scratch.x_weights + p * I * panel_row,
                    input_products);
            for (i64 i = 0; i < tile_rows; ++i)
                std::memcpy(projected + (first_slot + (first + i) * slot_stride) * panel_row, input_products + i * panel_row,
                            sizeof(T) * panel_row);
        });
    };
    // Projects the longest runs of equidistant rows: all rows, or those of an entry, or those of a step.
    const auto project_steps = [&](const Part& own, i64 p, i64 steps) {
        const i64 lo = own.entries.lo, hi = own.entries.hi, size = own.entries.size(), end = projected_lo + steps - 1;
        if (args.batch_sizes || (size == args.B && args.batch_stride == 1))
            project_rows(own, p, args.row(projected_lo, 0), 1, args.row(end, args.entries(end)) - args.row(projected_lo, 0), 0, 1);
        else if (steps >= size)
            for (i64 b = lo; b < hi; ++b)
                project_rows(own, p, args.row(projected_lo, b), args.time_stride, steps, slot(own, projected_lo, b), size);
        else
            for (i64 t = projected_lo; t <= end; ++t)
                project_rows(own, p, args.row(t, lo), args.batch_stride, size, slot(own, t, lo), 1);
    };

    const auto run_step = [&](const Part& own, i64 step) {
        const i64 t = args.reverse ? args.T_ - 1 - step : step;
        const Range panels = own.panels;
        const i64 lo = own.entries.lo, hi = min(own.entries.hi, args.entries(t));
        const bool state_in_scratch = step || args.batch_sizes;
        const T* before = state_in_scratch ? own.h[step & 1] : args.h_0 ? args.h_0 : scratch.zeros;
        const i64 before_ld = state_in_scratch ? scratch.h_ld : args.h_0 ? H : 0;
        T* after = own.h[(step + 1) & 1];
        T *const c = own.c, *const projected = own.projected;
        if (projected && step % scratch.steps_projected == 0) {
            const i64 steps = min(scratch.steps_projected, args.T_ - step);
            projected_lo = args.reverse ? t - steps + 1 : t;
            for (i64 p = panels.lo; p < panels.hi; ++p) project_steps(own, p, steps);
        }
        for (i64 k = panels.lo; k < panels.hi; ++k) {
            // Every other step goes through the panels in reverse order: the ones it read last are still in the L1 cache.
            const i64 p = (step ^ args.odd_step) & 1 ? panels.hi - 1 - (k - panels.lo) : k;
            const T* weights = scratch.weights + p * H * panel_row;
            const i64 j = p * width;
            const bool full = j + width <= H;
            for_row_tiles<T, C::NV>(lo, hi, [&](i64 first, i64 tile_rows, TileFn<T> tile_fn) {
                tile_fn(H, before + first * before_ld, before_ld, weights, hidden_products);
                // W_ih x: projected before, or computed now from rows batch_stride apart, or looked up in the table.
                if (args.x && !projected)
                    tile_fn(I, args.x + args.row(t, first) * I, args.batch_stride * I, scratch.x_weights + p * I * panel_row,
                            input_products);
                for (i64 i = 0; i < tile_rows; ++i) {
                    const i64 b = first + i, row = args.row(t, b);
                    const T* x = projected ? projected_panel(own, p) + slot(own, t, b) * panel_row - j
                                 : args.x  ? input_products + i * panel_row - j
                                           : args.table + args.ids[row] * scratch.GH;
                    const RowForward<T> r{.hidden_products = hidden_products + i * panel_row,
                                          .input_products = x,
                                          .input_stride = args.x ? L : H,
                                          .bias = scratch.bias,
                                          .h_before = before + b * before_ld,
                                          .h = after + b * scratch.h_ld,
                                          .c = C::has_cell_state ? c + b * scratch.padded_H : nullptr,
                                          .out = args.out + row * args.out_ld,
                                          .gates = args.gates ? args.gates + row * scratch.GH : nullptr,
                                          .cell_states = args.cell_states ? args.cell_states + row * H : nullptr,
                                          .hidden_n = args.hidden_n ? args.hidden_n + row * H : nullptr,
                                          .H = H,
                                          .padded_H = scratch.padded_H};
                    if (full)
                        C::template forward<true>(r, j);
                    else
                        C::template forward<false>(r, j);
                }
            });
        }
        const bool last = step == args.T_ - 1;
        const i64 continuing = last ? 0 : args.entries(args.reverse ? t - 1 : t + 1), columns = own.col1 - own.col0;
        for (i64 b = max(lo, continuing); b < hi; ++b)
            std::memcpy(args.h_n + b * H + own.col0, after + b * scratch.h_ld + own.col0, sizeof(T) * columns);
        if (C::has_cell_state && last)
            for (i64 b = lo; b < own.entries.hi; ++b)
                std::memcpy(args.c_n + b * H + own.col0, c + b * scratch.padded_H + own.col0, sizeof(T) * columns);
    };
    if (!split_hidden)
        return thread.each_part([&](int part) {
            const Part own(args, scratch, part, parts, false);
            thread.count_work(args, own.entries.lo, own.entries.hi);
            for (i64 step = 0; step < args.T_; ++step) run_step(own, step);
        });
    for (i64 step = 0; step < args.T_; ++step) {
        // as the panels of a part, so that those read last are still cached
        const bool reversed = (step ^ args.odd_step) & 1;
        thread.each_part([&](int part) { run_step(Part(args, scratch, part, parts, true), step); }, reversed);
        if (step + 1 < args.T_ && !thread.barrier()) return;
    }
}

template <class T, class C>
void forward(const ForwardArgs<T>& args, AllocateScratch allocate) {
    std::size_t bytes = 0;
    const bool split_hidden = splits_hidden_units(args, C::G);
    const i64 panels = (args.H + ForwardScratch<T, C>::width - 1) / ForwardScratch<T, C>::width;
    const int parts = part_count(args, C::G, panels);
    // The first construction, without memory, computes only `bytes`.
    const ForwardScratch<T, C> measure(args, nullptr, bytes, parts);
    const ForwardScratch<T, C> scratch(args, static_cast<char*>(allocate(bytes)), bytes, parts);
    run_threads(scratch.slots, parts,
                [&](Thread& thread) { forward_thread<T, C>(args, scratch, thread, split_hidden && parts > 1); });
}

// Packs the weights of a layer for many calls; returns the bytes needed, and only that if destination is null.
template <class T, class C>
std::size_t pack(const ForwardArgs<T>& args, void* destination) {
    std::size_t bytes = 0;
    const ForwardScratch<T, C> scratch(args, static_cast<char*>(destination), bytes, 1);
    if (destination) pack_forward<T, C>(args, scratch, {0, scratch.panels});
    return scratch.packed_bytes;
}

}  // namespace
