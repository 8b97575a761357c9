// The time loop backward, for every cell, and the products over all its steps.
#pragma once

#include "cells.h"
#include "product.h"
#include "team.h"

namespace {

// Rows after which a thread's products catch up with its time loop, so that its gradients are still in the cache.
constexpr i64 rows_at_once = 256;

template <class T>
bool with_products(const Backward<T>& q) {
    return q.d_x || q.d_W_ih || q.d_W_hh;
}

template <class T, class C>
struct BackwardScratch {
    static constexpr i64 L = Simd<T>::lanes;
    static constexpr int NB = 2;  // vectors in a panel of the recurrent weights, seen from behind
    static constexpr i64 width = NB * L, gap = apart / sizeof(T);
    i64 panels, padded, ld, GH, steps_at_once, slots, bias_ld, weights_ld;
    T *weights, *d_local[2], *dh, *dc, *bias, *zeros, *d_gates, *d_hidden_n, *blocks, *d_weights;
    Member::Arrivals* team;
    const T** lists;  // products(): five for each thread

    BackwardScratch(const Backward<T>& q, char* base, std::size_t& bytes, int threads) {
        Bump bump{base};
        panels = (q.H + width - 1) / width;
        padded = panels * width;
        GH = C::G * q.H;
        ld = round_up(GH, 16) + 16;
        weights = bump.take<T>(panels * GH * width);
        for (T*& half : d_local) half = bump.take<T>(q.B * ld + threads * gap);
        dh = bump.take<T>(q.B * padded + threads * gap);
        dc = bump.take<T>(C::has_cell ? q.B * padded + threads * gap : 0);
        bias_ld = 2 * (C::G + 1) * padded + gap;  // two sums a thread
        bias = bump.take<T>(threads * bias_ld);
        zeros = bump.take<T>(padded);
        const bool by_entries = threads > 1 && !by_units(q, C::G);
        steps_at_once = least(q.T_, most(1, rows_at_once / (by_entries ? (q.B + threads - 1) / threads : q.B)));
        slots = steps_at_once * q.B;
        d_gates = bump.take<T>(q.d_gates ? 0 : slots * GH);
        d_hidden_n = bump.take<T>(C::direct ? slots * q.H : 0);
        blocks = bump.take<T>(with_products(q) ? threads * ProductBlocks<T>::space : 0);
        lists = bump.take<const T*>(with_products(q) ? threads * 5 * slots : 0);
        weights_ld = GH * ((q.d_W_ih ? q.I : 0) + (q.d_W_hh ? q.H : 0));
        d_weights = bump.take<T>(by_entries ? (threads - 1) * weights_ld : 0);
        team = bump.take<Member::Arrivals>(threads);
        bytes = bump.used;
    }

    // The place among the rows at hand: an entry's steps side by side, so that threads write far from one another.
    i64 slot(i64 step_at_hand, i64 b) const { return b * steps_at_once + step_at_hand; }
    T* gate_row(const Backward<T>& q, i64 slot, i64 row) const { return q.d_gates ? q.d_gates + row * GH : d_gates + slot * GH; }
    // The state that entry b started step t from; `before` is the step before it in the order of the pass.
    const T* state_before(const Backward<T>& q, i64 before, i64 b) const {
        if (before >= 0 && before < q.T_ && b < q.n(before)) return q.out + q.row(before, b) * q.out_ld;
        return q.h_0 ? q.h_0 + b * q.H : zeros;
    }
};

// A thread's share of the work. Threads that split the entries each make the weight gradients of their own rows, and these
// are added up at the end; threads that split the hidden units each make the rows of the weight gradients that are theirs.
template <class T>
struct Share {
    bool by_hidden;
    Span batch, units;  // entries, and hidden units
    T *d_W_ih, *d_W_hh;
};

// What the steps [first, end) of the pass add to the gradients of the weights, and the gradients of their input.
template <class T, class C>
void products(const Backward<T>& q, const BackwardScratch<T, C>& s, const Share<T>& own, const Member& me, i64 first, i64 end) {
    const bool add = first > 0;
    // One pointer a row: what the products read and write, whatever the layout of the batch.
    const T** gates = s.lists + 5 * s.slots * me.part;
    const T **hidden = gates + s.slots, **xs = hidden + s.slots, **before = xs + s.slots;
    T** d_xs = const_cast<T**>(before + s.slots);
    i64 rows = 0;
    for (i64 step = first; step < end; ++step) {
        const i64 t = q.reverse ? step : q.T_ - 1 - step;
        for (i64 b = own.batch.lo; b < least(own.batch.hi, q.n(t)); ++b, ++rows) {
            const i64 row = q.row(t, b), slot = s.slot(step - first, b);
            gates[rows] = s.gate_row(q, slot, row);
            hidden[rows] = C::direct ? s.d_hidden_n + slot * q.H : nullptr;
            xs[rows] = q.x ? q.x + row * q.I : nullptr;
            before[rows] = s.state_before(q, q.reverse ? t + 1 : t - 1, b);
            d_xs[rows] = q.d_x ? q.d_x + row * q.I : nullptr;
        }
    }
    const i64 H = q.H, I = q.I;
    T* space = s.blocks + me.part * ProductBlocks<T>::space;
    using R = Rows<const T>;
    for (int g = 0; g < (own.by_hidden ? C::G : 1); ++g) {
        const i64 from = own.by_hidden ? g * H + own.units.lo : 0, count = own.by_hidden ? own.units.size() : s.GH;
        if (q.d_W_ih)
            product<T, true>({count, I, rows, R::listed(gates, from), R::listed(xs), Rows<T>::matrix(own.d_W_ih + from * I, I), add},
                             space);
        if (!q.d_W_hh) continue;
        // The GRU's candidate has a gradient of its own behind the reset gate.
        const i64 plain = C::direct ? most(0, least(from + count, s.GH - H) - from) : count;
        product<T, true>({plain, H, rows, R::listed(gates, from), R::listed(before), Rows<T>::matrix(own.d_W_hh + from * H, H), add},
                         space);
        if (plain < count)
            product<T, true>({count - plain, H, rows, R::listed(hidden, from + plain - (s.GH - H)), R::listed(before),
                              Rows<T>::matrix(own.d_W_hh + (from + plain) * H, H), add},
                             space);
    }
    if (!q.d_x) return;
    if (own.by_hidden) me.wait();  // the input's gradient is of all units
    const Span lines = own.by_hidden ? share(rows, me.part, me.parts) : Span{0, rows};
    product<T, false>({lines.size(), I, s.GH, R::listed(gates + lines.lo), R::matrix(q.W_ih, I),
                       Rows<T>::listed(d_xs + lines.lo), q.add_d_x},
                      space);
    if (own.by_hidden) me.wait();  // before the rows are used again
}

// Adds up what the threads have made of a weight gradient of `size` numbers: `to`, and `from` for each thread but the first.
template <class T>
void add_up(T* to, const T* from, i64 ld, i64 size, int part, int parts) {
    constexpr i64 line = 64 / sizeof(T);
    const Span lines = share((size + line - 1) / line, part, parts);
    for (int other = 1; other < parts; ++other, from += ld)
        for (i64 i = lines.lo * line; i < least(lines.hi * line, size); ++i) to[i] += from[i];
}

template <class T, class C>
void backward_part(const Backward<T>& q, const BackwardScratch<T, C>& s, const Member& me, bool by_hidden) {
    using Sc = BackwardScratch<T, C>;
    const int part = me.part, parts = me.parts;
    constexpr i64 L = Sc::L, width = Sc::width;
    constexpr int B1 = C::G + 1;
    const i64 H = q.H;
    const Span pack = share(s.panels, part, parts);
    for (i64 p = pack.lo; p < pack.hi; ++p)
        pack_straight<T>(q.W_hh, H, s.GH, H, p * width, width, s.weights + p * s.GH * width);
    const Span batch = by_hidden ? Span{0, q.B} : share_batch(q, part, parts);
    const i64 own = by_hidden ? 0 : part * Sc::gap;
    T *const d_local[2] = {s.d_local[0] + own, s.d_local[1] + own};
    T *const dh = s.dh + own, *const dc = C::has_cell ? s.dc + own : nullptr;
    const Span mine = by_hidden ? share(q.B, part, parts) : batch;
    auto start = [&](T* to, const T* from) {
        for (i64 b = mine.lo; b < mine.hi; ++b) {
            if (from)
                std::memcpy(to + b * s.padded, from + b * H, sizeof(T) * H);
            else
                std::memset(to + b * s.padded, 0, sizeof(T) * H);
        }
    };
    start(dh, q.grad_h_n);
    if (C::has_cell) start(dc, q.grad_c_n);
    T* total = s.bias + part * s.bias_ld;
    T* step_sum = total + B1 * s.padded;
    std::memset(total, 0, sizeof(T) * 2 * B1 * s.padded);
    if (part == 0) std::memset(s.zeros, 0, sizeof(T) * s.padded);
    me.wait();

    const Span panel = by_hidden ? share(s.panels, part, parts) : Span{0, s.panels};
    const i64 col0 = least(panel.lo * width, H), col1 = least(panel.hi * width, H);
    const bool alone = by_hidden || part == 0;
    T* const d_weights = alone ? nullptr : s.d_weights + (part - 1) * s.weights_ld;
    const Share<T> own_share{by_hidden, batch, {col0, col1}, alone ? q.d_W_ih : d_weights,
                               alone ? q.d_W_hh : d_weights + (q.d_W_ih ? s.GH * q.I : 0)};
    alignas(64) T sums[accumulators * L];
    i64 first_step = 0;
    for (i64 step = 0; step < q.T_; ++step) {
        const i64 t = q.reverse ? step : q.T_ - 1 - step;
        const i64 t_before = q.reverse ? t + 1 : t - 1;  // the step whose state this one started from
        const i64 n = q.n(t), n_before = t_before < 0 || t_before >= q.T_ ? 0 : q.n(t_before);
        const i64 lo = batch.lo, hi = least(batch.hi, n);
        T* local = d_local[by_hidden ? step & 1 : 0];
        for (i64 b = lo; b < hi; ++b) {
            const i64 row = q.row(t, b), slot = s.slot(step - first_step, b);
            const T* c = nullptr;
            if (C::has_cell) c = b < n_before ? q.cells + q.row(t_before, b) * H : (q.c_0 ? q.c_0 + b * H : s.zeros);
            const RowBackward<T> r{s.state_before(q, t_before, b),
                                   q.out + row * q.out_ld,
                                   q.gates ? q.gates + row * s.GH : nullptr,
                                   q.cells ? q.cells + row * H : nullptr,
                                   c,
                                   q.hidden_n ? q.hidden_n + row * H : nullptr,
                                   q.grad_out ? q.grad_out + row * q.grad_out_ld : nullptr,
                                   dh + b * s.padded,
                                   C::has_cell ? dc + b * s.padded : nullptr,
                                   s.gate_row(q, slot, row),
                                   C::direct ? s.d_hidden_n + slot * H : nullptr,
                                   local + b * s.ld,
                                   step_sum,
                                   H,
                                   s.padded};
            i64 j = col0;
            for (; j + L <= col1; j += L) C::template backward<true>(r, j, L);
            if (j < col1) C::template backward<false>(r, j, col1 - j);
        }
        // Sums of sums: the error of a long sum grows with the number of steps, not of rows.
        for (int g = 0; g < B1; ++g)
            for (i64 j = col0; j < col1; j += L) {
                T *to = total + g * s.padded + j, *from = step_sum + g * s.padded + j;
                store<T>(to, load<T>(to) + load<T>(from));
                store<T>(from, Vec<T>{});
            }
        const bool last = step == q.T_ - 1;
        if (!last || q.d_h_0) {
            if (by_hidden) me.wait();
            for (i64 k = panel.lo; k < panel.hi; ++k) {
                const i64 p = step & 1 ? panel.hi - 1 - (k - panel.lo) : k;  // to and fro, as forward
                const T* weights = s.weights + p * s.GH * width;
                for_row_tiles<T, Sc::NB>(lo, hi, [&](i64 first, i64 rows, TileFn<T> fn) {
                    fn(s.GH, local + first * s.ld, s.ld, weights, sums);
                    for (i64 i = 0; i < rows; ++i) {
                        T* to = dh + (first + i) * s.padded + p * width;
                        for (int v = 0; v < Sc::NB; ++v) {
                            const Vec<T> d = load<T>(sums + i * width + v * L);
                            store<T>(to + v * L, C::direct ? load<T>(to + v * L) + d : d);
                        }
                    }
                });
            }
        }
        if (with_products(q) && (last || step + 1 - first_step == s.steps_at_once)) {
            products<T, C>(q, s, own_share, me, first_step, step + 1);
            first_step = step + 1;
        }
    }
    if (!by_hidden && parts > 1 && (q.d_W_ih || q.d_W_hh)) {
        me.wait();
        const i64 size = q.d_W_ih ? s.GH * q.I : 0;
        if (q.d_W_ih) add_up(q.d_W_ih, s.d_weights, s.weights_ld, size, part, parts);
        if (q.d_W_hh) add_up(q.d_W_hh, s.d_weights + size, s.weights_ld, s.GH * H, part, parts);
    }
    for (i64 b = batch.lo; b < batch.hi; ++b) {
        if (q.d_h_0) std::memcpy(q.d_h_0 + b * H + col0, dh + b * s.padded + col0, sizeof(T) * (col1 - col0));
        if (q.d_c_0) std::memcpy(q.d_c_0 + b * H + col0, dc + b * s.padded + col0, sizeof(T) * (col1 - col0));
    }
}

template <class T, class C>
void backward(const Backward<T>& q, Scratch scratch) {
    std::size_t bytes = 0;
    const i64 panels = (q.H + BackwardScratch<T, C>::width - 1) / BackwardScratch<T, C>::width;
    const int threads = threads_for(q, C::G, panels);
    const BackwardScratch<T, C> plan(q, nullptr, bytes, threads);
    const BackwardScratch<T, C> s(q, static_cast<char*>(scratch(bytes)), bytes, threads);
    const bool by_hidden = by_units(q, C::G);
    int team = 1;
    run_team(s.team, threads, [&](const Member& me) {
        if (me.part == 0) team = me.parts;
        backward_part<T, C>(q, s, me, by_hidden && me.parts > 1);
    });
    const auto bias = [&](T* to, int row) {
        for (i64 j = 0; to && j < q.H; ++j) {
            T sum = 0;
            for (int part = 0; part < team; ++part) sum += s.bias[part * s.bias_ld + row * s.padded + j];
            to[j] = sum;
        }
    };
    for (int g = 0; g < C::G; ++g) {
        bias(q.d_b_ih ? q.d_b_ih + g * q.H : nullptr, g);
        bias(q.d_b_hh ? q.d_b_hh + g * q.H : nullptr, C::direct && g == C::G - 1 ? C::G : g);
    }
}

}  // namespace
