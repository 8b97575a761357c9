// One step of an optimizer over all parameters of a model: the norm of the gradients, then clipping, the update and the mean of
// the weights in one pass. The equations are those of torch.optim.
//
// The numbers of all tensors are cut into pieces of one size, and threads share the pieces. The square of the norm is a sum over
// the pieces, in order, so that its bits do not depend on the threads.
#pragma once

#include "threads.h"
#include "training.h"

namespace {

using ohlol::StepArgs;
using ohlol::StepTensor;

constexpr i64 piece_size = 1 << 13;  // numbers of a tensor

inline i64 pieces_of(i64 size) { return (size + piece_size - 1) / piece_size; }

// The sum of squares of n numbers, in double.
template <class T>
double sum_squares(const T* x, i64 n) {
    constexpr i64 sums = 16;
    double partial[sums] = {};
    i64 i = 0;
    for (; i + sums <= n; i += sums)
        for (i64 k = 0; k < sums; ++k) partial[k] += double(x[i + k]) * double(x[i + k]);
    for (i64 k = 0; i < n; ++i, ++k) partial[k] += double(x[i]) * double(x[i]);
    for (i64 width = sums / 2; width; width /= 2)
        for (i64 k = 0; k < width; ++k) partial[k] += partial[k + width];
    return partial[0];
}

template <class T>
OHLOL_INLINE Vec<T> vsqrt(Vec<T> x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return (Vec<T>)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)x);
    else
        return (Vec<T>)_mm512_maskz_sqrt_pd((__mmask8)-1, (__m512d)x);
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4)
        return (Vec<T>)_mm256_sqrt_ps((__m256)x);
    else
        return (Vec<T>)_mm256_sqrt_pd((__m256d)x);
#else
    for (int i = 0; i < Simd<T>::lanes; ++i) x[i] = sizeof(T) == 4 ? T(__builtin_sqrtf(float(x[i]))) : T(__builtin_sqrt(double(x[i])));
    return x;
#endif
}

// m + weight (x - m), from the nearer end as torch.lerp does.
template <class T>
OHLOL_INLINE Vec<T> lerp(Vec<T> m, Vec<T> x, T weight) {
    return weight < T(0.5) ? m + weight * (x - m) : x - (T(1) - weight) * (x - m);
}

// The new value of a vector of parameters p with gradients g; the moments a and b change.
template <class T, ohlol::Rule rule>
OHLOL_INLINE Vec<T> update(const StepArgs<T>& args, const StepTensor<T>& tensor, Vec<T> p, Vec<T> g, Vec<T>& a, Vec<T>& b) {
    const T decay = T(args.weight_decay);
    if constexpr (rule == ohlol::adamw)
        p = p * T(1 - tensor.lr * args.weight_decay);
    else if (decay != T(0))
        g += decay * p;
    if constexpr (rule == ohlol::sgd) {
        a = T(args.beta1) * a + g;
        return p - T(tensor.lr) * a;
    } else if constexpr (rule == ohlol::rmsprop) {
        b = T(args.beta2) * b + T(1 - args.beta2) * g * g;
        return p - T(tensor.lr) * (g / (vsqrt<T>(b) + T(args.eps)));
    } else {
        a = lerp<T>(a, g, T(1 - args.beta1));
        b = T(args.beta2) * b + T(1 - args.beta2) * g * g;
        return p - T(tensor.step_size) * (a / (vsqrt<T>(b) / T(tensor.second_scale) + T(args.eps)));
    }
}

// The update of the numbers lo .. hi - 1 of a tensor, and of their mean.
template <class T, ohlol::Rule rule>
void update_piece(const StepArgs<T>& args, const StepTensor<T>& tensor, T clip, i64 lo, i64 hi) {
    constexpr i64 L = Simd<T>::lanes;
    const T mean_weight = T(args.mean_weight);
    const auto run = [&](auto full, i64 i, i64 n) {
        constexpr bool Full = decltype(full)::value;
        Vec<T> p = load_n<Full, T>(tensor.parameter + i, n);
        if (tensor.grad) {
            Vec<T> a{}, b{};
            if constexpr (rule != ohlol::rmsprop) a = load_n<Full, T>(tensor.first + i, n);
            if constexpr (rule != ohlol::sgd) b = load_n<Full, T>(tensor.second + i, n);
            Vec<T> g = load_n<Full, T>(tensor.grad + i, n);
            if (clip != T(1)) {
                g *= clip;
                store_n<Full, T>(tensor.grad + i, g, n);
            }
            p = update<T, rule>(args, tensor, p, g, a, b);
            if constexpr (rule != ohlol::rmsprop) store_n<Full, T>(tensor.first + i, a, n);
            if constexpr (rule != ohlol::sgd) store_n<Full, T>(tensor.second + i, b, n);
            store_n<Full, T>(tensor.parameter + i, p, n);
        }
        if (tensor.mean)
            store_n<Full, T>(tensor.mean + i, lerp<T>(load_n<Full, T>(tensor.mean + i, n), p, mean_weight), n);
    };
    i64 i = lo;
    for (; i + L <= hi; i += L) run(ohlol::Always{}, i, L);
    if (i < hi) run(ohlol::Never{}, i, hi - i);
}

// Calls run(tensor, piece, lo, hi) for the pieces of a range, counted through all tensors.
template <class T, class F>
OHLOL_INLINE void each_piece(const StepArgs<T>& args, Range range, F&& run) {
    i64 first = 0;
    for (i64 k = 0; k < args.count && first < range.hi; ++k) {
        const i64 size = args.tensors[k].size, count = pieces_of(size);
        for (i64 piece = max(first, range.lo); piece < min(first + count, range.hi); ++piece) {
            const i64 lo = (piece - first) * piece_size;
            run(args.tensors[k], piece, lo, min(lo + piece_size, size));
        }
        first += count;
    }
}

// Returns the norm of all gradients. Where it is not finite, nothing is changed.
template <class T>
double take_step(const StepArgs<T>& args, AllocateScratch allocate) {
    constexpr double cost = 8;  // of a number, in multiplications
    i64 pieces = 0, numbers = 0;
    for (i64 k = 0; k < args.count; ++k) pieces += pieces_of(args.tensors[k].size), numbers += args.tensors[k].size;
    const bool is_small = cost * double(numbers) < args.serial_below;
    const int parts = args.threads <= 1 || is_small ? 1 : static_cast<int>(max(1, min(args.threads, pieces)));
    ThreadSlot* slots = nullptr;
    double* squares = nullptr;
    const auto lay_out = [&](BumpAllocator& memory) {
        slots = memory.allocate<ThreadSlot>(parts);
        squares = memory.allocate<double>(pieces);
    };
    BumpAllocator count{nullptr};
    lay_out(count);
    BumpAllocator memory{static_cast<char*>(allocate(count.used))};
    lay_out(memory);
    const auto run_parts = [&](auto&& run) {
        run_threads(slots, parts, [&](Thread& thread) {
            thread.each_part([&](int part) { each_piece<T>(args, split(pieces, part, parts), run); });
        });
    };
    run_parts([&](const StepTensor<T>& tensor, i64 piece, i64 lo, i64 hi) {
        squares[piece] = tensor.grad ? sum_squares<T>(tensor.grad + lo, hi - lo) : 0.0;
    });
    double square = 0;
    for (i64 piece = 0; piece < pieces; ++piece) square += squares[piece];
    const double norm = __builtin_sqrt(square);
    if (!(norm < __builtin_inf())) return norm;
    const double share = args.max_norm / (norm + 1e-6);  // as torch.nn.utils.clip_grads_with_norm_
    const T clip = T(share < 1 ? share : 1.0);
    run_parts([&](const StepTensor<T>& tensor, i64, i64 lo, i64 hi) {
        switch (args.rule) {
            case ohlol::adam: return update_piece<T, ohlol::adam>(args, tensor, clip, lo, hi);
            case ohlol::adamw: return update_piece<T, ohlol::adamw>(args, tensor, clip, lo, hi);
            case ohlol::sgd: return update_piece<T, ohlol::sgd>(args, tensor, clip, lo, hi);
            case ohlol::rmsprop: return update_piece<T, ohlol::rmsprop>(args, tensor, clip, lo, hi);
        }
    });
    return norm;
}

}  // namespace
