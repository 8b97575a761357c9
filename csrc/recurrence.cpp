// The kernels of one instruction set: compiled once for each (OHLOL_VARIANT), every cell, float32 and float64.
//
// Nothing here or in its headers may use the standard library's templates: their code would be emitted with this file's
// instruction set and could be chosen by the linker for everyone.
#include "backward.h"
#include "forward.h"

namespace {

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
                count[v] = n - first[v] < 0 ? 0 : least(n - first[v], L);
            }
            pack_transposed<T, 4>(W, K, K, first, count, static_cast<T*>(to) + col * K);
        }
    return static_cast<std::size_t>(round_up(n, width) * K) * sizeof(T);
}

template <class T>
void dense(int threads, i64 rows, const T* x, const void* packed, const T* bias, i64 n, i64 K, T* y) {
    constexpr i64 width = 4 * Simd<T>::lanes;
    const auto panels = [&](int part, int parts) {
        alignas(64) T sums[accumulators * Simd<T>::lanes];
        const Span mine = share((n + width - 1) / width, part, parts);
        for (i64 col = mine.lo * width; col < least(mine.hi * width, n); col += width)
            for_row_tiles<T, 4>(0, rows, [&](i64 first, i64 count, TileFn<T> fn) {
                fn(K, x + first * K, K, static_cast<const T*>(packed) + col * K, sums);
                for (i64 i = 0; i < count; ++i)
                    for (i64 j = 0; j < least(width, n - col); ++j)
                        y[(first + i) * n + col + j] = sums[i * width + j] + (bias ? bias[col + j] : T(0));
            });
    };
    if (threads <= 1 || double(rows) * double(n) * double(K) < 4e5) return panels(0, 1);
#pragma omp parallel num_threads(threads)
    panels(omp_get_thread_num(), omp_get_num_threads());
}

template <class T>
void map(int function, const T* x, T* y, i64 n) {
    constexpr i64 L = Simd<T>::lanes;
    for (i64 i = 0; i < n; i += L) {
        const i64 m = least(n - i, L);
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
