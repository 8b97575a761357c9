// The matrix product of the time loop: a few rows of state times one panel of packed weights, held in registers.
//
// A panel is a block of a matrix of weights, copied to contiguous aligned memory as K rows of NV vectors. Its product with a
// row of state is NV vectors, which fit in registers.
#pragma once

#include <utility>  // std::integer_sequence, which has no code

#include "simd.h"

namespace {

#if defined(__AVX512F__)
constexpr int accumulators = 24;  // of 32 registers
#else
constexpr int accumulators = 12;  // of 16
#endif

constexpr int max_rows(int vectors) { return accumulators / vectors; }

// a (MR, K) w (K, NV * lanes), with store(row, v, sum) for each vector of the product; w is a packed panel: aligned, row after
// row. TransposedA: a holds its transpose (K, MR), as a weight gradient needs it.
template <class T, int NV, int MR, bool TransposedA, class Store>
OHLOL_INLINE void multiply_registers(i64 K, const T* a, i64 lda, const T* w, Store&& store) {
    using V = Vec<T>;
    constexpr int lanes = Simd<T>::lanes;
    // With few rows the latency of dependent additions is the limit, so several partial sums are computed in parallel.
    constexpr int KU = MR * NV >= 8 ? 1 : (MR * NV >= 4 ? 2 : 4);
    V acc[KU][MR][NV];
    OHLOL_UNROLL(4)
    for (int u = 0; u < KU; ++u)
        OHLOL_UNROLL(12)
        for (int i = 0; i < MR; ++i)
            OHLOL_UNROLL(4)
            for (int v = 0; v < NV; ++v) acc[u][i][v] = V{};
    i64 k = 0;
    for (; k + KU <= K; k += KU) {
        OHLOL_UNROLL(4)
        for (int u = 0; u < KU; ++u) {
            const V* b = reinterpret_cast<const V*>(w);
            w += NV * lanes;
            OHLOL_UNROLL(12)
            for (int i = 0; i < MR; ++i) {
                const T s = TransposedA ? a[(k + u) * lda + i] : a[i * lda + k + u];
                OHLOL_UNROLL(4)
                for (int v = 0; v < NV; ++v) acc[u][i][v] += b[v] * s;
            }
        }
    }
    for (; k < K; ++k) {
        const V* b = reinterpret_cast<const V*>(w);
        w += NV * lanes;
        OHLOL_UNROLL(12)
        for (int i = 0; i < MR; ++i)
            OHLOL_UNROLL(4)
            for (int v = 0; v < NV; ++v) acc[0][i][v] += b[v] * (TransposedA ? a[k * lda + i] : a[i * lda + k]);
    }
    OHLOL_UNROLL(12)
    for (int i = 0; i < MR; ++i)
        OHLOL_UNROLL(4)
        for (int v = 0; v < NV; ++v) {
            V sum = acc[0][i][v];
            OHLOL_UNROLL(4)
            for (int u = 1; u < KU; ++u) sum += acc[u][i][v];
            store(i, v, sum);
        }
}

// dst (MR, NV * lanes) = a (MR, K) w (K, NV * lanes).
template <class T, int NV, int MR, bool TransposedA>
void tile(i64 K, const T* a, i64 lda, const T* w, T* dst) {
    multiply_registers<T, NV, MR, TransposedA>(
        K, a, lda, w, [&](int i, int v, Vec<T> sum) { reinterpret_cast<Vec<T>*>(dst)[i * NV + v] = sum; });
}

template <class T>
using TileFn = void (*)(i64 K, const T* a, i64 lda, const T* w, T* dst);

template <class T, int NV, bool TransposedA = false>
struct Tiles {
    static constexpr int max = max_rows(NV);
    TileFn<T> fn[max + 1];
    template <int MR>
    constexpr void fill() {
        fn[MR] = &tile<T, NV, MR, TransposedA>;
        if constexpr (MR > 1) fill<MR - 1>();
    }
    constexpr Tiles() : fn{} { fill<max>(); }
};
template <class T, int NV, bool TransposedA = false>
constexpr Tiles<T, NV, TransposedA> tiles{};

// Calls body(first_row, rows) for blocks of at most `most` rows whose sizes differ by at most one.
template <int most, class F>
OHLOL_INLINE void for_row_blocks(i64 lo, i64 hi, F&& body) {
    const i64 n = hi - lo;
    if (n <= 0) return;
    const i64 blocks = (n + most - 1) / most;
    const i64 small = n / blocks, large = n % blocks;
    i64 row = lo;
    for (i64 b = 0; b < blocks; ++b) {
        const i64 rows = small + (b < large ? 1 : 0);
        body(row, rows);
        row += rows;
    }
}

// Calls body(first_row, rows, tile_fn) for such blocks.
template <class T, int NV, bool TransposedA = false, class F>
OHLOL_INLINE void for_row_tiles(i64 lo, i64 hi, F&& body) {
    for_row_blocks<max_rows(NV)>(lo, hi, [&](i64 row, i64 rows) { body(row, rows, tiles<T, NV, TransposedA>.fn[rows]); });
}

constexpr i64 round_up(i64 n, i64 m) { return (n + m - 1) / m * m; }

// Which lane of the pair (a, b) is lane i after blocks of d lanes were swapped: the upper block of each a with the lower one of
// b. As constants of the compiler, which Clang asks for.
template <int L, int d, bool High>
constexpr int swapped_lane(int i) {
    if constexpr (High) return i & d ? L + i : i + d;
    return i & d ? L + i - d : i;
}

template <class T, int d, bool High, int... lane>
OHLOL_INLINE Vec<T> swap_blocks(Vec<T> a, Vec<T> b, std::integer_sequence<int, lane...>) {
    constexpr int L = Simd<T>::lanes;
#if defined(__clang__)
    return __builtin_shufflevector(a, b, swapped_lane<L, d, High>(lane)...);
#else
    return __builtin_shuffle(a, b, typename Simd<T>::I{swapped_lane<L, d, High>(lane)...});
#endif
}

// Transposes the lanes x lanes numbers in r: each stage swaps blocks of half the size of the stage before.
template <class T, int d = Simd<T>::lanes / 2>
OHLOL_INLINE void transpose(Vec<T> (&r)[Simd<T>::lanes]) {
    constexpr int L = Simd<T>::lanes;
    constexpr std::make_integer_sequence<int, L> lanes{};
    OHLOL_UNROLL(16)
    for (int i = 0; i < L; ++i)
        if (!(i & d)) {
            const Vec<T> first = swap_blocks<T, d, false>(r[i], r[i + d], lanes);
            r[i + d] = swap_blocks<T, d, true>(r[i], r[i + d], lanes);
            r[i] = first;
        }
    if constexpr (d > 1) transpose<T, d / 2>(r);
}

// Packs a panel of the transpose of m (n rows, K columns, leading dimension ld): panel[k][v][lane] = m[first[v] + lane][k].
// first[v] is the row of m in the panel's vector v, count[v] the number of its lanes that exist; the others become zero.
template <class T, int NV>
void pack_panel_transposed(const T* m, i64 ld, i64 K, const i64* first, const i64* count, T* panel) {
    constexpr i64 L = Simd<T>::lanes;
    for (int v = 0; v < NV; ++v)
        for (i64 k = 0; k < K; k += L) {
            const i64 columns = K - k < L ? K - k : L;
            Vec<T> square[L];
            for (i64 lane = 0; lane < L; ++lane) {
                const T* s = m + (first[v] + lane) * ld + k;
                square[lane] = lane >= count[v] ? Vec<T>{} : columns == L ? load<T>(s) : load_part<T>(s, columns);
            }
            transpose<T>(square);
            for (i64 i = 0; i < columns; ++i) store<T>(panel + (k + i) * NV * L + v * L, square[i]);
        }
}

// Packs a panel of m (K, n) as it is: `width` columns from `col`, zero from column n on.
template <class T>
void pack_panel(const T* m, i64 ld, i64 K, i64 n, i64 col, i64 width, T* panel) {
    const i64 have = n - col < width ? n - col : width;
    for (i64 k = 0; k < K; ++k) {
        T* d = panel + k * width;
        std::memcpy(d, m + k * ld + col, sizeof(T) * have);
        for (i64 i = have; i < width; ++i) d[i] = T(0);
    }
}

}  // namespace
