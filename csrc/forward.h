// The time loop forward, for every cell.
#pragma once

#include "cells.h"
#include "team.h"

namespace {

// Rows whose input is projected together, so that the input's weights are read once for all of them.
constexpr i64 rows_ahead = 64;

template <class T, class C>
struct ForwardScratch {
    static constexpr i64 L = Simd<T>::lanes, width = C::units * L, gap = apart / sizeof(T);
    i64 panels, padded, ld, GH, steps_ahead = 0;
    std::size_t packed_bytes;
    T *weights, *bias, *h[2], *c, *zeros, *x_weights, *ahead = nullptr;
    Member::Arrivals* team;

    ForwardScratch(const Forward<T>& q, char* base, std::size_t& bytes, int threads) {
        Bump bump{base};
        panels = (q.H + width - 1) / width;
        padded = panels * width;
        ld = padded + 16;
        GH = C::G * q.H;
        // What is made of the weights alone comes first: a stream keeps it from call to call.
        Bump kept{q.packed ? static_cast<char*>(q.packed) : base};
        weights = kept.take<T>(panels * q.H * C::NV * L);
        bias = kept.take<T>((C::G + 1) * padded);
        x_weights = kept.take<T>(q.W_ih ? panels * q.I * C::NV * L : 0);
        packed_bytes = kept.used;
        if (!q.packed) bump.used = kept.used;
        for (T*& half : h) half = bump.take<T>(q.B * ld + threads * gap);
        c = bump.take<T>(C::has_cell ? q.B * padded + threads * gap : 0);
        zeros = bump.take<T>(padded);
        const bool by_step = q.B >= 8 && double(GH) * double(q.I + q.H) * sizeof(T) <= 2 * in_cache;  // both weights stay cached
        const bool one_owner = threads == 1 || by_units(q, C::G) || !q.batch_sizes;  // of the rows of several steps
        if (q.x && q.T_ > 1 && !by_step && one_owner) {
            steps_ahead = least(q.T_, most(1, (q.B < 8 ? rows_ahead : 4 * rows_ahead) / q.B));
            ahead = bump.take<T>(steps_ahead * q.B * panels * C::NV * L);
        }
        team = bump.take<Member::Arrivals>(threads);
        bytes = bump.used;
    }
};

template <class T, class C>
void pack_forward(const Forward<T>& q, const ForwardScratch<T, C>& s, Span pack) {
    constexpr i64 L = Simd<T>::lanes, width = C::units * L;
    const i64 H = q.H;
    for (i64 p = pack.lo; p < pack.hi; ++p) {
        i64 first[C::NV], count[C::NV];
        for (int v = 0; v < C::NV; ++v) {
            const i64 j = p * width + (C::G == 1 ? v * L : 0);
            first[v] = (C::G == 1 ? 0 : v * H) + j;
            count[v] = H - j < 0 ? 0 : (H - j < L ? H - j : L);
        }
        pack_transposed<T, C::NV>(q.W_hh, H, H, first, count, s.weights + p * H * C::NV * L);
        if (q.W_ih) pack_transposed<T, C::NV>(q.W_ih, q.I, q.I, first, count, s.x_weights + p * q.I * C::NV * L);
        for (i64 j = p * width; j < (p + 1) * width; ++j)
            for (int g = 0; g <= C::G; ++g) {
                const bool split = C::direct;  // the GRU keeps b_hn apart, in the last row
                T b = 0;
                if (j < H && q.b_ih) {
                    if (g < C::G) b = q.b_ih[g * H + j] + (split && g == C::G - 1 ? T(0) : q.b_hh[g * H + j]);
                    if (g == C::G && split) b = q.b_hh[(C::G - 1) * H + j];
                }
                s.bias[g * s.padded + j] = b;
            }
    }
}

template <class T, class C>
void forward_part(const Forward<T>& q, const ForwardScratch<T, C>& s, const Member& me, bool by_hidden) {
    using Sc = ForwardScratch<T, C>;
    const int part = me.part, parts = me.parts;
    constexpr i64 L = Sc::L, width = Sc::width, panel_row = C::NV * L;
    const i64 H = q.H, I = q.I;
    if (!q.packed) pack_forward<T, C>(q, s, share(s.panels, part, parts));
    const Span batch = by_hidden ? Span{0, q.B} : share_batch(q, part, parts);
    const i64 own = by_hidden ? 0 : part * Sc::gap;
    T *const h[2] = {s.h[0] + own, s.h[1] + own}, *const c = C::has_cell ? s.c + own : nullptr;
    const Span panel = by_hidden ? share(s.panels, part, parts) : Span{0, s.panels};
    const i64 col0 = least(panel.lo * width, H), col1 = least(panel.hi * width, H);
    if (C::has_cell)
        for (i64 b = batch.lo; b < batch.hi; ++b) {
            if (q.c_0)
                std::memcpy(c + b * s.padded + col0, q.c_0 + b * H + col0, sizeof(T) * (col1 - col0));
            else
                std::memset(c + b * s.padded + col0, 0, sizeof(T) * (col1 - col0));
        }
    // A dense batch reads h_0 where it lies; in a ragged one that is walked from behind, entries begin at several steps.
    if (q.batch_sizes) {
        const Span mine = by_hidden ? share(q.B, part, parts) : batch;
        for (i64 b = mine.lo; b < mine.hi; ++b)
            for (T* half : h) {
                if (q.h_0)
                    std::memcpy(half + b * s.ld, q.h_0 + b * H, sizeof(T) * H);
                else
                    std::memset(half + b * s.ld, 0, sizeof(T) * H);
            }
    }
    if (!q.h_0 && part == 0) std::memset(s.zeros, 0, sizeof(T) * s.padded);
    if (!q.packed || !q.h_0) me.wait();
    alignas(64) T sums[accumulators * L], x_sums[accumulators * L];

    // Where rows are projected ahead: those of the steps from ahead_lo, a panel after the other, in rows of `slot`.
    const i64 slots = s.steps_ahead * batch.size();
    T* const ahead = s.ahead ? s.ahead + (batch.lo * s.steps_ahead * s.panels + panel.lo * slots) * panel_row : nullptr;
    i64 ahead_lo = 0;
    const auto slot = [&](i64 t, i64 b) {
        return q.batch_sizes ? q.row(t, b) - q.row(ahead_lo, 0) : (t - ahead_lo) * batch.size() + b - batch.lo;
    };
    const auto project = [&](i64 p, i64 first_row, i64 stride, i64 rows, i64 to, i64 to_stride) {
        for_row_tiles<T, C::NV>(0, rows, [&](i64 first, i64 n, TileFn<T> fn) {
            fn(I, q.x + (first_row + first * stride) * I, stride * I, s.x_weights + p * I * panel_row, sums);
            for (i64 i = 0; i < n; ++i)
                std::memcpy(ahead + ((p - panel.lo) * slots + to + (first + i) * to_stride) * panel_row, sums + i * panel_row,
                            sizeof(T) * panel_row);
        });
    };
    // By the longest runs of rows at equal distances: all of them, or an entry's, or a step's.
    const auto project_steps = [&](i64 p, i64 steps) {
        const i64 end = ahead_lo + steps - 1, own = batch.size();
        if (q.batch_sizes || (own == q.B && q.batch_stride == 1))
            project(p, q.row(ahead_lo, 0), 1, q.row(end, q.n(end)) - q.row(ahead_lo, 0), 0, 1);
        else if (steps >= own)
            for (i64 b = batch.lo; b < batch.hi; ++b)
                project(p, q.row(ahead_lo, b), q.time_stride, steps, slot(ahead_lo, b), own);
        else
            for (i64 t = ahead_lo; t <= end; ++t)
                project(p, q.row(t, batch.lo), q.batch_stride, own, slot(t, batch.lo), 1);
    };

    for (i64 step = 0; step < q.T_; ++step) {
        const i64 t = q.reverse ? q.T_ - 1 - step : step;
        const i64 n = q.n(t), lo = batch.lo, hi = least(batch.hi, n);
        const bool begun = step || q.batch_sizes;
        const T* before = begun ? h[step & 1] : q.h_0 ? q.h_0 : s.zeros;
        const i64 before_ld = begun ? s.ld : q.h_0 ? H : 0;
        T* after = h[(step + 1) & 1];
        if (ahead && step % s.steps_ahead == 0) {
            const i64 steps = least(s.steps_ahead, q.T_ - step);
            ahead_lo = q.reverse ? t - steps + 1 : t;
            for (i64 p = panel.lo; p < panel.hi; ++p) project_steps(p, steps);
        }
        for (i64 k = panel.lo; k < panel.hi; ++k) {
            // To and fro: the panels read last are still in the nearest cache.
            const i64 p = (step ^ q.turn) & 1 ? panel.hi - 1 - (k - panel.lo) : k;
            const T* weights = s.weights + p * H * panel_row;
            const i64 j = p * width;
            const bool full = j + width <= H;
            for_row_tiles<T, C::NV>(lo, hi, [&](i64 first, i64 rows, TileFn<T> fn) {
                fn(H, before + first * before_ld, before_ld, weights, sums);
                // The input's share: projected ahead, now, from rows batch_stride apart, or looked up.
                if (q.x && !ahead)
                    fn(I, q.x + q.row(t, first) * I, q.batch_stride * I, s.x_weights + p * I * panel_row, x_sums);
                for (i64 i = 0; i < rows; ++i) {
                    const i64 b = first + i, row = q.row(t, b);
                    const T* x = ahead ? ahead + ((p - panel.lo) * slots + slot(t, b)) * panel_row - j
                                 : q.x ? x_sums + i * panel_row - j
                                       : q.table + q.ids[row] * s.GH;
                    const RowForward<T> r{sums + i * panel_row,
                                          x,
                                          q.x ? L : H,
                                          s.bias,
                                          before + b * before_ld,
                                          after + b * s.ld,
                                          C::has_cell ? c + b * s.padded : nullptr,
                                          q.out + row * q.out_ld,
                                          q.gates ? q.gates + row * s.GH : nullptr,
                                          q.cells ? q.cells + row * H : nullptr,
                                          q.hidden_n ? q.hidden_n + row * H : nullptr,
                                          H,
                                          s.padded};
                    if (full)
                        C::template forward<true>(r, j);
                    else
                        C::template forward<false>(r, j);
                }
            });
        }
        const bool last = step == q.T_ - 1;
        const i64 alive = last ? 0 : q.n(q.reverse ? t - 1 : t + 1);
        for (i64 b = most(lo, alive); b < hi; ++b)
            std::memcpy(q.h_n + b * H + col0, after + b * s.ld + col0, sizeof(T) * (col1 - col0));
        if (by_hidden && !last) me.wait();
    }
    if (C::has_cell)
        for (i64 b = batch.lo; b < batch.hi; ++b)
            std::memcpy(q.c_n + b * H + col0, c + b * s.padded + col0, sizeof(T) * (col1 - col0));
}

template <class T, class C>
void forward(const Forward<T>& q, Scratch scratch) {
    std::size_t bytes = 0;
    const bool by_hidden = by_units(q, C::G);
    const i64 panels = (q.H + ForwardScratch<T, C>::width - 1) / ForwardScratch<T, C>::width;
    const int threads = threads_for(q, C::G, panels);
    const ForwardScratch<T, C> plan(q, nullptr, bytes, threads);
    const ForwardScratch<T, C> s(q, static_cast<char*>(scratch(bytes)), bytes, threads);
    run_team(s.team, threads, [&](const Member& me) { forward_part<T, C>(q, s, me, by_hidden && me.parts > 1); });
}

// The packed weights of a stream: their size with no destination, and then themselves.
template <class T, class C>
std::size_t pack(const Forward<T>& q, void* to) {
    std::size_t bytes = 0;
    const ForwardScratch<T, C> s(q, static_cast<char*>(to), bytes, 1);
    if (to) pack_forward<T, C>(q, s, {0, s.panels});
    return s.packed_bytes;
}

}  // namespace
