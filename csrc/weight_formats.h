// The formats of packed weights, and the products of the time loop with each. reduced_weights.h has two that are shorter.
//
// A format defines how a panel of weights (tile.h) is stored, what the rows of state and input become before a product, and the
// tiles. Sums, scales and results have the type Number of the layer. F is a format.
#pragma once

#include "tile.h"

namespace {

// The first of some rows, and the distance of the next one.
template <class Row>
struct RowSpan {
    const Row* first;
    i64 ld;
    const Row* at(i64 i) const { return first + i * ld; }
};

template <class T>
struct PlainWeights {
    using Number = T;
    using Weight = T;
    using Row = T;
    static constexpr bool prepares_rows = false;

    template <int NV>
    static constexpr i64 panel_size(i64 K) {
        return K * NV * Simd<T>::lanes;
    }
    template <int NV>
    static void pack_panel(const T* m, i64 K, const i64* first, const i64* count, T* panel) {
        pack_panel_transposed<T, NV>(m, K, K, first, count, panel);
    }
    template <int NV, int MR>
    static void multiply(i64 K, const T* a, i64 lda, const T* w, T* dst) {
        tile<T, NV, MR, false>(K, a, lda, w, dst);
    }
};

// Rows as the products of a format read them: as they are, or prepared in `space`.
template <class F>
OHLOL_INLINE RowSpan<typename F::Row> prepare_rows(RowSpan<typename F::Number> rows, i64 count, i64 K, typename F::Row* space) {
    if constexpr (F::prepares_rows) {
        for (i64 i = 0; i < count; ++i) F::prepare_row(rows.at(i), K, space + i * F::row_size(K));
        return {space, F::row_size(K)};
    } else {
        (void)count, (void)K, (void)space;
        return rows;
    }
}

template <class F>
using FormatTile = void (*)(i64 K, const typename F::Row* a, i64 lda, const typename F::Weight* w, typename F::Number* dst);

template <class F, int NV>
struct FormatTiles {
    static constexpr int max = max_rows(NV);
    FormatTile<F> fn[max + 1];
    template <int MR>
    constexpr void fill() {
        fn[MR] = &F::template multiply<NV, MR>;
        if constexpr (MR > 1) fill<MR - 1>();
    }
    constexpr FormatTiles() : fn{} { fill<max>(); }
};
template <class F, int NV>
constexpr FormatTiles<F, NV> format_tiles{};

// As for_row_tiles, with the tiles of a format.
template <class F, int NV, class Body>
OHLOL_INLINE void for_format_tiles(i64 lo, i64 hi, Body&& body) {
    for_row_blocks<max_rows(NV)>(lo, hi, [&](i64 row, i64 rows) { body(row, rows, format_tiles<F, NV>.fn[rows]); });
}

}  // namespace
