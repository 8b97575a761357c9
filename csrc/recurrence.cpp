// The kernels of one instruction set, for every cell, float32 and float64: this file is compiled once for each OHLOL_VARIANT.
//
// This file and its headers must not use templates of the standard library: their code would be compiled for this instruction
// set, and the linker could use it in the whole program.
#include "backward.h"
#include "crf.h"
#include "forward.h"
#include "program.h"
#include "smoothing.h"

namespace {

#define OHLOL_STRING_(x) #x
#define OHLOL_STRING(x) OHLOL_STRING_(x)
#define OHLOL_JOIN_(a, b) a##b
#define OHLOL_JOIN(a, b) OHLOL_JOIN_(a, b)

constexpr const ohlol::ReducedFunctions& reduced = ohlol::OHLOL_JOIN(reduced_, OHLOL_VARIANT);

template <class T>
void forward_any(const ForwardArgs<T>& args, AllocateScratch allocate) {
    if constexpr (sizeof(T) == 4)
        if (args.format != ohlol::plain) return reduced.forward(args, allocate);
    with_cell<T>(args.cell, [&](auto cell) { forward<PlainWeights<T>, decltype(cell)>(args, allocate); });
}

template <class T>
void backward_any(const BackwardArgs<T>& args, AllocateScratch allocate) {
    with_cell<T>(args.cell, [&](auto cell) { backward<T, decltype(cell)>(args, allocate); });
}

template <class T>
std::size_t pack_any(const ForwardArgs<T>& args, void* destination) {
    if constexpr (sizeof(T) == 4)
        if (args.format != ohlol::plain) return reduced.pack(args, destination);
    return with_cell<T>(args.cell, [&](auto cell) { return pack<PlainWeights<T>, decltype(cell)>(args, destination); });
}

constexpr int dense_vectors = 4;               // in a panel of a dense layer's weights
constexpr double dense_serial_below = 4e5;     // multiplications below which one thread computes a dense layer

// Packs the weights W (n, K) of a dense layer; returns the bytes needed.
template <class T>
std::size_t pack_dense(const T* W, i64 n, i64 K, void* destination) {
    constexpr i64 L = Simd<T>::lanes, width = dense_vectors * L;
    if (destination)
        for (i64 col = 0; col < n; col += width) {
            i64 first[dense_vectors], count[dense_vectors];
            for (int v = 0; v < dense_vectors; ++v) {
                first[v] = col + v * L;
                count[v] = n - first[v] < 0 ? 0 : min(n - first[v], L);
            }
            pack_panel_transposed<T, dense_vectors>(W, K, K, first, count, static_cast<T*>(destination) + col * K);
        }
    return static_cast<std::size_t>(round_up(n, width) * K) * sizeof(T);
}

// y (rows, n) = x (rows, K) W^T + bias, with W (n, K) packed by pack_dense; bias may be null.
template <class T>
void dense(int threads, i64 rows, const T* x, const void* packed, const T* bias, i64 n, i64 K, T* y) {
    constexpr i64 width = dense_vectors * Simd<T>::lanes;
    const auto run_part = [&](int index, int count) {
        alignas(64) T products[accumulators * Simd<T>::lanes];
        const Range panels = split((n + width - 1) / width, index, count);
        for (i64 col = panels.lo * width; col < min(panels.hi * width, n); col += width)
            for_row_tiles<T, dense_vectors>(0, rows, [&](i64 first, i64 tile_rows, TileFn<T> tile_fn) {
                tile_fn(K, x + first * K, K, static_cast<const T*>(packed) + col * K, products);
                for (i64 i = 0; i < tile_rows; ++i)
                    for (i64 j = 0; j < min(width, n - col); ++j)
                        y[(first + i) * n + col + j] = products[i * width + j] + (bias ? bias[col + j] : T(0));
            });
    };
    const bool is_small = double(rows) * double(n) * double(K) < dense_serial_below;
    if (threads <= 1 || (is_small && !ohlol::threads_are_forced())) return run_part(0, 1);
    constexpr int most_parts = 32;  // the slots are on the stack; the work of one step is too small for more
    ThreadSlot slots[most_parts];
    const int parts = static_cast<int>(min(threads, most_parts));
    run_threads(slots, parts, [&](Thread& thread) { thread.each_part([&](int part) { run_part(part, parts); }); });
}

template <class T>
void apply(int function, const T* x, T* y, i64 n) {
    constexpr i64 L = Simd<T>::lanes;
    for (i64 i = 0; i < n; i += L) {
        const i64 m = min(n - i, L);
        const Vec<T> v = load_part<T>(x + i, m);
        store_part<T>(y + i, function == 0 ? vtanh<T>(v) : vsigmoid<T>(v), m);
    }
}

}  // namespace

template <class T>
constexpr ohlol::Functions<T> functions{&forward_any<T>, &backward_any<T>, &pack_any<T>, &pack_dense<T>, &dense<T>,
                                        &run_program<T>, &crf_forward<T>, &crf_backward<T>,
                                        &crf_decode<T>, &smooth<T>, &apply<T>};

const ohlol::Variant ohlol::OHLOL_JOIN(variant_, OHLOL_VARIANT) = {OHLOL_STRING(OHLOL_VARIANT), functions<float>,
                                                                  functions<double>, &reduced};
