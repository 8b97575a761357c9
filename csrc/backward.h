// The time loop of the backward pass, for every cell, and the large products over many of its steps.
#pragma once

#include "cells.h"
#include "gemm.h"
#include "threads.h"

namespace {

// Rows after which a thread computes the products over its latest steps, so that their gradients are still in the caches.
constexpr i64 rows_per_product = 256;

template <class T>
bool needs_products(const BackwardArgs<T>& args) {
    return args.d_x || args.d_W_ih || args.d_W_hh;
}

template <class T, class C>
struct BackwardScratch {
    static constexpr i64 L = Simd<T>::lanes;
    static constexpr int NV = 2;  // vectors in a panel of W_hh
    static constexpr i64 width = NV * L, thread_gap = thread_gap_bytes / sizeof(T);
    // *_ld: leading dimensions. slots: rows of the steps between two calls of gradient_products(), steps_per_product of them.
    i64 panels, padded_H, d_hidden_ld, GH, steps_per_product, slots, bias_ld, d_weights_ld;
    T *weights, *d_hidden_terms[2], *dh, *dc, *d_bias, *zeros, *gemm_space;
    T *d_input_terms, *d_hidden_n;  // (slots, G*H) and (slots, H), overwritten after each gradient_products(); d_input_terms
                                    // only if the caller passes no memory for it
    T* d_weights;                   // d_W_ih and d_W_hh of every part but the first, where parts split the batch
    const T** row_pointers;         // gradient_products(): five lists for each part
    ThreadSlot* thread_slots;

    BackwardScratch(const BackwardArgs<T>& args, char* base, std::size_t& bytes, int parts) {
        BumpAllocator memory{base};
        panels = (args.H + width - 1) / width;
        padded_H = panels * width;
        GH = C::G * args.H;
        d_hidden_ld = round_up(GH, 16) + 16;
        weights = memory.allocate<T>(panels * GH * width);
        for (T*& buffer : d_hidden_terms) buffer = memory.allocate<T>(args.B * d_hidden_ld + parts * thread_gap);
        dh = memory.allocate<T>(args.B * padded_H + parts * thread_gap);
        dc = memory.allocate<T>(C::has_cell_state ? args.B * padded_H + parts * thread_gap : 0);
        bias_ld = 2 * (C::G + 1) * padded_H + thread_gap;  // for each part the sum of all steps and that of one
        d_bias = memory.allocate<T>(parts * bias_ld);
        zeros = memory.allocate<T>(padded_H);
        const bool split_entries = parts > 1 && !splits_hidden_units(args, C::G);
        const i64 entries_per_part = split_entries ? (args.B + parts - 1) / parts : args.B;
        steps_per_product = min(args.T_, max(1, rows_per_product / entries_per_part));
        slots = steps_per_product * args.B;
        d_input_terms = memory.allocate<T>(args.d_input_terms ? 0 : slots * GH);
        d_hidden_n = memory.allocate<T>(C::has_hidden_n ? slots * args.H : 0);
        gemm_space = memory.allocate<T>(needs_products(args) ? parts * GemmBlocks<T>::space : 0);
        row_pointers = memory.allocate<const T*>(needs_products(args) ? parts * 5 * slots : 0);
        d_weights_ld = GH * ((args.d_W_ih ? args.I : 0) + (args.d_W_hh ? args.H : 0));
        d_weights = memory.allocate<T>(split_entries ? (parts - 1) * d_weights_ld : 0);
        thread_slots = memory.allocate<ThreadSlot>(parts);
        bytes = memory.used;
    }

    // The slot of a row, counting steps from the first one of the next products. The steps of an entry are adjacent, so that
    // threads write to memory far apart.
    i64 slot(i64 step, i64 b) const { return b * steps_per_product + step; }
    T* d_input_row(const BackwardArgs<T>& args, i64 slot, i64 row) const {
        return args.d_input_terms ? args.d_input_terms + row * GH : d_input_terms + slot * GH;
    }
    // The state entry b had before a step; t_before is the step it comes from.
    const T* state_before(const BackwardArgs<T>& args, i64 t_before, i64 b) const {
        if (t_before >= 0 && t_before < args.T_ && b < args.entries(t_before))
            return args.out + args.row(t_before, b) * args.out_ld;
        return args.h_0 ? args.h_0 + b * args.H : zeros;
    }
};

// What one part of a call is. Parts that split the entries compute partial weight gradients of their own rows, which are added at
// the end; parts that split the hidden units compute different rows of the weight gradients.
template <class T, class C>
struct BackwardPart {
    int index, count;
    bool split_hidden;
    Range entries, panels, units;
    T *d_hidden_terms[2], *dh, *dc, *d_bias, *d_W_ih, *d_W_hh, *gemm_space;
    const T** row_pointers;

    BackwardPart(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, int part, int parts, bool splits_hidden)
        : index(part), count(parts), split_hidden(splits_hidden) {
        using S = BackwardScratch<T, C>;
        entries = split_hidden ? Range{0, args.B} : split_batch(args, part, parts);
        panels = split_hidden ? split(scratch.panels, part, parts) : Range{0, scratch.panels};
        units = {min(panels.lo * S::width, args.H), min(panels.hi * S::width, args.H)};
        const i64 offset = split_hidden ? 0 : part * S::thread_gap;
        d_hidden_terms[0] = scratch.d_hidden_terms[0] + offset, d_hidden_terms[1] = scratch.d_hidden_terms[1] + offset;
        dh = scratch.dh + offset, dc = C::has_cell_state ? scratch.dc + offset : nullptr;
        d_bias = scratch.d_bias + part * scratch.bias_ld;
        const bool writes_results = split_hidden || part == 0;  // not partial gradients
        T* const partial = writes_results ? nullptr : scratch.d_weights + (part - 1) * scratch.d_weights_ld;
        d_W_ih = writes_results ? args.d_W_ih : partial;
        d_W_hh = writes_results ? args.d_W_hh : partial + (args.d_W_ih ? scratch.GH * args.I : 0);
        gemm_space = scratch.gemm_space + part * GemmBlocks<T>::space;
        row_pointers = scratch.row_pointers + 5 * scratch.slots * part;
    }
};

// Pointers to the rows of the latest steps, so that the products do not depend on the layout of the batch.
template <class T, class C>
struct ProductRows {
    const T **d_input, **d_hidden_n, **x, **h_before;
    T** d_x;
    i64 count = 0;

    ProductRows(const BackwardScratch<T, C>& scratch, const BackwardPart<T, C>& own) {
        d_input = own.row_pointers, d_hidden_n = d_input + scratch.slots, x = d_hidden_n + scratch.slots;
        h_before = x + scratch.slots, d_x = const_cast<T**>(h_before + scratch.slots);
    }
    ProductRows(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, const BackwardPart<T, C>& own, i64 first_step,
                i64 end_step)
        : ProductRows(scratch, own) {
        for (i64 step = first_step; step < end_step; ++step) {
            const i64 t = args.reverse ? step : args.T_ - 1 - step;
            for (i64 b = own.entries.lo; b < min(own.entries.hi, args.entries(t)); ++b, ++count) {
                const i64 row = args.row(t, b), slot = scratch.slot(step - first_step, b);
                d_input[count] = scratch.d_input_row(args, slot, row);
                d_hidden_n[count] = C::has_hidden_n ? scratch.d_hidden_n + slot * args.H : nullptr;
                x[count] = args.x ? args.x + row * args.I : nullptr;
                h_before[count] = scratch.state_before(args, args.reverse ? t + 1 : t - 1, b);
                d_x[count] = args.d_x ? args.d_x + row * args.I : nullptr;
            }
        }
    }
};

// Adds the gradients of the weights over the latest steps; `add` is false for the first ones.
template <class T, class C>
void weight_gradients(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, const BackwardPart<T, C>& own,
                      const ProductRows<T, C>& rows, bool add) {
    const i64 H = args.H, I = args.I, GH = scratch.GH;
    using In = Rows<const T>;
    using Out = Rows<T>;
    for (int g = 0; g < (own.split_hidden ? C::G : 1); ++g) {
        // Rows first .. first + count - 1 of the weights: the part's units of gate g, or all.
        const i64 first = own.split_hidden ? g * H + own.units.lo : 0, count = own.split_hidden ? own.units.size() : GH;
        if (args.d_W_ih)
            gemm<T, true>({count, I, rows.count, In::listed(rows.d_input, first), In::listed(rows.x),
                           Out::matrix(own.d_W_ih + first * I, I), add}, own.gemm_space);
        if (!args.d_W_hh) continue;
        // The gradient of the hidden terms is that of the input terms, except for the last gate of a cell with has_hidden_n.
        const i64 same = C::has_hidden_n ? max(0, min(first + count, GH - H) - first) : count;
        gemm<T, true>({same, H, rows.count, In::listed(rows.d_input, first), In::listed(rows.h_before),
                       Out::matrix(own.d_W_hh + first * H, H), add}, own.gemm_space);
        if (same < count)
            gemm<T, true>({count - same, H, rows.count, In::listed(rows.d_hidden_n, first + same - (GH - H)),
                           In::listed(rows.h_before), Out::matrix(own.d_W_hh + (first + same) * H, H), add}, own.gemm_space);
    }
}

// The gradients of the input of the latest `count` rows.
template <class T, class C>
void input_gradients(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, const BackwardPart<T, C>& own,
                     i64 count) {
    const ProductRows<T, C> rows(scratch, own);  // the pointers that weight_gradients() used
    const Range own_rows = own.split_hidden ? split(count, own.index, own.count) : Range{0, count};
    gemm<T, false>({own_rows.size(), args.I, scratch.GH, Rows<const T>::listed(rows.d_input + own_rows.lo),
                    Rows<const T>::matrix(args.W_ih, args.I), Rows<T>::listed(rows.d_x + own_rows.lo), args.add_d_x},
                   own.gemm_space);
}

// Adds the partial gradients of the other parts, `ld` numbers apart, to the `size` numbers of the first part's; each part adds
// some of the numbers.
template <class T>
void add_partial_gradients(T* total, const T* partial, i64 ld, i64 size, int part, int parts) {
    constexpr i64 cache_line = 64 / sizeof(T);
    const Range lines = split((size + cache_line - 1) / cache_line, part, parts);
    for (int other = 1; other < parts; ++other, partial += ld)
        for (i64 i = lines.lo * cache_line; i < min(lines.hi * cache_line, size); ++i) total[i] += partial[i];
}

template <class T, class C>
void initialize_backward(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, const BackwardPart<T, C>& own) {
    using S = BackwardScratch<T, C>;
    const i64 H = args.H, GH = scratch.GH;
    const Range packed = split(scratch.panels, own.index, own.count);
    for (i64 p = packed.lo; p < packed.hi; ++p)
        pack_panel<T>(args.W_hh, H, GH, H, p * S::width, S::width, scratch.weights + p * GH * S::width);
    const Range initialized = own.split_hidden ? split(args.B, own.index, own.count) : own.entries;
    const auto initialize = [&](T* d_state, const T* grad_state_n) {
        for (i64 b = initialized.lo; b < initialized.hi; ++b) {
            if (grad_state_n)
                std::memcpy(d_state + b * scratch.padded_H, grad_state_n + b * H, sizeof(T) * H);
            else
                std::memset(d_state + b * scratch.padded_H, 0, sizeof(T) * H);
        }
    };
    initialize(own.dh, args.grad_h_n);
    if (C::has_cell_state) initialize(own.dc, args.grad_c_n);
    std::memset(own.d_bias, 0, sizeof(T) * 2 * (C::G + 1) * scratch.padded_H);
    if (own.index == 0) std::memset(scratch.zeros, 0, sizeof(T) * scratch.padded_H);
}

// The gradients of one step's gates, from those of its state.
template <class T, class C>
void gate_gradients(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, const BackwardPart<T, C>& own, i64 step,
                    i64 first_step) {
    constexpr i64 L = Simd<T>::lanes;
    constexpr int bias_rows = C::G + 1;
    const i64 H = args.H, GH = scratch.GH, col0 = own.units.lo, col1 = own.units.hi;
    const i64 t = args.reverse ? step : args.T_ - 1 - step;
    const i64 t_before = args.reverse ? t + 1 : t - 1;  // the forward pass came from this step
    const i64 entries_before = t_before < 0 || t_before >= args.T_ ? 0 : args.entries(t_before);
    T* d_hidden = own.d_hidden_terms[own.split_hidden ? step & 1 : 0];
    T *const d_bias = own.d_bias, *const d_bias_of_step = d_bias + bias_rows * scratch.padded_H;
    for (i64 b = own.entries.lo; b < min(own.entries.hi, args.entries(t)); ++b) {
        const i64 row = args.row(t, b), slot = scratch.slot(step - first_step, b);
        const T* c_before = nullptr;
        if (C::has_cell_state)
            c_before = b < entries_before ? args.cell_states + args.row(t_before, b) * H
                                          : (args.c_0 ? args.c_0 + b * H : scratch.zeros);
        const RowBackward<T> r{.h_before = scratch.state_before(args, t_before, b),
                               .h = args.out + row * args.out_ld,
                               .gates = args.gates ? args.gates + row * GH : nullptr,
                               .cell_states = args.cell_states ? args.cell_states + row * H : nullptr,
                               .cell_states_before = c_before,
                               .hidden_n = args.hidden_n ? args.hidden_n + row * H : nullptr,
                               .grad_out = args.grad_out ? args.grad_out + row * args.grad_out_ld : nullptr,
                               .dh = own.dh + b * scratch.padded_H,
                               .dc = C::has_cell_state ? own.dc + b * scratch.padded_H : nullptr,
                               .d_input_terms = scratch.d_input_row(args, slot, row),
                               .d_hidden_n = C::has_hidden_n ? scratch.d_hidden_n + slot * H : nullptr,
                               .d_hidden_terms = d_hidden + b * scratch.d_hidden_ld,
                               .d_bias = d_bias_of_step,
                               .H = H,
                               .padded_H = scratch.padded_H};
        i64 j = col0;
        for (; j + L <= col1; j += L) C::template backward<true>(r, j, L);
        if (j < col1) C::template backward<false>(r, j, col1 - j);
    }
    // A sum of the steps' sums: its rounding error grows with the number of steps, not of rows.
    for (int g = 0; g < bias_rows; ++g)
        for (i64 j = col0; j < col1; j += L) {
            T *total = d_bias + g * scratch.padded_H + j, *of_step = d_bias_of_step + g * scratch.padded_H + j;
            store<T>(total, load<T>(total) + load<T>(of_step));
            store<T>(of_step, Vec<T>{});
        }
}

// The gradient of the state before a step, from those of all gates.
template <class T, class C>
void state_gradients(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, const BackwardPart<T, C>& own,
                     i64 step) {
    using S = BackwardScratch<T, C>;
    constexpr i64 L = S::L, width = S::width;
    const i64 GH = scratch.GH, t = args.reverse ? step : args.T_ - 1 - step;
    const T* d_hidden = own.d_hidden_terms[own.split_hidden ? step & 1 : 0];
    const Range panels = own.panels;
    alignas(64) T products[accumulators * L];
    for (i64 k = panels.lo; k < panels.hi; ++k) {
        const i64 p = step & 1 ? panels.hi - 1 - (k - panels.lo) : k;  // alternating order, as in the forward pass
        const T* weights = scratch.weights + p * GH * width;
        for_row_tiles<T, S::NV>(own.entries.lo, min(own.entries.hi, args.entries(t)),
                                [&](i64 first, i64 tile_rows, TileFn<T> tile_fn) {
            tile_fn(GH, d_hidden + first * scratch.d_hidden_ld, scratch.d_hidden_ld, weights, products);
            for (i64 i = 0; i < tile_rows; ++i) {
                T* d_state = own.dh + (first + i) * scratch.padded_H + p * width;
                for (int v = 0; v < S::NV; ++v) {
                    const Vec<T> d = load<T>(products + i * width + v * L);
                    store<T>(d_state + v * L, C::has_state_term ? load<T>(d_state + v * L) + d : d);
                }
            }
        });
    }
}

// Writes the gradients of the initial states.
template <class T, class C>
void store_state_gradients(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, const BackwardPart<T, C>& own) {
    const i64 H = args.H, col0 = own.units.lo, size = sizeof(T) * own.units.size();
    for (i64 b = own.entries.lo; b < own.entries.hi; ++b) {
        if (args.d_h_0) std::memcpy(args.d_h_0 + b * H + col0, own.dh + b * scratch.padded_H + col0, size);
        if (args.d_c_0) std::memcpy(args.d_c_0 + b * H + col0, own.dc + b * scratch.padded_H + col0, size);
    }
}

// Whether the products over many steps follow a step.
template <class T, class C>
bool ends_product(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, i64 step, i64 first_step) {
    return needs_products(args) && (step == args.T_ - 1 || step + 1 - first_step == scratch.steps_per_product);
}

// What one thread computes where parts split the entries.
template <class T, class C>
void backward_by_entries(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, Thread& thread) {
    const int parts = thread.parts();
    thread.each_part([&](int part) { initialize_backward<T, C>(args, scratch, {args, scratch, part, parts, false}); });
    if (!thread.barrier()) return;
    thread.each_part([&](int part) {
        const BackwardPart<T, C> own(args, scratch, part, parts, false);
        thread.count_work(args, own.entries.lo, own.entries.hi);
        i64 first_step = 0;  // of the next products
        for (i64 step = 0; step < args.T_; ++step) {
            gate_gradients<T, C>(args, scratch, own, step, first_step);
            if (step < args.T_ - 1 || args.d_h_0) state_gradients<T, C>(args, scratch, own, step);
            if (!ends_product(args, scratch, step, first_step)) continue;
            const ProductRows<T, C> rows(args, scratch, own, first_step, step + 1);
            weight_gradients<T, C>(args, scratch, own, rows, first_step > 0);
            if (args.d_x) input_gradients<T, C>(args, scratch, own, rows.count);
            first_step = step + 1;
        }
        store_state_gradients<T, C>(args, scratch, own);
    });
    if (parts == 1 || !(args.d_W_ih || args.d_W_hh) || !thread.barrier()) return;
    thread.each_part([&](int part) {
        const i64 d_W_ih_size = args.d_W_ih ? scratch.GH * args.I : 0, ld = scratch.d_weights_ld;
        if (args.d_W_ih) add_partial_gradients(args.d_W_ih, scratch.d_weights, ld, d_W_ih_size, part, parts);
        if (args.d_W_hh)
            add_partial_gradients(args.d_W_hh, scratch.d_weights + d_W_ih_size, ld, scratch.GH * args.H, part, parts);
    });
}

// What one thread computes where parts split the hidden units: each step needs what the others have computed.
template <class T, class C>
void backward_by_units(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, Thread& thread) {
    using Part = BackwardPart<T, C>;
    const int parts = thread.parts();
    const auto each_part = [&](auto&& run, bool reversed = false) {
        thread.each_part([&](int part) { run(Part(args, scratch, part, parts, true)); }, reversed);
    };
    each_part([&](const Part& own) { initialize_backward<T, C>(args, scratch, own); });
    if (!thread.barrier()) return;
    i64 first_step = 0;
    for (i64 step = 0; step < args.T_; ++step) {
        each_part([&](const Part& own) { gate_gradients<T, C>(args, scratch, own, step, first_step); });
        if (step < args.T_ - 1 || args.d_h_0) {
            if (!thread.barrier()) return;
            each_part([&](const Part& own) { state_gradients<T, C>(args, scratch, own, step); }, step & 1);
        }
        if (!ends_product(args, scratch, step, first_step)) continue;
        i64 rows_of_steps = 0;
        each_part([&](const Part& own) {
            const ProductRows<T, C> rows(args, scratch, own, first_step, step + 1);
            weight_gradients<T, C>(args, scratch, own, rows, first_step > 0);
            rows_of_steps = rows.count;
        });
        if (args.d_x) {
            if (!thread.barrier()) return;  // d_x needs the gradients of all units
            each_part([&](const Part& own) { input_gradients<T, C>(args, scratch, own, rows_of_steps); });
            if (!thread.barrier()) return;  // the slots are about to be overwritten
        }
        first_step = step + 1;
    }
    each_part([&](const Part& own) { store_state_gradients<T, C>(args, scratch, own); });
}

template <class T, class C>
void backward(const BackwardArgs<T>& args, AllocateScratch allocate) {
    std::size_t bytes = 0;
    const i64 panels = (args.H + BackwardScratch<T, C>::width - 1) / BackwardScratch<T, C>::width;
    const int parts = part_count(args, splits_hidden_units(args, C::G), C::G, panels);
    // The first construction, without memory, computes only `bytes`.
    const BackwardScratch<T, C> measure(args, nullptr, bytes, parts);
    const BackwardScratch<T, C> scratch(args, static_cast<char*>(allocate(bytes)), bytes, parts);
    const bool split_hidden = parts > 1 && splits_hidden_units(args, C::G);
    run_threads(scratch.thread_slots, parts, [&](Thread& thread) {
        split_hidden ? backward_by_units<T, C>(args, scratch, thread) : backward_by_entries<T, C>(args, scratch, thread);
    });
    const auto add_parts = [&](T* d_bias, int bias_row) {
        for (i64 j = 0; d_bias && j < args.H; ++j) {
            T sum = 0;
            for (int index = 0; index < parts; ++index)
                sum += scratch.d_bias[index * scratch.bias_ld + bias_row * scratch.padded_H + j];
            d_bias[j] = sum;
        }
    };
    for (int g = 0; g < C::G; ++g) {
        add_parts(args.d_b_ih ? args.d_b_ih + g * args.H : nullptr, g);
        add_parts(args.d_b_hh ? args.d_b_hh + g * args.H : nullptr, C::has_hidden_n && g == C::G - 1 ? C::G : g);
    }
}

}  // namespace
