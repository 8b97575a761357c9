// The softmax and the cross-entropy of rows of logits, and their gradients in place of the logits.
//
//     loss = (1 - s) w_y (lse - z_y) + s / K sum_j w_j (lse - z_j)         lse = log sum_j exp z_j, s the label smoothing
//     d z_j = exp(z_j - lse) ((1 - s) w_y + s / K sum_k w_k) - (1 - s) w_y [j = y] - s / K w_j
//
// The rows have space for full vectors, so that no loop has a rest. Threads split the rows. The losses are added in the order
// of the rows; the gradient of the bias has one sum a part.
#pragma once

#include "threads.h"
#include "tile.h"
#include "training.h"

namespace {

using ohlol::CrossEntropyArgs;

// The largest lane; of lanes that are NaN it may miss some.
template <class T, int d = Simd<T>::lanes / 2>
OHLOL_INLINE T largest_lane(Vec<T> x) {
    const Vec<T> other = swap_blocks<T, d, true>(x, x, std::make_integer_sequence<int, Simd<T>::lanes>{});
    x = other > x ? other : x;
    if constexpr (d == 1)
        return x[0];
    else
        return largest_lane<T, d / 2>(x);
}

template <class T, int d = Simd<T>::lanes / 2>
OHLOL_INLINE T sum_lanes(Vec<T> x) {
    x += swap_blocks<T, d, true>(x, x, std::make_integer_sequence<int, Simd<T>::lanes>{});
    if constexpr (d == 1)
        return x[0];
    else
        return sum_lanes<T, d / 2>(x);
}

// exp(x) of x <= 0; 0 below -87 (float) and -708 (double), and of minus infinity.
template <class T>
OHLOL_INLINE Vec<T> exp_below_zero(Vec<T> x) {
    const Vec<T> least = splat<T>(sizeof(T) == 4 ? T(-87) : T(-708));
    const auto is_under = x < least;
    Vec<T> scale;
    const Vec<T> p = expm1_reduced<T>(is_under ? least : x, scale);
    return is_under ? Vec<T>{} : scale * p + scale;
}

// What all rows share, and the scratch memory of a part.
template <class T>
struct SoftmaxRows {
    i64 padded;             // K, rounded up to full vectors
    T *bias, *weights;      // (padded,), zeros and ones where the call has none, zeros as padding
    T smooth;               // s / K
    T smooth_total;         // s / K sum of the weights of the labels
    T chosen;               // 1 - s
    double *losses, *factors, *sums;  // (rows,): loss = losses + factors log(sums), which is taken of several rows at once
};

// Prepares the loss of a row. Its logits become gradients where `d_bias` is there, which has their sums.
template <class T>
void softmax_row(const CrossEntropyArgs<T>& args, const SoftmaxRows<T>& rows, Vec<T> lanes, i64 row, T* d_bias) {
    constexpr i64 L = Simd<T>::lanes;
    const i64 K = args.K, last = rows.padded - L, label = args.targets[row];
    T* const z = args.logits + row * args.ld;
    const bool is_smooth = rows.smooth != T(0);
    Vec<T> tops = splat<T>(T(-__builtin_inf())), weighted{};
    const auto add_bias = [&](i64 j) {
        Vec<T> x = load<T>(z + j) + load<T>(rows.bias + j);
        if (j == last) {
            const auto is_label = lanes < splat<T>(T(K - last));
            if (is_smooth) weighted += load<T>(rows.weights + j) * (is_label ? x : Vec<T>{});
            x = is_label ? x : splat<T>(T(-__builtin_inf()));
        } else if (is_smooth) {
            weighted += load<T>(rows.weights + j) * x;
        }
        store<T>(z + j, x);
        tops = x > tops ? x : tops;
    };
    for (i64 j = 0; j < last; j += L) add_bias(j);
    add_bias(last);
    const T top = largest_lane<T>(tops);
    if (args.best) {
        i64 j = 0;
        while (j + 1 < K && z[j] != top && z[j] == z[j]) ++j;  // the first of the largest, or the first NaN
        args.best[row] = j;
    }
    if (label == args.ignored) {
        if (d_bias) std::memset(z, 0, sizeof(T) * K);
        rows.losses[row] = rows.factors[row] = 0, rows.sums[row] = 1;
        return;
    }
    const T chosen = rows.chosen * rows.weights[label], chosen_logit = z[label];
    Vec<T> sums{};
    for (i64 j = 0; j <= last; j += L) {
        const Vec<T> e = exp_below_zero<T>(load<T>(z + j) - top);
        sums += e;
        if (d_bias) store<T>(z + j, e);
    }
    const T sum = sum_lanes<T>(sums), factor = chosen + rows.smooth_total;
    rows.sums[row] = double(sum), rows.factors[row] = double(factor);
    rows.losses[row] = double(factor) * double(top) - double(chosen) * double(chosen_logit);
    if (is_smooth) rows.losses[row] -= double(rows.smooth) * double(sum_lanes<T>(weighted));
    if (!d_bias) return;
    const T scale = T(args.scale), share = scale * factor / sum, flat = scale * rows.smooth;
    for (i64 j = 0; j <= last; j += L) {
        Vec<T> d = load<T>(z + j) * share;
        if (is_smooth) d -= load<T>(rows.weights + j) * flat;
        store<T>(z + j, d);
        store<T>(d_bias + j, load<T>(d_bias + j) + d);
    }
    z[label] -= scale * chosen;
    d_bias[label] -= scale * chosen;
}

// Returns the sum of the losses.
template <class T>
double cross_entropy(const CrossEntropyArgs<T>& args, AllocateScratch allocate) {
    constexpr i64 L = Simd<T>::lanes, D = Simd<double>::lanes;
    constexpr double cost = 16;  // of a logit, in multiplications
    const bool is_small = cost * double(args.rows) * double(args.K) < args.serial_below;
    const int parts = args.threads <= 1 || is_small ? 1 : static_cast<int>(max(1, min(args.threads, args.rows)));
    SoftmaxRows<T> rows;
    ThreadSlot* slots = nullptr;
    T* d_bias = nullptr;
    rows.padded = round_up(args.K, L);
    const i64 own = rows.padded + thread_gap_bytes / i64(sizeof(T));
    const auto lay_out = [&](BumpAllocator& memory) {
        slots = memory.allocate<ThreadSlot>(parts);
        rows.bias = memory.allocate<T>(rows.padded), rows.weights = memory.allocate<T>(rows.padded);
        rows.losses = memory.allocate<double>(args.rows), rows.factors = memory.allocate<double>(args.rows);
        rows.sums = memory.allocate<double>(args.rows);
        d_bias = memory.allocate<T>(args.with_gradients ? parts * own : 0);
    };
    BumpAllocator count{nullptr};
    lay_out(count);
    BumpAllocator memory{static_cast<char*>(allocate(count.used))};
    lay_out(memory);
    double total_weight = 0;
    for (i64 j = 0; j < rows.padded; ++j) {
        rows.bias[j] = args.bias && j < args.K ? args.bias[j] : T(0);
        rows.weights[j] = j >= args.K ? T(0) : args.weights ? args.weights[j] : T(1);
        total_weight += double(rows.weights[j]);
    }
    const double smooth = args.smoothing / double(args.K);
    rows.smooth = T(smooth), rows.smooth_total = T(smooth * total_weight), rows.chosen = T(1 - args.smoothing);
    Vec<T> lanes{};
    for (int k = 0; k < Simd<T>::lanes; ++k) lanes[k] = T(k);
    run_threads(slots, parts, [&](Thread& thread) {
        thread.each_part([&](int part) {
            T* const sums = args.with_gradients ? d_bias + part * own : nullptr;
            if (sums) std::memset(sums, 0, sizeof(T) * rows.padded);
            const Range range = split(args.rows, part, parts);
            for (i64 row = range.lo; row < range.hi; ++row) softmax_row<T>(args, rows, lanes, row, sums);
            for (i64 row = range.lo; row < range.hi; row += D) {
                const i64 n = min(D, range.hi - row);
                const Vec<double> sum = load_part<double>(rows.sums + row, n);
                const Vec<double> logarithm = sum == sum ? vlog<double>(sum) : sum;  // a sum is at least 1, or NaN
                store_part<double>(rows.losses + row, load_part<double>(rows.losses + row, n) +
                                                          load_part<double>(rows.factors + row, n) * logarithm, n);
            }
        });
    });
    for (int part = 0; part < parts && args.with_gradients && args.d_bias; ++part)
        for (i64 j = 0; j < args.K; ++j) args.d_bias[j] += d_bias[part * own + j];
    double sum = 0;
    for (i64 row = 0; row < args.rows; ++row) sum += rows.losses[row];
    return sum;
}

}  // namespace
