// Products of any rows with matrices of fewer bits, for the vector machine, in the formats of reduced_weights.h.
#pragma once

#include "panels.h"
#include "reduced_weights.h"

namespace {

using ohlol::ReducedProduct;

constexpr i64 reduced_panel_vectors = 4;  // in a panel at most, whatever the number of rows

template <int N>
struct Vectors {
    static constexpr int count = N;
};

// Calls run(Vectors<n>{}).
template <class Run>
OHLOL_INLINE void with_vectors(i64 n, Run&& run) {
    switch (n) {
        case 1: return run(Vectors<1>{});
        case 2: return run(Vectors<2>{});
        case 3: return run(Vectors<3>{});
        default: return run(Vectors<4>{});
    }
}

template <class F>
std::size_t reduced_matrix_bytes(i64 K, i64 N) {
    const i64 vectors = (N + F::L - 1) / F::L;
    return static_cast<std::size_t>(round_up(vectors * F::template panel_size<1>(K) * sizeof(typename F::Weight), 64));
}

// Packs a matrix of K rows and N columns, given as the N rows of its transpose.
template <class F>
void pack_reduced_matrix(i64 K, i64 N, const float* rows, void* destination) {
    const Panels panels(N, F::L, reduced_panel_vectors);
    for (i64 p = 0; p < panels.count; ++p) {
        const Range vectors = panels.at(p);
        auto* panel = static_cast<typename F::Weight*>(destination) + vectors.lo * F::template panel_size<1>(K);
        with_vectors(vectors.size(), [&](auto n) {
            constexpr int NV = decltype(n)::count;
            i64 first[NV], count[NV];
            for (int v = 0; v < NV; ++v) {
                first[v] = (vectors.lo + v) * F::L;
                count[v] = max(0, min(F::L, N - first[v]));
            }
            F::template pack_panel<NV>(rows, K, first, count, panel);
        });
    }
}

template <class F, int NV>
void multiply_reduced_panel(const ReducedProduct& product, const typename F::Weight* panel, i64 col) {
    constexpr i64 L = F::L;
    alignas(64) float sums[accumulators * L];
    const RowSpan<typename F::Row> rows{static_cast<const typename F::Row*>(product.rows), product.row_stride};
    for_format_tiles<F, NV>(0, product.count, [&](i64 first, i64 tile_rows, FormatTile<F> multiply) {
        multiply(product.K, rows.at(first), rows.ld, panel, sums);
        for (i64 i = 0; i < tile_rows; ++i) {
            const float* b = product.b ? product.b + (first + i) * product.b_stride : nullptr;
            const float* c = product.c ? product.c + (first + i) * product.c_stride : nullptr;
            float* result = product.result + (first + i) * product.result_stride;
            OHLOL_UNROLL(4)
            for (int v = 0; v < NV; ++v) {
                const i64 j = col + v * L, n = product.N - j;
                Vec<float> sum = load<float>(sums + (i * NV + v) * L);
                if (n >= L) {
                    if (b) sum += load<float>(b + j);
                    if (c) sum += load<float>(c + j);
                    store<float>(result + j, sum);
                } else {
                    if (b) sum += load_part<float>(b + j, n);
                    if (c) sum += load_part<float>(c + j, n);
                    store_part<float>(result + j, sum, n);
                }
            }
        }
    });
}

template <class F>
void multiply_reduced(const ReducedProduct& product) {
    const Panels panels(product.N, F::L, reduced_panel_vectors);
    for (i64 p = 0; p < panels.count; ++p) {
        // Every other step reads the panels in reverse order: those it read last are still in the cache.
        const Range vectors = panels.at(product.backwards ? panels.count - 1 - p : p);
        const i64 offset = vectors.lo * F::template panel_size<1>(product.K);
        const auto* panel = static_cast<const typename F::Weight*>(product.packed) + offset;
        with_vectors(vectors.size(), [&](auto n) {
            multiply_reduced_panel<F, decltype(n)::count>(product, panel, vectors.lo * F::L);
        });
    }
}

}  // namespace
