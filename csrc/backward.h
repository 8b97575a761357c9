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
    T* d_weights;                   // d_W_ih and d_W_hh of every thread but the first, where threads split the batch
    const T** row_pointers;         // gradient_products(): five lists for each thread
    Thread::Arrivals* arrivals;

    BackwardScratch(const BackwardArgs<T>& args, char* base, std::size_t& bytes, int threads) {
        BumpAllocator memory{base};
        panels = (args.H + width - 1) / width;
        padded_H = panels * width;
        GH = C::G * args.H;
        d_hidden_ld = round_up(GH, 16) + 16;
        weights = memory.allocate<T>(panels * GH * width);
        for (T*& buffer : d_hidden_terms) buffer = memory.allocate<T>(args.B * d_hidden_ld + threads * thread_gap);
        dh = memory.allocate<T>(args.B * padded_H + threads * thread_gap);
        dc = memory.allocate<T>(C::has_cell_state ? args.B * padded_H + threads * thread_gap : 0);
        bias_ld = 2 * (C::G + 1) * padded_H + thread_gap;  // for each thread the sum of all steps and that of one
        d_bias = memory.allocate<T>(threads * bias_ld);
        zeros = memory.allocate<T>(padded_H);
        const bool split_entries = threads > 1 && !splits_hidden_units(args, C::G);
        const i64 entries_per_thread = split_entries ? (args.B + threads - 1) / threads : args.B;
        steps_per_product = min(args.T_, max(1, rows_per_product / entries_per_thread));
        slots = steps_per_product * args.B;
        d_input_terms = memory.allocate<T>(args.d_input_terms ? 0 : slots * GH);
        d_hidden_n = memory.allocate<T>(C::has_hidden_n ? slots * args.H : 0);
        gemm_space = memory.allocate<T>(needs_products(args) ? threads * GemmBlocks<T>::space : 0);
        row_pointers = memory.allocate<const T*>(needs_products(args) ? threads * 5 * slots : 0);
        d_weights_ld = GH * ((args.d_W_ih ? args.I : 0) + (args.d_W_hh ? args.H : 0));
        d_weights = memory.allocate<T>(split_entries ? (threads - 1) * d_weights_ld : 0);
        arrivals = memory.allocate<Thread::Arrivals>(threads);
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

// What one thread computes. Threads that split the entries compute partial weight gradients of their own rows, which are added
// at the end; threads that split the hidden units compute different rows of the weight gradients.
template <class T>
struct ThreadShare {
    bool split_hidden;
    Range entries, units;
    T *d_W_ih, *d_W_hh;
};

// Adds the gradients of the weights over the steps [first_step, end_step), and computes d_x of these steps.
template <class T, class C>
void gradient_products(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, const ThreadShare<T>& share,
                       const Thread& thread, i64 first_step, i64 end_step) {
    const bool add = first_step > 0;
    // A pointer to each row, so that the products do not depend on the layout of the batch.
    const T** d_input_rows = scratch.row_pointers + 5 * scratch.slots * thread.index;
    const T **d_hidden_n_rows = d_input_rows + scratch.slots, **x_rows = d_hidden_n_rows + scratch.slots;
    const T** h_before_rows = x_rows + scratch.slots;
    T** d_x_rows = const_cast<T**>(h_before_rows + scratch.slots);
    i64 rows = 0;
    for (i64 step = first_step; step < end_step; ++step) {
        const i64 t = args.reverse ? step : args.T_ - 1 - step;
        for (i64 b = share.entries.lo; b < min(share.entries.hi, args.entries(t)); ++b, ++rows) {
            const i64 row = args.row(t, b), slot = scratch.slot(step - first_step, b);
            d_input_rows[rows] = scratch.d_input_row(args, slot, row);
            d_hidden_n_rows[rows] = C::has_hidden_n ? scratch.d_hidden_n + slot * args.H : nullptr;
            x_rows[rows] = args.x ? args.x + row * args.I : nullptr;
            h_before_rows[rows] = scratch.state_before(args, args.reverse ? t + 1 : t - 1, b);
            d_x_rows[rows] = args.d_x ? args.d_x + row * args.I : nullptr;
        }
    }
    const i64 H = args.H, I = args.I, GH = scratch.GH;
    T* space = scratch.gemm_space + thread.index * GemmBlocks<T>::space;
    using In = Rows<const T>;
    using Out = Rows<T>;
    for (int g = 0; g < (share.split_hidden ? C::G : 1); ++g) {
        // Rows first .. first + count - 1 of the weights: the thread's units of gate g, or all.
        const i64 first = share.split_hidden ? g * H + share.units.lo : 0, count = share.split_hidden ? share.units.size() : GH;
        if (args.d_W_ih)
            gemm<T, true>({count, I, rows, In::listed(d_input_rows, first), In::listed(x_rows),
                           Out::matrix(share.d_W_ih + first * I, I), add}, space);
        if (!args.d_W_hh) continue;
        // The gradient of the hidden terms is that of the input terms, except for the last gate of a cell with has_hidden_n.
        const i64 same = C::has_hidden_n ? max(0, min(first + count, GH - H) - first) : count;
        gemm<T, true>({same, H, rows, In::listed(d_input_rows, first), In::listed(h_before_rows),
                       Out::matrix(share.d_W_hh + first * H, H), add}, space);
        if (same < count)
            gemm<T, true>({count - same, H, rows, In::listed(d_hidden_n_rows, first + same - (GH - H)),
                           In::listed(h_before_rows), Out::matrix(share.d_W_hh + (first + same) * H, H), add}, space);
    }
    if (!args.d_x) return;
    if (share.split_hidden) thread.barrier();  // d_x needs the gradients of all units
    const Range own_rows = share.split_hidden ? split(rows, thread.index, thread.count) : Range{0, rows};
    gemm<T, false>({own_rows.size(), I, GH, In::listed(d_input_rows + own_rows.lo), In::matrix(args.W_ih, I),
                    Out::listed(d_x_rows + own_rows.lo), args.add_d_x}, space);
    if (share.split_hidden) thread.barrier();  // the slots are about to be overwritten
}

// Adds the partial gradients of the other threads, `ld` numbers apart, to the `size` numbers of the first thread's; each thread
// adds a part of the numbers.
template <class T>
void add_partial_gradients(T* total, const T* partial, i64 ld, i64 size, const Thread& thread) {
    constexpr i64 cache_line = 64 / sizeof(T);
    const Range lines = split((size + cache_line - 1) / cache_line, thread.index, thread.count);
    for (int other = 1; other < thread.count; ++other, partial += ld)
        for (i64 i = lines.lo * cache_line; i < min(lines.hi * cache_line, size); ++i) total[i] += partial[i];
}

template <class T, class C>
void backward_thread(const BackwardArgs<T>& args, const BackwardScratch<T, C>& scratch, const Thread& thread,
                     bool split_hidden) {
    using S = BackwardScratch<T, C>;
    constexpr i64 L = S::L, width = S::width;
    constexpr int bias_rows = C::G + 1;
    const i64 H = args.H, GH = scratch.GH;
    const Range packed = split(scratch.panels, thread.index, thread.count);
    for (i64 p = packed.lo; p < packed.hi; ++p)
        pack_panel<T>(args.W_hh, H, GH, H, p * width, width, scratch.weights + p * GH * width);
    const Range entries = split_hidden ? Range{0, args.B} : split_batch(args, thread.index, thread.count);
    const i64 offset = split_hidden ? 0 : thread.index * S::thread_gap;
    T *const d_hidden_terms[2] = {scratch.d_hidden_terms[0] + offset, scratch.d_hidden_terms[1] + offset};
    T *const dh = scratch.dh + offset, *const dc = C::has_cell_state ? scratch.dc + offset : nullptr;
    const Range initialized = split_hidden ? split(args.B, thread.index, thread.count) : entries;
    const auto initialize = [&](T* d_state, const T* grad_state_n) {
        for (i64 b = initialized.lo; b < initialized.hi; ++b) {
            if (grad_state_n)
                std::memcpy(d_state + b * scratch.padded_H, grad_state_n + b * H, sizeof(T) * H);
            else
                std::memset(d_state + b * scratch.padded_H, 0, sizeof(T) * H);
        }
    };
    initialize(dh, args.grad_h_n);
    if (C::has_cell_state) initialize(dc, args.grad_c_n);
    T* d_bias = scratch.d_bias + thread.index * scratch.bias_ld;
    T* d_bias_of_step = d_bias + bias_rows * scratch.padded_H;
    std::memset(d_bias, 0, sizeof(T) * 2 * bias_rows * scratch.padded_H);
    if (thread.index == 0) std::memset(scratch.zeros, 0, sizeof(T) * scratch.padded_H);
    thread.barrier();

    const Range panels = split_hidden ? split(scratch.panels, thread.index, thread.count) : Range{0, scratch.panels};
    const i64 col0 = min(panels.lo * width, H), col1 = min(panels.hi * width, H);
    const bool writes_results = split_hidden || thread.index == 0;  // not partial gradients
    T* const d_weights = writes_results ? nullptr : scratch.d_weights + (thread.index - 1) * scratch.d_weights_ld;
    const ThreadShare<T> share{split_hidden, entries, {col0, col1}, writes_results ? args.d_W_ih : d_weights,
                               writes_results ? args.d_W_hh : d_weights + (args.d_W_ih ? GH * args.I : 0)};
    alignas(64) T products[accumulators * L];
    i64 first_step = 0;  // of the next products
    for (i64 step = 0; step < args.T_; ++step) {
        const i64 t = args.reverse ? step : args.T_ - 1 - step;
        const i64 t_before = args.reverse ? t + 1 : t - 1;  // the forward pass came from this step
        const i64 entries_before = t_before < 0 || t_before >= args.T_ ? 0 : args.entries(t_before);
        const i64 lo = entries.lo, hi = min(entries.hi, args.entries(t));
        T* d_hidden = d_hidden_terms[split_hidden ? step & 1 : 0];
        for (i64 b = lo; b < hi; ++b) {
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
                                   .dh = dh + b * scratch.padded_H,
                                   .dc = C::has_cell_state ? dc + b * scratch.padded_H : nullptr,
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
        const bool last = step == args.T_ - 1;
        if (!last || args.d_h_0) {
            if (split_hidden) thread.barrier();
            for (i64 k = panels.lo; k < panels.hi; ++k) {
                const i64 p = step & 1 ? panels.hi - 1 - (k - panels.lo) : k;  // alternating order, as in the forward pass
                const T* weights = scratch.weights + p * GH * width;
                for_row_tiles<T, S::NV>(lo, hi, [&](i64 first, i64 tile_rows, TileFn<T> tile_fn) {
                    tile_fn(GH, d_hidden + first * scratch.d_hidden_ld, scratch.d_hidden_ld, weights, products);
                    for (i64 i = 0; i < tile_rows; ++i) {
                        T* d_state = dh + (first + i) * scratch.padded_H + p * width;
                        for (int v = 0; v < S::NV; ++v) {
                            const Vec<T> d = load<T>(products + i * width + v * L);
                            store<T>(d_state + v * L, C::has_state_term ? load<T>(d_state + v * L) + d : d);
                        }
                    }
                });
            }
        }
        if (needs_products(args) && (last || step + 1 - first_step == scratch.steps_per_product)) {
            gradient_products<T, C>(args, scratch, share, thread, first_step, step + 1);
            first_step = step + 1;
        }
    }
    if (!split_hidden && thread.count > 1 && (args.d_W_ih || args.d_W_hh)) {
        thread.barrier();
        const i64 d_W_ih_size = args.d_W_ih ? GH * args.I : 0;
        if (args.d_W_ih) add_partial_gradients(args.d_W_ih, scratch.d_weights, scratch.d_weights_ld, d_W_ih_size, thread);
        if (args.d_W_hh)
            add_partial_gradients(args.d_W_hh, scratch.d_weights + d_W_ih_size, scratch.d_weights_ld, GH * H, thread);
    }
    for (i64 b = entries.lo; b < entries.hi; ++b) {
        if (args.d_h_0) std::memcpy(args.d_h_0 + b * H + col0, dh + b * scratch.padded_H + col0, sizeof(T) * (col1 - col0));
        if (args.d_c_0) std::memcpy(args.d_c_0 + b * H + col0, dc + b * scratch.padded_H + col0, sizeof(T) * (col1 - col0));
    }
}

template <class T, class C>
void backward(const BackwardArgs<T>& args, AllocateScratch allocate) {
    std::size_t bytes = 0;
    const i64 panels = (args.H + BackwardScratch<T, C>::width - 1) / BackwardScratch<T, C>::width;
    const int threads = thread_count(args, C::G, panels);
    // The first construction, without memory, computes only `bytes`.
    const BackwardScratch<T, C> measure(args, nullptr, bytes, threads);
    const BackwardScratch<T, C> scratch(args, static_cast<char*>(allocate(bytes)), bytes, threads);
    const bool split_hidden = splits_hidden_units(args, C::G);
    int threads_started = 1;  // OpenMP may start fewer than asked for
    run_threads(scratch.arrivals, threads, [&](const Thread& thread) {
        if (thread.index == 0) threads_started = thread.count;
        backward_thread<T, C>(args, scratch, thread, split_hidden && thread.count > 1);
    });
    const auto add_threads = [&](T* d_bias, int bias_row) {
        for (i64 j = 0; d_bias && j < args.H; ++j) {
            T sum = 0;
            for (int index = 0; index < threads_started; ++index)
                sum += scratch.d_bias[index * scratch.bias_ld + bias_row * scratch.padded_H + j];
            d_bias[j] = sum;
        }
    };
    for (int g = 0; g < C::G; ++g) {
        add_threads(args.d_b_ih ? args.d_b_ih + g * args.H : nullptr, g);
        add_threads(args.d_b_hh ? args.d_b_hh + g * args.H : nullptr, C::has_hidden_n && g == C::G - 1 ? C::G : g);
    }
}

}  // namespace
