// Matrix products of one thread over many rows, in blocks that fit the caches: gradients of weights and of the input.
//
// Rows may be given by pointers, so that no batch layout and no shift by a time step needs a copy.
#pragma once

#include "threads.h"
#include "tile.h"

namespace {

// The rows of a matrix: a list of pointers, or a base and a leading dimension.
template <class T>
struct Rows {
    T* const* list;
    T* base;
    i64 ld;  // of a matrix the leading dimension; of a list the column at which each row starts
    static Rows listed(T* const* rows, i64 column = 0) { return {rows, nullptr, column}; }
    static Rows matrix(T* base, i64 ld) { return {nullptr, base, ld}; }
    T* at(i64 i) const { return list ? list[i] + ld : base + i * ld; }
};

// c (M, N) = a b, or c += a b with `add`. b has K rows of N numbers; a has M rows of K numbers, or K rows of M if transposed.
template <class T>
struct Gemm {
    i64 M, N, K;
    Rows<const T> a, b;
    Rows<T> c;
    bool add;
};

template <class T>
struct GemmBlocks {
    static constexpr int NV = 2;
    static constexpr i64 width = NV * Simd<T>::lanes;
    static constexpr i64 rows = max_rows(NV);
    static constexpr i64 K = 1024 / sizeof(T);  // a panel of b stays in the L1 cache,
    static constexpr i64 M = 16 * rows;         // a block of a in L2,
    static constexpr i64 panels = 16;           // and a block of b in L3
    static constexpr i64 pad = 64 / sizeof(T);  // rows at distances of a power of two would share cache sets
    static constexpr i64 space = (M + panels * width) * (K + pad);
};

// Copies few numbers; calling memcpy would take longer.
template <class T>
OHLOL_INLINE void copy_few(T* to, const T* from, i64 n) {
    constexpr i64 L = Simd<T>::lanes;
    for (i64 i = 0; i < n; i += L) store_part<T>(to + i, load_part<T>(from + i, min(n - i, L)), min(n - i, L));
}

// `space` holds GemmBlocks<T>::space numbers.
template <class T, bool TransposedA>
void gemm(const Gemm<T>& product, T* space) {
    using Blocks = GemmBlocks<T>;
    constexpr i64 width = Blocks::width;
    constexpr int NV = Blocks::NV;
    T *a = space, *b = space + Blocks::M * (Blocks::K + Blocks::pad);
    alignas(64) T sums[accumulators * Simd<T>::lanes];
    const i64 k_blocks = max(1, (product.K + Blocks::K - 1) / Blocks::K);  // K = 0 writes zeros
    for (i64 col0 = 0; col0 < product.N; col0 += Blocks::panels * width) {
        const i64 cols = min(Blocks::panels * width, product.N - col0);
        for (i64 kb = 0; kb < k_blocks; ++kb) {
            const Range k = split(product.K, static_cast<int>(kb), static_cast<int>(k_blocks));
            const i64 K = k.size(), ld = K + Blocks::pad;
            for (i64 i = 0; i < K; ++i) {  // pack b as b[panel][k][width]
                const T* row = product.b.at(k.lo + i) + col0;
                for (i64 col = 0; col < cols; col += width) {
                    T* to = b + col * ld + i * width;
                    for (int v = 0; v < NV; ++v) {
                        const i64 from = col + v * Simd<T>::lanes, have = cols - from;
                        store<T>(to + v * Simd<T>::lanes, have >= Simd<T>::lanes ? load<T>(row + from)
                                                                                 : load_part<T>(row + from, max(have, 0)));
                    }
                }
            }
            const bool add = product.add || kb > 0;
            for (i64 m0 = 0; m0 < product.M; m0 += Blocks::M) {
                const i64 m1 = min(m0 + Blocks::M, product.M);
                // A block of a is copied row by row; a transposed one by tiles of rows, one k after the other, unless its
                // rows are at one distance: then the tiles read it where it is.
                const bool reads_in_place = TransposedA && !product.a.list;
                if constexpr (TransposedA) {
                    for (i64 i = 0; i < K && !reads_in_place; ++i) {
                        const T* row = product.a.at(k.lo + i);
                        for_row_tiles<T, NV>(m0, m1, [&](i64 m, i64 n, TileFn<T>) {
                            copy_few<T>(a + (m - m0) * ld + i * n, row + m, n);
                        });
                    }
                } else {
                    for (i64 m = m0; m < m1; ++m)
                        std::memcpy(a + (m - m0) * ld, product.a.at(m) + k.lo, sizeof(T) * K);
                }
                for (i64 col = 0; col < cols; col += width) {
                    const i64 have = min(width, cols - col);
                    for_row_tiles<T, NV, TransposedA>(m0, m1, [&](i64 m, i64 n, TileFn<T> fn) {
                        const T* from = reads_in_place ? product.a.at(k.lo) + m : a + (m - m0) * ld;
                        fn(K, from, reads_in_place ? product.a.ld : TransposedA ? n : ld, b + col * ld, sums);
                        for (i64 i = 0; i < n; ++i) {
                            T* to = product.c.at(m + i) + col0 + col;
                            for (int v = 0; v < NV; ++v) {
                                const i64 at = v * Simd<T>::lanes, left = have - at;
                                Vec<T> sum = load<T>(sums + i * width + at);
                                if (left >= Simd<T>::lanes) {
                                    if (add) sum += load<T>(to + at);
                                    store<T>(to + at, sum);
                                } else if (left > 0) {
                                    if (add) sum += load_part<T>(to + at, left);
                                    store_part<T>(to + at, sum, left);
                                }
                            }
                        }
                    });
                }
            }
        }
    }
}

}  // namespace
