// A thread's matrix product over many rows at once, in blocks that fit the caches: weight gradients, gradients of the input.
//
// The rows of an operand are given one by one, so that no layout of a batch and no shift by a time step needs a copy.
#pragma once

#include "team.h"
#include "tile.h"

namespace {

// Rows listed one by one, or at equal distances.
template <class T>
struct Rows {
    T* const* list;
    T* base;
    i64 ld;
    static Rows listed(T* const* rows, i64 column = 0) { return {rows, nullptr, column}; }
    static Rows matrix(T* base, i64 ld) { return {nullptr, base, ld}; }
    T* at(i64 i) const { return list ? list[i] + ld : base + i * ld; }
};

// c (M, N) = a b, or c += a b; b has K rows of N numbers; a has M rows of K, or, turned, K rows of M.
template <class T>
struct Product {
    i64 M, N, K;
    Rows<const T> a, b;
    Rows<T> c;
    bool add;
};

template <class T>
struct ProductBlocks {
    static constexpr int NV = 2;
    static constexpr i64 width = NV * Simd<T>::lanes;
    static constexpr i64 rows = max_rows(NV);
    static constexpr i64 K = 1024 / sizeof(T);     // a panel of b stays in the first cache,
    static constexpr i64 M = 16 * rows;            // a block of a in the second,
    static constexpr i64 panels = 16;              // and a block of b in the last
    static constexpr i64 pad = 64 / sizeof(T);     // rows a power of two apart would fall on the same cache lines
    static constexpr i64 space = (M + panels * width) * (K + pad);
};

// A copy so short that calling memcpy would take longer.
template <class T>
OHLOL_INLINE void copy_few(T* to, const T* from, i64 n) {
    constexpr i64 L = Simd<T>::lanes;
    for (i64 i = 0; i < n; i += L) store_part<T>(to + i, load_part<T>(from + i, least(n - i, L)), least(n - i, L));
}

// `space` has room for ProductBlocks<T>::space numbers.
template <class T, bool Turned>
void product(const Product<T>& p, T* space) {
    using Blocks = ProductBlocks<T>;
    constexpr i64 width = Blocks::width;
    constexpr int NV = Blocks::NV;
    T *a = space, *b = space + Blocks::M * (Blocks::K + Blocks::pad);
    alignas(64) T sums[accumulators * Simd<T>::lanes];
    const i64 k_blocks = most(1, (p.K + Blocks::K - 1) / Blocks::K);  // no rows at all: zeros
    for (i64 col0 = 0; col0 < p.N; col0 += Blocks::panels * width) {
        const i64 cols = least(Blocks::panels * width, p.N - col0);
        for (i64 kb = 0; kb < k_blocks; ++kb) {
            const Span k = share(p.K, static_cast<int>(kb), static_cast<int>(k_blocks));
            const i64 K = k.size(), ld = K + Blocks::pad;
            for (i64 i = 0; i < K; ++i) {  // panels side by side: b[panel][k][width]
                const T* row = p.b.at(k.lo + i) + col0;
                for (i64 col = 0; col < cols; col += width) {
                    T* to = b + col * ld + i * width;
                    for (int v = 0; v < NV; ++v) {
                        const i64 from = col + v * Simd<T>::lanes, have = cols - from;
                        store<T>(to + v * Simd<T>::lanes, have >= Simd<T>::lanes ? load<T>(row + from)
                                                                                 : load_part<T>(row + from, most(have, 0)));
                    }
                }
            }
            const bool add = p.add || kb > 0;
            for (i64 m0 = 0; m0 < p.M; m0 += Blocks::M) {
                const i64 m1 = least(m0 + Blocks::M, p.M);
                // Straight, each row of the block is copied; turned, each tile of rows, one k after the other.
                if constexpr (Turned) {
                    for (i64 i = 0; i < K; ++i) {
                        const T* row = p.a.at(k.lo + i);
                        for_row_tiles<T, NV>(m0, m1, [&](i64 m, i64 n, TileFn<T>) {
                            copy_few<T>(a + (m - m0) * ld + i * n, row + m, n);
                        });
                    }
                } else {
                    for (i64 m = m0; m < m1; ++m)
                        std::memcpy(a + (m - m0) * ld, p.a.at(m) + k.lo, sizeof(T) * K);
                }
                for (i64 col = 0; col < cols; col += width) {
                    const i64 have = least(width, cols - col);
                    for_row_tiles<T, NV, Turned>(m0, m1, [&](i64 m, i64 n, TileFn<T> fn) {
                        fn(K, a + (m - m0) * ld, Turned ? n : ld, b + col * ld, sums);
                        for (i64 i = 0; i < n; ++i) {
                            T* to = p.c.at(m + i) + col0 + col;
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
