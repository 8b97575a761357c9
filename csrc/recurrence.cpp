// The time loop, forward and backward, for every cell; compiled once for each instruction set (OHLOL_VARIANT).
//
// Nothing here may use the standard library's templates: their code would be emitted with this file's instruction set and
// could be chosen by the linker for everyone.
#include <omp.h>
#include <sched.h>

#include "cells.h"

namespace {

using ohlol::Barrier;
using ohlol::Scratch;
using ohlol::Sequence;

// The spin must end: if the machine has more work than cores, the thread waited for needs this one's core.
void wait(Barrier& barrier, int threads) {
    const int generation = __atomic_load_n(&barrier.generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&barrier.waiting, 1, __ATOMIC_ACQ_REL) == threads) {
        __atomic_store_n(&barrier.waiting, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&barrier.generation, generation + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spins = 0; __atomic_load_n(&barrier.generation, __ATOMIC_ACQUIRE) == generation; ++spins) {
        if (spins < 1000) {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        } else {
            sched_yield();
        }
    }
}

// Hands out pieces of one block; run once with no block to learn the size.
struct Bump {
    char* base;
    std::size_t used = 0;
    template <class T>
    T* take(i64 n) {
        char* p = base ? base + used : nullptr;
        used += (static_cast<std::size_t>(n) * sizeof(T) + 63) / 64 * 64;
        return reinterpret_cast<T*>(p);
    }
};

struct Span {
    i64 lo, hi;
};

Span share(i64 n, int part, int parts) { return {n * part / parts, n * (part + 1) / parts}; }

// Entries of the batch for one thread, so that every thread has about the same number of rows.
template <class T>
Span share_batch(const Sequence<T>& q, int part, int parts) {
    if (!q.batch_sizes) return share(q.B, part, parts);
    const i64 from = q.rows * part / parts, to = q.rows * (part + 1) / parts;
    i64 t = q.T_ - 1, before = 0, lo = -1, hi = q.B;
    for (i64 b = 0; b < q.B; ++b) {
        if (lo < 0 && before >= from) lo = b;
        if (before >= to) {
            hi = b;
            break;
        }
        while (t >= 0 && q.batch_sizes[t] <= b) --t;
        before += t + 1;
    }
    if (part == parts - 1) hi = q.B;
    if (lo < 0) lo = hi;
    return {lo, hi};
}

template <class T>
bool few_entries(const Sequence<T>& q) {
    return q.B < q.threads || (q.H >= 128 && q.B < 4 * q.threads);
}

template <class T>
int threads_for(const Sequence<T>& q, int gates, i64 panels) {
    const double work = double(q.rows) * double(q.H) * double(gates) * double(q.H + (q.W_ih ? q.I : 0));
    if (q.threads <= 1 || work < q.serial_below) return 1;
    const i64 most = few_entries(q) ? panels : q.B;
    return static_cast<int>(q.threads < most ? q.threads : most);
}

// out (M, n) = a (M, K) times packed panels of NV vectors; rows [lo, hi). `Turned`: a is (K, M).
template <class T, int NV, bool Turned>
void product(const T* a, i64 lda, const T* packed, i64 K, i64 n, T* out, i64 ldo, i64 lo, i64 hi) {
    constexpr i64 width = NV * Simd<T>::lanes;
    alignas(64) T sums[accumulators * Simd<T>::lanes];
    for (i64 col = 0; col < n; col += width) {
        const i64 m = n - col < width ? n - col : width;
        const T* panel = packed + col * K;
        for_row_tiles<T, NV, Turned>(lo, hi, [&](i64 row, i64 rows, TileFn<T> fn) {
            fn(K, Turned ? a + row : a + row * lda, lda, panel, sums);
            for (i64 i = 0; i < rows; ++i) std::memcpy(out + (row + i) * ldo + col, sums + i * width, sizeof(T) * m);
        });
    }
}

template <class T, class C>
struct ForwardScratch {
    static constexpr i64 L = Simd<T>::lanes, width = C::units * L;
    i64 panels, padded, ld, GH;
    std::size_t packed_bytes;
    T *weights, *bias, *h[2], *c, *x_weights;

    ForwardScratch(const Forward<T>& q, char* base, std::size_t& bytes) {
        Bump bump{base};
        panels = (q.H + width - 1) / width;
        padded = panels * width;
        ld = padded + 16;
        GH = C::G * q.H;
        // What is made of the weights alone comes first: a stream keeps it from call to call.
        Bump kept{q.packed ? static_cast<char*>(q.packed) : base};
        weights = kept.take<T>(panels * q.H * C::NV * L);
        bias = kept.take<T>((C::G + 1) * padded);
        x_weights = kept.take<T>(q.W_ih && q.I ? panels * q.I * C::NV * L : 0);
        packed_bytes = kept.used;
        if (!q.packed) bump.used = kept.used;
        for (T*& half : h) half = bump.take<T>(q.B * ld);
        c = bump.take<T>(C::has_cell ? q.B * padded : 0);
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
        if (q.W_ih && q.I) pack_transposed<T, C::NV>(q.W_ih, q.I, q.I, first, count, s.x_weights + p * q.I * C::NV * L);
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
void forward_part(const Forward<T>& q, const ForwardScratch<T, C>& s, int part, int parts, bool by_hidden, Barrier& barrier) {
    using Sc = ForwardScratch<T, C>;
    constexpr i64 L = Sc::L, width = Sc::width;
    const i64 H = q.H;
    if (!q.packed) pack_forward<T, C>(q, s, share(s.panels, part, parts));
    const Span mine = share(q.B, part, parts);
    for (i64 b = mine.lo; b < mine.hi; ++b) {
        for (T* half : s.h) {
            if (q.h_0)
                std::memcpy(half + b * s.ld, q.h_0 + b * H, sizeof(T) * H);
            else
                std::memset(half + b * s.ld, 0, sizeof(T) * H);
        }
        if (C::has_cell) {
            if (q.c_0)
                std::memcpy(s.c + b * s.padded, q.c_0 + b * H, sizeof(T) * H);
            else
                std::memset(s.c + b * s.padded, 0, sizeof(T) * H);
        }
    }
    if (parts > 1) wait(barrier, parts);
    const Span batch = by_hidden ? Span{0, q.B} : share_batch(q, part, parts);
    const Span panel = by_hidden ? share(s.panels, part, parts) : Span{0, s.panels};
    const i64 col0 = panel.lo * width, col1 = panel.hi * width < H ? panel.hi * width : H;
    alignas(64) T sums[accumulators * L], x_sums[accumulators * L];
    for (i64 step = 0; step < q.T_; ++step) {
        const i64 t = q.reverse ? q.T_ - 1 - step : step;
        const i64 n = q.n(t), lo = batch.lo, hi = batch.hi < n ? batch.hi : n;
        const T* before = s.h[step & 1];
        T* after = s.h[(step + 1) & 1];
        for (i64 p = panel.lo; p < panel.hi; ++p) {
            const T* weights = s.weights + p * H * C::NV * L;
            const i64 j = p * width;
            const bool full = j + width <= H;
            for_row_tiles<T, C::NV>(lo, hi, [&](i64 first, i64 rows, TileFn<T> fn) {
                fn(H, before + first * s.ld, s.ld, weights, sums);
                // The input's share: projected here, from rows batch_stride apart, or looked up.
                if (q.x)
                    fn(q.I, q.x + q.row(t, first) * q.I, q.batch_stride * q.I, s.x_weights + p * q.I * C::NV * L, x_sums);
                for (i64 i = 0; i < rows; ++i) {
                    const i64 b = first + i, row = q.row(t, b);
                    const RowForward<T> r{sums + i * C::NV * L,
                                          q.x ? x_sums + i * C::NV * L - j : q.projected + (q.ids ? q.ids[row] : row) * s.GH,
                                          q.x ? L : H,
                                          s.bias,
                                          before + b * s.ld,
                                          after + b * s.ld,
                                          C::has_cell ? s.c + b * s.padded : nullptr,
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
        if (col1 > col0)
            for (i64 b = lo > alive ? lo : alive; b < hi; ++b)
                std::memcpy(q.h_n + b * H + col0, after + b * s.ld + col0, sizeof(T) * (col1 - col0));
        if (by_hidden && parts > 1 && !last) wait(barrier, parts);
    }
    if (C::has_cell && col1 > col0)
        for (i64 b = batch.lo; b < batch.hi; ++b)
            std::memcpy(q.c_n + b * H + col0, s.c + b * s.padded + col0, sizeof(T) * (col1 - col0));
}

template <class T, class C>
void forward(const Forward<T>& q, Scratch scratch) {
    std::size_t bytes = 0;
    const ForwardScratch<T, C> plan(q, nullptr, bytes);
    const ForwardScratch<T, C> s(q, static_cast<char*>(scratch(bytes)), bytes);
    const bool by_hidden = few_entries(q);
    const int threads = threads_for(q, C::G, plan.panels);
    Barrier barrier;
    if (threads == 1) {
        forward_part<T, C>(q, s, 0, 1, false, barrier);
        return;
    }
#pragma omp parallel num_threads(threads)
    forward_part<T, C>(q, s, omp_get_thread_num(), omp_get_num_threads(), by_hidden, barrier);
}

template <class T, class C>
struct BackwardScratch {
    static constexpr i64 L = Simd<T>::lanes;
    static constexpr int NB = 2;  // vectors in a panel of the recurrent weights, seen from behind
    static constexpr i64 width = NB * L;
    i64 panels, padded, ld, GH, i_ld;
    T *weights, *d_local[2], *dh, *dc, *bias, *zeros, *h_before, *x_packed, *h_packed, *x_weights, *d_gates, *d_hidden_n;

    BackwardScratch(const Backward<T>& q, char* base, std::size_t& bytes, int threads) {
        Bump bump{base};
        panels = (q.H + width - 1) / width;
        padded = panels * width;
        GH = C::G * q.H;
        ld = round_up(GH, 16) + 16;
        i_ld = round_up(q.I, width);
        weights = bump.take<T>(panels * GH * width);
        for (T*& half : d_local) half = bump.take<T>(q.B * ld);
        dh = bump.take<T>(q.B * padded);
        dc = bump.take<T>(C::has_cell ? q.B * padded : 0);
        bias = bump.take<T>(2 * threads * (C::G + 1) * padded);
        zeros = bump.take<T>(padded);
        h_before = bump.take<T>(q.d_W_hh ? q.rows * q.H : 0);
        h_packed = bump.take<T>(q.d_W_hh ? q.rows * padded : 0);
        x_packed = bump.take<T>(q.d_W_ih ? q.rows * i_ld : 0);
        x_weights = bump.take<T>(q.d_x ? GH * i_ld : 0);
        d_gates = bump.take<T>(q.d_gates ? 0 : q.rows * GH);
        d_hidden_n = bump.take<T>(C::direct && !q.d_hidden_n ? q.rows * q.H : 0);
        bytes = bump.used;
    }
};

template <class T, class C>
void backward_part(const Backward<T>& q, const BackwardScratch<T, C>& s, int part, int parts, bool by_hidden, Barrier& barrier) {
    using Sc = BackwardScratch<T, C>;
    constexpr i64 L = Sc::L, width = Sc::width;
    constexpr int B1 = C::G + 1;
    const i64 H = q.H;
    const Span pack = share(s.panels, part, parts);
    for (i64 p = pack.lo; p < pack.hi; ++p)
        pack_straight<T>(q.W_hh, H, s.GH, H, p * width, width, s.weights + p * s.GH * width);
    const Span mine = share(q.B, part, parts);
    auto start = [&](T* to, const T* from) {
        for (i64 b = mine.lo; b < mine.hi; ++b) {
            if (from)
                std::memcpy(to + b * s.padded, from + b * H, sizeof(T) * H);
            else
                std::memset(to + b * s.padded, 0, sizeof(T) * H);
        }
    };
    start(s.dh, q.grad_h_n);
    if (C::has_cell) start(s.dc, q.grad_c_n);
    T* total = s.bias + 2 * part * B1 * s.padded;
    T* step_sum = total + B1 * s.padded;
    std::memset(total, 0, sizeof(T) * 2 * B1 * s.padded);
    if (part == 0) std::memset(s.zeros, 0, sizeof(T) * s.padded);
    if (parts > 1) wait(barrier, parts);

    const Span batch = by_hidden ? Span{0, q.B} : share_batch(q, part, parts);
    const Span panel = by_hidden ? share(s.panels, part, parts) : Span{0, s.panels};
    const i64 col0 = panel.lo * width, col1 = panel.hi * width < H ? panel.hi * width : H;
    T* h_before = q.d_W_hh ? s.h_before : q.h_before;
    alignas(64) T sums[accumulators * L];
    for (i64 step = 0; step < q.T_; ++step) {
        const i64 t = q.reverse ? step : q.T_ - 1 - step;
        const i64 t_before = q.reverse ? t + 1 : t - 1;  // the step whose state this one started from
        const i64 n = q.n(t), n_before = t_before < 0 || t_before >= q.T_ ? 0 : q.n(t_before);
        const i64 lo = batch.lo, hi = batch.hi < n ? batch.hi : n;
        T* local = s.d_local[by_hidden ? step & 1 : 0];
        for (i64 b = lo; b < hi; ++b) {
            const i64 row = q.row(t, b), row_before = b < n_before ? q.row(t_before, b) : -1;
            const T* h = row_before >= 0 ? q.out + row_before * q.out_ld : (q.h_0 ? q.h_0 + b * H : s.zeros);
            const T* c = nullptr;
            if (C::has_cell) c = row_before >= 0 ? q.cells + row_before * H : (q.c_0 ? q.c_0 + b * H : s.zeros);
            const RowBackward<T> r{h,
                                   q.out + row * q.out_ld,
                                   q.gates ? q.gates + row * s.GH : nullptr,
                                   q.cells ? q.cells + row * H : nullptr,
                                   c,
                                   q.hidden_n ? q.hidden_n + row * H : nullptr,
                                   q.grad_out ? q.grad_out + row * q.grad_out_ld : nullptr,
                                   s.dh + b * s.padded,
                                   C::has_cell ? s.dc + b * s.padded : nullptr,
                                   q.d_gates + row * s.GH,
                                   q.d_hidden_n ? q.d_hidden_n + row * H : nullptr,
                                   local + b * s.ld,
                                   step_sum,
                                   H,
                                   s.padded};
            i64 j = col0;
            for (; j + L <= col1; j += L) C::template backward<true>(r, j, L);
            if (j < col1) C::template backward<false>(r, j, col1 - j);
            if (h_before && col1 > col0) std::memcpy(h_before + row * H + col0, h + col0, sizeof(T) * (col1 - col0));
        }
        // Sums of sums: the error of a long sum grows with the number of steps, not of rows.
        for (int g = 0; g < B1; ++g)
            for (i64 j = col0; j < col1; j += L) {
                T *to = total + g * s.padded + j, *from = step_sum + g * s.padded + j;
                store<T>(to, load<T>(to) + load<T>(from));
                store<T>(from, Vec<T>{});
            }
        if (step == q.T_ - 1 && !q.d_h_0) break;
        if (by_hidden && parts > 1) wait(barrier, parts);
        for (i64 p = panel.lo; p < panel.hi; ++p) {
            const T* weights = s.weights + p * s.GH * width;
            for_row_tiles<T, Sc::NB>(lo, hi, [&](i64 first, i64 rows, TileFn<T> fn) {
                fn(s.GH, local + first * s.ld, s.ld, weights, sums);
                for (i64 i = 0; i < rows; ++i) {
                    T* to = s.dh + (first + i) * s.padded + p * width;
                    for (int v = 0; v < Sc::NB; ++v) {
                        const Vec<T> d = load<T>(sums + i * width + v * L);
                        store<T>(to + v * L, C::direct ? load<T>(to + v * L) + d : d);
                    }
                }
            });
        }
    }
    if (col1 > col0)
        for (i64 b = batch.lo; b < batch.hi; ++b) {
            if (q.d_h_0) std::memcpy(q.d_h_0 + b * H + col0, s.dh + b * s.padded + col0, sizeof(T) * (col1 - col0));
            if (q.d_c_0) std::memcpy(q.d_c_0 + b * H + col0, s.dc + b * s.padded + col0, sizeof(T) * (col1 - col0));
        }
    if (!q.d_x && !q.d_W_ih && !q.d_W_hh) return;

    // Small problems: the products over all rows are done here, since a call into a library costs more than they do.
    if (part == 0) {
        for (i64 col = 0; q.d_x && col < q.I; col += width)
            pack_straight<T>(q.W_ih, q.I, s.GH, q.I, col, width, s.x_weights + col * s.GH);
        for (i64 col = 0; q.d_W_ih && col < q.I; col += width)
            pack_straight<T>(q.x, q.I, q.rows, q.I, col, width, s.x_packed + col * q.rows);
    }
    if (parts > 1) wait(barrier, parts);
    for (i64 p = pack.lo; q.d_W_hh && p < pack.hi; ++p)
        pack_straight<T>(s.h_before, H, q.rows, H, p * width, width, s.h_packed + p * q.rows * width);
    if (parts > 1) wait(barrier, parts);
    if (q.d_x) {
        const Span r = share(q.rows, part, parts);
        product<T, Sc::NB, false>(q.d_gates, s.GH, s.x_weights, s.GH, q.I, q.d_x, q.I, r.lo, r.hi);
    }
    const Span g = share(s.GH, part, parts);
    if (q.d_W_ih) product<T, Sc::NB, true>(q.d_gates, s.GH, s.x_packed, q.rows, q.I, q.d_W_ih, q.I, g.lo, g.hi);
    if (q.d_W_hh) {
        const i64 apart = C::direct ? (C::G - 1) * H : s.GH;  // from here on the gradient lies in d_hidden_n
        product<T, Sc::NB, true>(q.d_gates, s.GH, s.h_packed, q.rows, H, q.d_W_hh, H, g.lo, g.hi < apart ? g.hi : apart);
        if (g.hi > apart)
            product<T, Sc::NB, true>(q.d_hidden_n, H, s.h_packed, q.rows, H, q.d_W_hh + apart * H, H,
                                     (g.lo > apart ? g.lo : apart) - apart, g.hi - apart);
    }
}

template <class T, class C>
void backward(Backward<T> q, Scratch scratch) {
    std::size_t bytes = 0;
    const i64 panels = (q.H + BackwardScratch<T, C>::width - 1) / BackwardScratch<T, C>::width;
    const int threads = threads_for(q, C::G, panels);
    const BackwardScratch<T, C> plan(q, nullptr, bytes, threads);
    const BackwardScratch<T, C> s(q, static_cast<char*>(scratch(bytes)), bytes, threads);
    if (!q.d_gates) q.d_gates = s.d_gates;
    if (C::direct && !q.d_hidden_n) q.d_hidden_n = s.d_hidden_n;
    const bool by_hidden = few_entries(q);
    Barrier barrier;
    int parts = 1;
    if (threads == 1) {
        backward_part<T, C>(q, s, 0, 1, false, barrier);
    } else {
#pragma omp parallel num_threads(threads)
        {
            if (omp_get_thread_num() == 0) parts = omp_get_num_threads();
            backward_part<T, C>(q, s, omp_get_thread_num(), omp_get_num_threads(), by_hidden, barrier);
        }
    }
    constexpr int B1 = C::G + 1;
    for (int g = 0; g < B1; ++g) {
        T* to = g < C::G ? (q.d_bias ? q.d_bias + g * q.H : nullptr) : (C::direct ? q.d_bias_n : nullptr);
        if (!to) continue;
        for (i64 j = 0; j < q.H; ++j) {
            T sum = 0;
            for (int p = 0; p < parts; ++p) sum += s.bias[(2 * p * B1 + g) * s.padded + j];
            to[j] = sum;
        }
    }
}

// The packed weights of a stream: their size with no destination, and then themselves.
template <class T, class C>
std::size_t pack(const Forward<T>& q, void* to) {
    std::size_t bytes = 0;
    const ForwardScratch<T, C> s(q, static_cast<char*>(to), bytes);
    if (to) pack_forward<T, C>(q, s, {0, s.panels});
    return s.packed_bytes;
}

template <class T>
std::size_t pack_any(const Forward<T>& q, void* to) {
    switch (q.cell) {
        case ohlol::rnn_tanh: return pack<T, Rnn<T, false>>(q, to);
        case ohlol::rnn_relu: return pack<T, Rnn<T, true>>(q, to);
        case ohlol::gru: return pack<T, Gru<T>>(q, to);
        default: return pack<T, Lstm<T>>(q, to);
    }
}

// y (rows, n) = x (rows, K) W^T + b from packed weights W (n, K); the head of a stream.
template <class T>
std::size_t pack_dense(const T* W, i64 n, i64 K, void* to) {
    constexpr i64 L = Simd<T>::lanes, width = 4 * L;
    if (to)
        for (i64 col = 0; col < n; col += width) {
            i64 first[4], count[4];
            for (int v = 0; v < 4; ++v) {
                first[v] = col + v * L;
                count[v] = n - first[v] < 0 ? 0 : (n - first[v] < L ? n - first[v] : L);
            }
            pack_transposed<T, 4>(W, K, K, first, count, static_cast<T*>(to) + col * K);
        }
    return static_cast<std::size_t>(round_up(n, width) * K) * sizeof(T);
}

template <class T>
void dense(int threads, i64 rows, const T* x, const void* packed, const T* bias, i64 n, i64 K, T* y) {
    constexpr i64 width = 4 * Simd<T>::lanes;
    const i64 panels = (n + width - 1) / width;
    const auto part = [&](int part, int parts) {
        const Span s = share(panels, part, parts);
        const i64 lo = s.lo * width, hi = s.hi * width < n ? s.hi * width : n;
        if (hi <= lo) return;
        product<T, 4, false>(x, K, static_cast<const T*>(packed) + lo * K, K, hi - lo, y + lo, n, 0, rows);
        for (i64 r = 0; bias && r < rows; ++r)
            for (i64 i = lo; i < hi; ++i) y[r * n + i] += bias[i];
    };
    if (threads <= 1 || double(rows) * double(n) * double(K) < 4e5) return part(0, 1);
#pragma omp parallel num_threads(threads)
    part(omp_get_thread_num(), omp_get_num_threads());
}

template <class T>
void forward_any(const Forward<T>& q, Scratch scratch) {
    switch (q.cell) {
        case ohlol::rnn_tanh: return forward<T, Rnn<T, false>>(q, scratch);
        case ohlol::rnn_relu: return forward<T, Rnn<T, true>>(q, scratch);
        case ohlol::gru: return forward<T, Gru<T>>(q, scratch);
        default: return forward<T, Lstm<T>>(q, scratch);
    }
}

template <class T>
void backward_any(const Backward<T>& q, Scratch scratch) {
    switch (q.cell) {
        case ohlol::rnn_tanh: return backward<T, Rnn<T, false>>(q, scratch);
        case ohlol::rnn_relu: return backward<T, Rnn<T, true>>(q, scratch);
        case ohlol::gru: return backward<T, Gru<T>>(q, scratch);
        default: return backward<T, Lstm<T>>(q, scratch);
    }
}

template <class T>
void map(int function, const T* x, T* y, i64 n) {
    constexpr i64 L = Simd<T>::lanes;
    for (i64 i = 0; i < n; i += L) {
        const i64 m = n - i < L ? n - i : L;
        const Vec<T> v = load_part<T>(x + i, m);
        store_part<T>(y + i, function == 0 ? vtanh<T>(v) : vsigmoid<T>(v), m);
    }
}

}  // namespace

#define OHLOL_STRING_(x) #x
#define OHLOL_STRING(x) OHLOL_STRING_(x)
#define OHLOL_JOIN_(a, b) a##b
#define OHLOL_JOIN(a, b) OHLOL_JOIN_(a, b)

template <class T>
constexpr ohlol::Functions<T> functions{&forward_any<T>, &backward_any<T>, &pack_any<T>, &pack_dense<T>, &dense<T>, &map<T>};

const ohlol::Variant ohlol::OHLOL_JOIN(variant_, OHLOL_VARIANT) = {OHLOL_STRING(OHLOL_VARIANT), functions<float>,
                                                                  functions<double>};
