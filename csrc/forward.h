// The time loop of the forward pass, for every cell C and every format F of its weights.
#pragma once

#include "cells.h"
#include "threads.h"
#include "weight_formats.h"

namespace {

// Rows whose input is projected in one go, so that W_ih is read once for all of them: with fewer than 8 entries, and from 8 on.
constexpr i64 rows_projected_few = 64, rows_projected_many = 256, many_entries = 8;

// Whether the threads split the hidden units.
template <class F, class C>
bool splits_forward(const ForwardArgs<typename F::Number>& args) {
    return splits_hidden_units(args, C::G, double(F::template panel_size<1>(64)) * sizeof(typename F::Weight) /
                                               (64 * Simd<typename F::Number>::lanes));
}

template <class F, class C>
struct ForwardScratch {
    using T = typename F::Number;
    using Weight = typename F::Weight;
    using Row = typename F::Row;
    static constexpr i64 L = Simd<T>::lanes, width = C::units * L, thread_gap = thread_gap_bytes / sizeof(T);
    i64 panels, padded_H, h_ld, GH, steps_projected = 0;
    std::size_t packed_bytes;
    Weight *weights, *x_weights;
    T *bias, *h[2], *c, *zeros;
    i64 state_space = 0, input_space = 0;  // of one part
    Row *states = nullptr, *inputs = nullptr;  // rows that are prepared for products
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
        weights = packed.allocate<Weight>(panels * F::template panel_size<C::NV>(args.H));
        bias = packed.allocate<T>((C::G + 1) * padded_H);
        x_weights = packed.allocate<Weight>(args.W_ih ? panels * F::template panel_size<C::NV>(args.I) : 0);
        packed_bytes = packed.used;
        if (!args.packed_weights) memory.used = packed.used;
        for (T*& buffer : h) buffer = memory.allocate<T>(args.B * h_ld + parts * thread_gap);
        c = memory.allocate<T>(C::has_cell_state ? args.B * padded_H + parts * thread_gap : 0);
        zeros = memory.allocate<T>(padded_H);
        const bool both_weights_cached = double(GH) * double(args.I + args.H) * sizeof(T) <= 2 * cached_weight_bytes;
        const bool project_each_step = args.B >= many_entries && both_weights_cached;
        // In a ragged batch that is split by entries, the rows of one part are not contiguous over several steps.
        const bool split_hidden = parts > 1 && splits_forward<F, C>(args);
        const bool rows_are_contiguous = parts == 1 || split_hidden || !args.batch_sizes;
        if (args.x && args.T_ > 1 && !project_each_step && rows_are_contiguous) {
            const i64 rows_projected = args.B < many_entries ? rows_projected_few : rows_projected_many;
            steps_projected = min(args.T_, max(1, rows_projected / args.B));
            projected = memory.allocate<T>(steps_projected * args.B * panels * C::NV * L);
        }
        if constexpr (F::prepares_rows) {  // by each part for itself: all entries, if parts split the hidden units
            const i64 copies = split_hidden ? parts : 1;
            state_space = args.B * F::row_size(args.H);
            input_space = args.x ? max(steps_projected, 1) * args.B * F::row_size(args.I) : 0;
            states = memory.allocate<Row>(copies * state_space + parts * thread_gap_bytes);
            inputs = memory.allocate<Row>(copies * input_space + parts * thread_gap_bytes);
        }
        slots = memory.allocate<ThreadSlot>(parts);
        bytes = memory.used;
    }
};

// Packs the weights and biases of some of the panels.
template <class F, class C>
void pack_forward(const ForwardArgs<typename F::Number>& args, const ForwardScratch<F, C>& scratch, Range panels) {
    using T = typename F::Number;
    constexpr i64 L = Simd<T>::lanes, width = C::units * L;
    const i64 H = args.H, I = args.I;
    for (i64 p = panels.lo; p < panels.hi; ++p) {
        i64 first[C::NV], count[C::NV];
        for (int v = 0; v < C::NV; ++v) {
            const i64 j = p * width + (C::G == 1 ? v * L : 0);
            first[v] = (C::G == 1 ? 0 : v * H) + j;
            count[v] = H - j < 0 ? 0 : (H - j < L ? H - j : L);
        }
        F::template pack_panel<C::NV>(args.W_hh, H, first, count, scratch.weights + p * F::template panel_size<C::NV>(H));
        if (args.W_ih)
            F::template pack_panel<C::NV>(args.W_ih, I, first, count, scratch.x_weights + p * F::template panel_size<C::NV>(I));
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
template <class F, class C>
struct ForwardPart {
    using T = typename F::Number;
    using Row = typename F::Row;
    Range entries, panels;
    i64 col0, col1;
    T *h[2], *c;
    T* projected;  // of the panels: one after the other, the rows of a panel ordered by `slot`
    Row *states, *inputs;

    ForwardPart(const ForwardArgs<T>& args, const ForwardScratch<F, C>& scratch, int part, int parts, bool split_hidden) {
        using S = ForwardScratch<F, C>;
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
        const auto space_of = [&](Row* rows, i64 space) {
            const i64 first = split_hidden ? part * space : entries.lo * (space / args.B);
            return F::prepares_rows ? rows + first + part * thread_gap_bytes : nullptr;
        };
        states = space_of(scratch.states, scratch.state_space), inputs = space_of(scratch.inputs, scratch.input_space);
    }
};

template <class F, class C>
void initialize_forward(const ForwardArgs<typename F::Number>& args, const ForwardScratch<F, C>& scratch, int part, int parts,
                        bool split_hidden) {
    using T = typename F::Number;
    if (!args.packed_weights) pack_forward<F, C>(args, scratch, split(scratch.panels, part, parts));
    const ForwardPart<F, C> own(args, scratch, part, parts, split_hidden);
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
template <class F, class C>
void forward_thread(const ForwardArgs<typename F::Number>& args, const ForwardScratch<F, C>& scratch, Thread& thread,
                    bool split_hidden) {
    using S = ForwardScratch<F, C>;
    using T = typename F::Number;
    using Rows = RowSpan<typename F::Row>;
    constexpr i64 L = S::L, width = S::width, panel_row = C::NV * L;
    const i64 H = args.H, I = args.I;
    const int parts = thread.parts();
    thread.each_part([&](int part) { initialize_forward<F, C>(args, scratch, part, parts, split_hidden); });
    if ((!args.packed_weights || !args.h_0 || args.batch_sizes) && !thread.barrier()) return;
    alignas(64) T hidden_products[accumulators * L], input_products[accumulators * L];

    using Part = ForwardPart<F, C>;
    i64 projected_lo = 0;  // the first of the projected steps
    const auto slot = [&](const Part& own, i64 t, i64 b) {
        if (args.batch_sizes) return args.row(t, b) - args.row(projected_lo, 0);
        return (t - projected_lo) * own.entries.size() + b - own.entries.lo;
    };
    const auto projected_panel = [&](const Part& own, i64 p) {
        return own.projected + (p - own.panels.lo) * scratch.steps_projected * own.entries.size() * panel_row;
    };
    const auto project_rows = [&](const Part& own, i64 p, Rows rows, i64 count, i64 first_slot, i64 slot_stride) {
        T* const projected = projected_panel(own, p);
        for_format_tiles<F, C::NV>(0, count, [&](i64 first, i64 tile_rows, FormatTile<F> tile_fn) {
            tile_fn(I, rows.at(first), rows.ld, scratch.x_weights + p * F::template panel_size<C::NV>(I), input_products);
            for (i64 i = 0; i < tile_rows; ++i)
                std::memcpy(projected + (first_slot + (first + i) * slot_stride) * panel_row, input_products + i * panel_row,
                            sizeof(T) * panel_row);
        });
    };
    // Projects all slots of rows that are prepared, or else the longest runs of equidistant rows: all rows, or those of an
    // entry, or those of a step.
    const auto project_steps = [&](const Part& own, i64 p, i64 steps) {
        const i64 lo = own.entries.lo, hi = own.entries.hi, size = own.entries.size(), end = projected_lo + steps - 1;
        const i64 count = args.batch_sizes ? args.row(end, args.entries(end)) - args.row(projected_lo, 0) : steps * size;
        if constexpr (F::prepares_rows) {
            project_rows(own, p, {own.inputs, F::row_size(I)}, count, 0, 1);
        } else {
            const auto rows_from = [&](i64 t, i64 b, i64 stride) { return Rows{args.x + args.row(t, b) * I, stride * I}; };
            if (args.batch_sizes || (size == args.B && args.batch_stride == 1))
                project_rows(own, p, rows_from(projected_lo, lo, 1), count, 0, 1);
            else if (steps >= size)
                for (i64 b = lo; b < hi; ++b)
                    project_rows(own, p, rows_from(projected_lo, b, args.time_stride), steps, slot(own, projected_lo, b), size);
            else
                for (i64 t = projected_lo; t <= end; ++t)
                    project_rows(own, p, rows_from(t, lo, args.batch_stride), size, slot(own, t, lo), 1);
        }
    };
    const auto prepare_inputs = [&](const Part& own, i64 steps) {
        if constexpr (F::prepares_rows)
            for (i64 t = projected_lo; t < projected_lo + steps; ++t)
                for (i64 b = own.entries.lo; b < min(own.entries.hi, args.entries(t)); ++b)
                    F::prepare_row(args.x + args.row(t, b) * I, I, own.inputs + slot(own, t, b) * F::row_size(I));
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
            prepare_inputs(own, steps);
            for (i64 p = panels.lo; p < panels.hi; ++p) project_steps(own, p, steps);
        }
        const Rows states = prepare_rows<F>({before + lo * before_ld, before_ld}, hi - lo, H, own.states);
        Rows inputs{};  // where each step projects its own
        if (args.x && !projected)
            inputs = prepare_rows<F>({args.x + args.row(t, lo) * I, args.batch_stride * I}, hi - lo, I, own.inputs);
        for (i64 k = panels.lo; k < panels.hi; ++k) {
            // Every other step goes through the panels in reverse order: the ones it read last are still in the L1 cache.
            const i64 p = (step ^ args.odd_step) & 1 ? panels.hi - 1 - (k - panels.lo) : k;
            const auto* weights = scratch.weights + p * F::template panel_size<C::NV>(H);
            const auto* x_weights = scratch.x_weights + p * F::template panel_size<C::NV>(I);
            const i64 j = p * width;
            const bool full = j + width <= H;
            for_format_tiles<F, C::NV>(lo, hi, [&](i64 first, i64 tile_rows, FormatTile<F> tile_fn) {
                tile_fn(H, states.at(first - lo), states.ld, weights, hidden_products);
                // W_ih x: projected before, or computed now, or looked up in the table.
                if (args.x && !projected) tile_fn(I, inputs.at(first - lo), inputs.ld, x_weights, input_products);
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

template <class F, class C>
void forward(const ForwardArgs<typename F::Number>& args, AllocateScratch allocate) {
    using S = ForwardScratch<F, C>;
    std::size_t bytes = 0;
    const bool split_hidden = splits_forward<F, C>(args);
    const int parts = part_count(args, split_hidden, C::G, (args.H + S::width - 1) / S::width);
    // The first construction, without memory, computes only `bytes`.
    const S measure(args, nullptr, bytes, parts);
    const S scratch(args, static_cast<char*>(allocate(bytes)), bytes, parts);
    run_threads(scratch.slots, parts,
                [&](Thread& thread) { forward_thread<F, C>(args, scratch, thread, split_hidden && parts > 1); });
}

// Packs the weights of a layer for many calls; returns the bytes needed, and only that if destination is null.
template <class F, class C>
std::size_t pack(const ForwardArgs<typename F::Number>& args, void* destination) {
    std::size_t bytes = 0;
    const ForwardScratch<F, C> scratch(args, static_cast<char*>(destination), bytes, 1);
    if (destination) pack_forward<F, C>(args, scratch, {0, scratch.panels});
    return scratch.packed_bytes;
}

}  // namespace
