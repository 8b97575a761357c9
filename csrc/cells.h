// The four cells, a vector of hidden units at a time: the same equations as cells.py, and their derivatives.
//
// A panel is what one register tile yields: NV vectors for each row. For the GRU and the LSTM these are the G gates of
// `lanes` hidden units, so a row's state can be finished while the gates are in the cache; for the simple RNN they are
// NV * lanes hidden units.
#pragma once

#include "job.h"
#include "tile.h"

namespace {

using ohlol::Backward;
using ohlol::Forward;

// Where one row of one panel finds its numbers. Local arrays (h, c, bias) are padded, the others are not.
template <class T>
struct RowForward {
    const T* sums;        // W_hh h, (NV, lanes)
    const T* x;           // input projection of this row: unit j of gate g at x[g * x_gate + j]
    i64 x_gate;
    const T* bias;        // (G + 1, padded H): b_ih + b_hh, the last row the GRU's b_hn
    const T* h_before;    // state of the step before
    T *h, *c;             // local state of this step; c in place
    T *out, *gates, *cells, *hidden_n;  // rows of the results, or null
    i64 H, stride;        // stride: padded H
};

template <class T>
struct RowBackward {
    const T *h_before, *h, *gates, *cells, *cells_before, *hidden_n, *grad_out;  // rows, grad_out may be null
    T *dh, *dc;           // local, padded: gradients that come from the step after; replaced by those for the step before
    T *d_gates, *d_hidden_n;  // rows of the results
    T* d_local;           // (G*H): gradient of W_hh h + b_hh, input of the matrix product
    T* d_bias;            // local (G + 1, padded H): added to
    i64 H, stride;
};

template <class T, bool Relu>
struct Rnn {
    static constexpr int G = 1, NV = 2, units = 2;  // units: vectors of hidden units in a panel
    static constexpr bool has_cell = false, direct = false;

    template <bool Full>
    static OHLOL_INLINE void forward(const RowForward<T>& r, i64 j0) {
        constexpr i64 L = Simd<T>::lanes;
        for (int v = 0; v < NV; ++v) {
            const i64 j = j0 + v * L, m = Full ? L : (r.H - j < L ? r.H - j : L);
            if (!Full && m <= 0) return;
            const Vec<T> a = load<T>(r.sums + v * L) + (load_n<Full>(r.x + j, m) + load<T>(r.bias + j));
            Vec<T> h;
            if constexpr (Relu)
                h = a < Vec<T>{} ? Vec<T>{} : a;  // a NaN stays
            else
                h = vtanh<T>(a);
            store<T>(r.h + j, h);
            store_n<Full>(r.out + j, h, m);
        }
    }

    template <bool Full>
    static OHLOL_INLINE void backward(const RowBackward<T>& r, i64 j, i64 m) {
        Vec<T> dh = load<T>(r.dh + j);
        if (r.grad_out) dh += load_n<Full>(r.grad_out + j, m);
        const Vec<T> h = load_n<Full>(r.h + j, m);
        Vec<T> d;
        if constexpr (Relu)
            d = h <= Vec<T>{} ? Vec<T>{} : dh;
        else
            d = dh * (T(1) - h * h);
        store_n<Full>(r.d_gates + j, d, m);
        store_n<Full>(r.d_local + j, d, m);
        store<T>(r.d_bias + j, load<T>(r.d_bias + j) + d);
    }
};

template <class T>
struct Gru {
    static constexpr int G = 3, NV = 3, units = 1;
    static constexpr bool has_cell = false, direct = true;

    template <bool Full>
    static OHLOL_INLINE void forward(const RowForward<T>& s, i64 j) {
        constexpr i64 L = Simd<T>::lanes;
        const i64 m = Full ? L : s.H - j, H = s.H, P = s.stride;
        const Vec<T> r = vsigmoid<T>(load<T>(s.sums) + (load_n<Full>(s.x + j, m) + load<T>(s.bias + j)));
        const Vec<T> z = vsigmoid<T>(load<T>(s.sums + L) + (load_n<Full>(s.x + s.x_gate + j, m) + load<T>(s.bias + P + j)));
        const Vec<T> hidden = load<T>(s.sums + 2 * L) + load<T>(s.bias + 3 * P + j);
        const Vec<T> n = vtanh<T>(load_n<Full>(s.x + 2 * s.x_gate + j, m) + load<T>(s.bias + 2 * P + j) + r * hidden);
        const Vec<T> h = (T(1) - z) * n + z * load_n<Full>(s.h_before + j, m);
        store<T>(s.h + j, h);
        store_n<Full>(s.out + j, h, m);
        if (s.gates) {
            store_n<Full>(s.gates + j, r, m);
            store_n<Full>(s.gates + H + j, z, m);
            store_n<Full>(s.gates + 2 * H + j, n, m);
            store_n<Full>(s.hidden_n + j, hidden, m);
        }
    }

    template <bool Full>
    static OHLOL_INLINE void backward(const RowBackward<T>& s, i64 j, i64 m) {
        const i64 H = s.H, P = s.stride;
        Vec<T> dh = load<T>(s.dh + j);
        if (s.grad_out) dh += load_n<Full>(s.grad_out + j, m);
        const Vec<T> r = load_n<Full>(s.gates + j, m), z = load_n<Full>(s.gates + H + j, m);
        const Vec<T> n = load_n<Full>(s.gates + 2 * H + j, m);
        const Vec<T> hidden = load_n<Full>(s.hidden_n + j, m), before = load_n<Full>(s.h_before + j, m);
        const Vec<T> dn = dh * (T(1) - z) * (T(1) - n * n);
        const Vec<T> dz = dh * (before - n) * (z * (T(1) - z));
        const Vec<T> dr = dn * hidden * (r * (T(1) - r));
        const Vec<T> d_hidden = dn * r;
        store_n<Full>(s.d_gates + j, dr, m);
        store_n<Full>(s.d_gates + H + j, dz, m);
        store_n<Full>(s.d_gates + 2 * H + j, dn, m);
        store_n<Full>(s.d_hidden_n + j, d_hidden, m);
        store_n<Full>(s.d_local + j, dr, m);
        store_n<Full>(s.d_local + H + j, dz, m);
        store_n<Full>(s.d_local + 2 * H + j, d_hidden, m);
        store<T>(s.dh + j, dh * z);
        store<T>(s.d_bias + j, load<T>(s.d_bias + j) + dr);
        store<T>(s.d_bias + P + j, load<T>(s.d_bias + P + j) + dz);
        store<T>(s.d_bias + 2 * P + j, load<T>(s.d_bias + 2 * P + j) + dn);
        store<T>(s.d_bias + 3 * P + j, load<T>(s.d_bias + 3 * P + j) + d_hidden);
    }
};

template <class T>
struct Lstm {
    static constexpr int G = 4, NV = 4, units = 1;
    static constexpr bool has_cell = true, direct = false;

    template <bool Full>
    static OHLOL_INLINE void forward(const RowForward<T>& s, i64 j) {
        constexpr i64 L = Simd<T>::lanes;
        const i64 m = Full ? L : s.H - j, H = s.H, P = s.stride;
        const Vec<T> i = vsigmoid<T>(load<T>(s.sums) + (load_n<Full>(s.x + j, m) + load<T>(s.bias + j)));
        const Vec<T> f = vsigmoid<T>(load<T>(s.sums + L) + (load_n<Full>(s.x + s.x_gate + j, m) + load<T>(s.bias + P + j)));
        const Vec<T> g = vtanh<T>(load<T>(s.sums + 2 * L) + (load_n<Full>(s.x + 2 * s.x_gate + j, m) + load<T>(s.bias + 2 * P + j)));
        const Vec<T> o = vsigmoid<T>(load<T>(s.sums + 3 * L) + (load_n<Full>(s.x + 3 * s.x_gate + j, m) + load<T>(s.bias + 3 * P + j)));
        const Vec<T> c = f * load<T>(s.c + j) + i * g;
        const Vec<T> h = o * vtanh<T>(c);
        store<T>(s.c + j, c);
        store<T>(s.h + j, h);
        store_n<Full>(s.out + j, h, m);
        if (s.gates) {
            store_n<Full>(s.gates + j, i, m);
            store_n<Full>(s.gates + H + j, f, m);
            store_n<Full>(s.gates + 2 * H + j, g, m);
            store_n<Full>(s.gates + 3 * H + j, o, m);
            store_n<Full>(s.cells + j, c, m);
        }
    }

    template <bool Full>
    static OHLOL_INLINE void backward(const RowBackward<T>& s, i64 j, i64 m) {
        const i64 H = s.H, P = s.stride;
        Vec<T> dh = load<T>(s.dh + j);
        if (s.grad_out) dh += load_n<Full>(s.grad_out + j, m);
        const Vec<T> i = load_n<Full>(s.gates + j, m), f = load_n<Full>(s.gates + H + j, m);
        const Vec<T> g = load_n<Full>(s.gates + 2 * H + j, m), o = load_n<Full>(s.gates + 3 * H + j, m);
        const Vec<T> squashed = vtanh<T>(load_n<Full>(s.cells + j, m));
        const Vec<T> dc = load<T>(s.dc + j) + dh * o * (T(1) - squashed * squashed);
        const Vec<T> d_i = dc * g * (i * (T(1) - i));
        const Vec<T> d_f = dc * load_n<Full>(s.cells_before + j, m) * (f * (T(1) - f));
        const Vec<T> d_g = dc * i * (T(1) - g * g);
        const Vec<T> d_o = dh * squashed * (o * (T(1) - o));
        store<T>(s.dc + j, dc * f);
        const Vec<T> d[4] = {d_i, d_f, d_g, d_o};
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
            store_n<Full>(s.d_gates + k * H + j, d[k], m);
            store_n<Full>(s.d_local + k * H + j, d[k], m);
            store<T>(s.d_bias + k * P + j, load<T>(s.d_bias + k * P + j) + d[k]);
        }
    }
};

}  // namespace
