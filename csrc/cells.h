// The cells, one vector of hidden units at a time: the equations of the modules in cells/ and their derivatives.
//
// A panel of weights (tile.h) gives NV vectors for each row of state. For the GRU and the LSTM these are the G gates of
// `lanes` hidden units, so the state of a row is computed while its gates are still in the L1 cache; for the simple RNN they
// are NV * lanes hidden units.
//
// T is float or double, C a cell, L the number of lanes of a vector, Simd<T>::U a vector without alignment, and S in the time
// loops the type of the scratch memory. j is the first hidden unit of a vector, and m how many of its lanes hold hidden units:
// all L if Full, fewer in the last vector of a row.
//
// In the backward pass grad_out, grad_h_n and grad_c_n are the incoming gradients, which the caller passes, with respect to the
// results of the layer. d_*, dh and dc are the gradients that the pass computes.
#pragma once

#include "kernel_args.h"
#include "tile.h"

namespace {

using ohlol::BackwardArgs;
using ohlol::ForwardArgs;

// The memory of one row and one panel. h, c and bias are local to the call and padded to whole panels; the others are not.
template <class T>
struct RowForward {
    const T* hidden_products;  // W_hh h, (NV, lanes)
    const T* input_products;   // W_ih x: unit j of gate g at [g * input_stride + j]
    i64 input_stride;
    const T* bias;             // (G + 1, padded H): b_ih + b_hh; with has_hidden_n the last row is b_hn, kept apart
    const T* h_before;         // state of the step before
    T *h, *c;                  // state of this step; c holds the cell state of the step before and is replaced
    T *out, *gates, *cell_states, *hidden_n;  // rows of the results, or null
    i64 H, padded_H;
};

template <class T>
struct RowBackward {
    const T *h_before, *h, *gates, *cell_states, *cell_states_before, *hidden_n;
    const T* grad_out;         // or null
    T *dh, *dc;                // gradients from the step after; replaced by those for the step before
    T *d_input_terms;          // (G*H)
    T *d_hidden_n;             // (H), with has_hidden_n
    T* d_hidden_terms;         // (G*H), for the product with W_hh
    T* d_bias;                 // (G + 1, padded H): the gradients are added
    i64 H, padded_H;
};

// What a cell defines: G gates; `units` vectors of hidden units in a panel of NV vectors; has_cell_state; has_hidden_n, if a
// gate multiplies the hidden term W_hn h + b_hn, which then has a gradient of its own; has_state_term, if h' has a term with h
// itself besides the gates (z * h), through which dh passes to the step before.
template <class T, bool Relu>
struct Rnn {
    static constexpr int G = 1, NV = 2, units = 2;
    static constexpr bool has_cell_state = false, has_hidden_n = false, has_state_term = false;

    template <bool Full>
    static OHLOL_INLINE void forward(const RowForward<T>& row, i64 j0) {
        constexpr i64 L = Simd<T>::lanes;
        for (int v = 0; v < NV; ++v) {
            const i64 j = j0 + v * L, m = Full ? L : (row.H - j < L ? row.H - j : L);
            if (!Full && m <= 0) return;
            const Vec<T> a =
                load<T>(row.hidden_products + v * L) + (load_n<Full>(row.input_products + j, m) + load<T>(row.bias + j));
            Vec<T> h;
            if constexpr (Relu)
                h = a < Vec<T>{} ? Vec<T>{} : a;  // keeps NaN
            else
                h = vtanh<T>(a);
            store<T>(row.h + j, h);
            store_n<Full>(row.out + j, h, m);
        }
    }

    template <bool Full>
    static OHLOL_INLINE void backward(const RowBackward<T>& row, i64 j, i64 m) {
        Vec<T> dh = load<T>(row.dh + j);
        if (row.grad_out) dh += load_n<Full>(row.grad_out + j, m);
        const Vec<T> h = load_n<Full>(row.h + j, m);
        Vec<T> d;
        if constexpr (Relu)
            d = h <= Vec<T>{} ? Vec<T>{} : dh;
        else
            d = dh * (T(1) - h * h);
        store_n<Full>(row.d_input_terms + j, d, m);
        store_n<Full>(row.d_hidden_terms + j, d, m);
        store<T>(row.d_bias + j, load<T>(row.d_bias + j) + d);
    }
};

// The sum of gate g before its activation, for cells with one vector of hidden units in a panel.
template <class T, bool Full>
OHLOL_INLINE Vec<T> gate_sum(const RowForward<T>& row, int g, i64 j, i64 m) {
    const Vec<T> input_term =
        load_n<Full>(row.input_products + g * row.input_stride + j, m) + load<T>(row.bias + g * row.padded_H + j);
    return load<T>(row.hidden_products + g * Simd<T>::lanes) + input_term;
}

template <class T>
struct Gru {
    static constexpr int G = 3, NV = 3, units = 1;
    static constexpr bool has_cell_state = false, has_hidden_n = true, has_state_term = true;

    template <bool Full>
    static OHLOL_INLINE void forward(const RowForward<T>& row, i64 j) {
        constexpr i64 L = Simd<T>::lanes;
        const i64 m = Full ? L : row.H - j, H = row.H, P = row.padded_H;
        const Vec<T> r = vsigmoid<T>(gate_sum<T, Full>(row, 0, j, m));
        const Vec<T> z = vsigmoid<T>(gate_sum<T, Full>(row, 1, j, m));
        const Vec<T> hidden_n = load<T>(row.hidden_products + 2 * L) + load<T>(row.bias + 3 * P + j);
        const Vec<T> input_n = load_n<Full>(row.input_products + 2 * row.input_stride + j, m) + load<T>(row.bias + 2 * P + j);
        const Vec<T> n = vtanh<T>(input_n + r * hidden_n);
        const Vec<T> h = (T(1) - z) * n + z * load_n<Full>(row.h_before + j, m);
        store<T>(row.h + j, h);
        store_n<Full>(row.out + j, h, m);
        if (row.gates) {
            store_n<Full>(row.gates + j, r, m);
            store_n<Full>(row.gates + H + j, z, m);
            store_n<Full>(row.gates + 2 * H + j, n, m);
            store_n<Full>(row.hidden_n + j, hidden_n, m);
        }
    }

    template <bool Full>
    static OHLOL_INLINE void backward(const RowBackward<T>& row, i64 j, i64 m) {
        const i64 H = row.H, P = row.padded_H;
        Vec<T> dh = load<T>(row.dh + j);
        if (row.grad_out) dh += load_n<Full>(row.grad_out + j, m);
        const Vec<T> r = load_n<Full>(row.gates + j, m), z = load_n<Full>(row.gates + H + j, m);
        const Vec<T> n = load_n<Full>(row.gates + 2 * H + j, m);
        const Vec<T> hidden_n = load_n<Full>(row.hidden_n + j, m), h_before = load_n<Full>(row.h_before + j, m);
        const Vec<T> d_n = dh * (T(1) - z) * (T(1) - n * n);
        const Vec<T> d_z = dh * (h_before - n) * (z * (T(1) - z));
        const Vec<T> d_r = d_n * hidden_n * (r * (T(1) - r));
        const Vec<T> d_hidden_n = d_n * r;
        store_n<Full>(row.d_input_terms + j, d_r, m);
        store_n<Full>(row.d_input_terms + H + j, d_z, m);
        store_n<Full>(row.d_input_terms + 2 * H + j, d_n, m);
        store_n<Full>(row.d_hidden_n + j, d_hidden_n, m);
        store_n<Full>(row.d_hidden_terms + j, d_r, m);
        store_n<Full>(row.d_hidden_terms + H + j, d_z, m);
        store_n<Full>(row.d_hidden_terms + 2 * H + j, d_hidden_n, m);
        store<T>(row.dh + j, dh * z);
        store<T>(row.d_bias + j, load<T>(row.d_bias + j) + d_r);
        store<T>(row.d_bias + P + j, load<T>(row.d_bias + P + j) + d_z);
        store<T>(row.d_bias + 2 * P + j, load<T>(row.d_bias + 2 * P + j) + d_n);
        store<T>(row.d_bias + 3 * P + j, load<T>(row.d_bias + 3 * P + j) + d_hidden_n);
    }
};

template <class T>
struct Lstm {
    static constexpr int G = 4, NV = 4, units = 1;
    static constexpr bool has_cell_state = true, has_hidden_n = false, has_state_term = false;

    template <bool Full>
    static OHLOL_INLINE void forward(const RowForward<T>& row, i64 j) {
        constexpr i64 L = Simd<T>::lanes;
        const i64 m = Full ? L : row.H - j, H = row.H;
        const Vec<T> i = vsigmoid<T>(gate_sum<T, Full>(row, 0, j, m));
        const Vec<T> f = vsigmoid<T>(gate_sum<T, Full>(row, 1, j, m));
        const Vec<T> g = vtanh<T>(gate_sum<T, Full>(row, 2, j, m));
        const Vec<T> o = vsigmoid<T>(gate_sum<T, Full>(row, 3, j, m));
        const Vec<T> c = f * load<T>(row.c + j) + i * g;
        const Vec<T> h = o * vtanh<T>(c);
        store<T>(row.c + j, c);
        store<T>(row.h + j, h);
        store_n<Full>(row.out + j, h, m);
        if (row.gates) {
            store_n<Full>(row.gates + j, i, m);
            store_n<Full>(row.gates + H + j, f, m);
            store_n<Full>(row.gates + 2 * H + j, g, m);
            store_n<Full>(row.gates + 3 * H + j, o, m);
            store_n<Full>(row.cell_states + j, c, m);
        }
    }

    template <bool Full>
    static OHLOL_INLINE void backward(const RowBackward<T>& row, i64 j, i64 m) {
        const i64 H = row.H, P = row.padded_H;
        Vec<T> dh = load<T>(row.dh + j);
        if (row.grad_out) dh += load_n<Full>(row.grad_out + j, m);
        const Vec<T> i = load_n<Full>(row.gates + j, m), f = load_n<Full>(row.gates + H + j, m);
        const Vec<T> g = load_n<Full>(row.gates + 2 * H + j, m), o = load_n<Full>(row.gates + 3 * H + j, m);
        const Vec<T> tanh_c = vtanh<T>(load_n<Full>(row.cell_states + j, m));
        const Vec<T> dc = load<T>(row.dc + j) + dh * o * (T(1) - tanh_c * tanh_c);
        const Vec<T> d_i = dc * g * (i * (T(1) - i));
        const Vec<T> c_before = load_n<Full>(row.cell_states_before + j, m);
        const Vec<T> d_f = dc * c_before * (f * (T(1) - f));
        const Vec<T> d_g = dc * i * (T(1) - g * g);
        const Vec<T> d_o = dh * tanh_c * (o * (T(1) - o));
        store<T>(row.dc + j, dc * f);
        const Vec<T> d[4] = {d_i, d_f, d_g, d_o};
        OHLOL_UNROLL(4)
        for (int k = 0; k < 4; ++k) {
            store_n<Full>(row.d_input_terms + k * H + j, d[k], m);
            store_n<Full>(row.d_hidden_terms + k * H + j, d[k], m);
            store<T>(row.d_bias + k * P + j, load<T>(row.d_bias + k * P + j) + d[k]);
        }
    }
};

// Calls run(Cell{}) with the cell class of a code. Without a default the compiler warns of a cell that is missing here.
template <class T, class F>
OHLOL_INLINE auto with_cell(int cell, F&& run) {
    switch (static_cast<ohlol::Cell>(cell)) {
        case ohlol::rnn: return run(Rnn<T, false>{});
        case ohlol::rnn_relu: return run(Rnn<T, true>{});
        case ohlol::gru: return run(Gru<T>{});
        case ohlol::lstm: return run(Lstm<T>{});
    }
    __builtin_unreachable();
}

}  // namespace
