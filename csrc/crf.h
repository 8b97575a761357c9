// The loops of a linear-chain conditional random field over packed sequences: log partition, its gradient, and Viterbi.
//
// The score of a sequence of labels is start[y_0] + sum of emissions[t, y_t] + sum of transitions[y_{t-1}, y_t] + end[y_last];
// minus infinity marks what is impossible. Forward and backward values are logarithms whose largest is 0 at each step, so no
// length makes them overflow. A step takes their exponentials, multiplies them by those of the transitions, and takes the
// logarithm again. A sum that is so small that terms of it may have been lost is computed once more in logarithms.
//
// Labels are the lanes of the vectors; threads split the batch.
#pragma once

#include "threads.h"

namespace {

using ohlol::CrfArgs;

template <class T>
struct CrfRange;
template <>
struct CrfRange<float> {
    static constexpr float smallest_sum = 1e-20f;  // a term that exp() rounds to 0 is less than 1e-17 of a larger sum
};
template <>
struct CrfRange<double> {
    static constexpr double smallest_sum = 1e-200;
};

constexpr double infinity = __builtin_inf();

// The largest of n numbers, padded to full vectors; 0 instead of minus infinity, so that it can be subtracted.
template <class T>
OHLOL_INLINE T largest(const T* x, i64 padded) {
    constexpr i64 L = Simd<T>::lanes;
    Vec<T> v = load<T>(x);
    for (i64 j = L; j < padded; j += L) {
        const Vec<T> other = load<T>(x + j);
        v = other > v ? other : v;
    }
    T best = v[0];
    for (i64 k = 1; k < L; ++k) best = v[k] > best ? v[k] : best;
    return best == T(-infinity) ? T(0) : best;
}

// log(sum of exp(x_i + y_i)) in double; minus infinity of impossible terms only, NaN if a term is NaN.
template <class T>
double log_sum(const T* x, const T* y, i64 n, i64 y_stride) {
    double top = -infinity;
    for (i64 i = 0; i < n; ++i) {
        const double term = double(x[i]) + double(y[i * y_stride]);
        if (term != term) return term;
        if (term > top) top = term;
    }
    if (top == -infinity || top == infinity) return top;
    double sum = 0;
    for (i64 i = 0; i < n; ++i) sum += __builtin_exp(double(x[i]) + double(y[i * y_stride]) - top);
    return top + __builtin_log(sum);
}

template <class T, int V>
OHLOL_INLINE void multiply_columns(const T* u, const T* matrix, i64 K, i64 ld, T* out) {
    constexpr i64 L = Simd<T>::lanes;
    Vec<T> even[V] = {}, odd[V] = {};
    i64 i = 0;
    for (; i + 1 < K; i += 2)
        for (int v = 0; v < V; ++v) {
            even[v] += u[i] * load<T>(matrix + i * ld + v * L);
            odd[v] += u[i + 1] * load<T>(matrix + (i + 1) * ld + v * L);
        }
    for (int v = 0; v < V; ++v) {
        if (i < K) even[v] += u[i] * load<T>(matrix + i * ld + v * L);
        store<T>(out + v * L, even[v] + odd[v]);
    }
}

// out (padded,) = u (K,) times matrix (K, padded).
template <class T>
OHLOL_INLINE void multiply(const T* u, const T* matrix, i64 K, i64 padded, T* out) {
    constexpr i64 L = Simd<T>::lanes;
    i64 j = 0;
    for (; j + 3 * L < padded; j += 4 * L) multiply_columns<T, 4>(u, matrix + j, K, padded, out + j);
    for (; j + L < padded; j += 2 * L) multiply_columns<T, 2>(u, matrix + j, K, padded, out + j);
    if (j < padded) multiply_columns<T, 1>(u, matrix + j, K, padded, out + j);
}

// Transitions in the layouts of the loops, padded to full vectors.
template <class T>
struct CrfTables {
    i64 K, padded;
    T top = 0;              // the largest transition
    T* factors;             // (K, padded): exp(transitions - top), zeros as padding
    T* transposed_factors;  // (K, padded)

    CrfTables(const CrfArgs<T>& args, BumpAllocator& memory)
        : K(args.K), padded((args.K + Simd<T>::lanes - 1) / Simd<T>::lanes * Simd<T>::lanes) {
        factors = memory.allocate<T>(K * padded);
        transposed_factors = memory.allocate<T>(K * padded);
        if (!memory.base) return;
        T highest = T(-infinity);
        for (i64 k = 0; k < K * K; ++k) highest = args.transitions[k] > highest ? args.transitions[k] : highest;
        top = highest == T(-infinity) ? T(0) : highest;
        for (i64 i = 0; i < K; ++i)
            for (i64 j = 0; j < padded; j += Simd<T>::lanes) {
                const i64 n = min(K - j, Simd<T>::lanes);
                Vec<T> values = load_part<T>(args.transitions + i * K + j, n) - top;
                store<T>(factors + i * padded + j, Vec<T>{});
                store_part<T>(factors + i * padded + j, vexp<T>(values), n);
            }
        for (i64 i = 0; i < K; ++i)
            for (i64 j = 0; j < padded; ++j) transposed_factors[i * padded + j] = j < K ? factors[j * padded + i] : T(0);
    }
};

// The steps of entry b.
template <class T>
i64 length_of(const CrfArgs<T>& args, i64 b) {
    i64 t = args.T_;
    if (args.batch_sizes)
        while (args.batch_sizes[t - 1] <= b) --t;
    return t;
}

template <class T>
int crf_parts(const CrfArgs<T>& args) {
    constexpr i64 exponentials = 32;  // multiplications that take as long as the logarithm and the exponential of a label
    const double work = double(args.rows) * double(args.K) * double(args.K + exponentials);
    if (args.threads <= 1 || work < args.serial_below) return 1;
    return static_cast<int>(min(args.threads, args.B));
}

// The score of the labels of entry b.
template <class T>
double score_labels(const CrfArgs<T>& args, i64 b, i64 length) {
    double score = 0;
    i64 previous = 0;
    for (i64 t = 0; t < length; ++t) {
        const i64 row = args.row(t, b), label = args.labels[row];
        score += double(args.emissions[row * args.K + label]);
        score += double(t ? args.transitions[previous * args.K + label] : args.start[label]);
        previous = label;
    }
    return score + double(args.end[previous]);
}

// log(sum_i exp(x_i) factor_ij) of every j, where products[j] = sum_i exp(x_i) factor_ij was computed; `matrix` has the
// logarithms of the factors, plus `top`.
template <class T>
OHLOL_INLINE void logarithms(const T* x, const T* matrix, i64 stride, i64 next, T top, i64 K, i64 padded, const T* products,
                             T* out) {
    constexpr i64 L = Simd<T>::lanes;
    const Vec<T> smallest = splat<T>(CrfRange<T>::smallest_sum);
    for (i64 j = 0; j < padded; j += L) {
        const Vec<T> sums = load<T>(products + j);
        store<T>(out + j, vlog<T>(sums));
        const auto is_large = sums >= smallest;  // false for NaN
        for (i64 k = 0; k < min(L, K - j); ++k)
            if (!is_large[k]) out[j + k] = T(log_sum<T>(x, matrix + (j + k) * next, K, stride) - double(top));
    }
}

template <class T>
void crf_forward(const CrfArgs<T>& args, AllocateScratch allocate) {
    constexpr i64 L = Simd<T>::lanes;
    const int parts = crf_parts(args);
    ThreadSlot* slots = nullptr;
    T* own = nullptr;
    const i64 gap = thread_gap_bytes / i64(sizeof(T));
    const auto lay_out = [&](BumpAllocator& memory) {
        CrfTables<T> tables(args, memory);
        slots = memory.allocate<ThreadSlot>(parts);
        own = memory.allocate<T>(parts * (3 * tables.padded + gap));
        return tables;
    };
    BumpAllocator count{nullptr};
    lay_out(count);
    BumpAllocator memory{static_cast<char*>(allocate(count.used))};
    const CrfTables<T> tables = lay_out(memory);
    const i64 K = tables.K, padded = tables.padded;
    const auto run_part = [&](const Thread& thread, int part) {
        T *values = own + part * (3 * padded + gap), *factors = values + padded, *products = factors + padded;
        const Range entries = split_batch(args, part, parts);
        thread.count_work(args, entries.lo, entries.hi);
        for (i64 j = K; j < padded; ++j) values[j] = T(-infinity);
        for (i64 b = entries.lo; b < entries.hi; ++b) {
            const i64 length = length_of(args, b);
            double total = 0;
            const T* x = args.emissions + args.row(0, b) * K;
            for (i64 j = 0; j < K; ++j) values[j] = args.start[j] + x[j];
            for (i64 t = 0;; ++t) {
                const T top = largest<T>(values, padded);
                T* kept = args.alphas + args.row(t, b) * K;
                total += double(top);
                for (i64 j = 0; j < padded; j += L) {
                    const Vec<T> shifted = load<T>(values + j) - top;
                    store<T>(values + j, shifted);
                    store_part<T>(kept + j, shifted, min(L, K - j));
                    store<T>(factors + j, vexp<T>(shifted));
                }
                if (t + 1 == length) break;
                multiply<T>(factors, tables.factors, K, padded, products);
                logarithms<T>(kept, args.transitions, K, 1, tables.top, K, padded, products, values);
                x = args.emissions + args.row(t + 1, b) * K;
                for (i64 j = 0; j < padded; j += L) store<T>(values + j, load<T>(values + j) + load_part<T>(x + j, min(L, K - j)));
                for (i64 j = K; j < padded; ++j) values[j] = T(-infinity);
                total += double(tables.top);
            }
            total += log_sum<T>(values, args.end, K, 1);
            args.losses[b] = T(args.labels ? total - score_labels(args, b, length) : total);
        }
    };
    run_threads(slots, parts, [&](Thread& thread) { thread.each_part([&](int part) { run_part(thread, part); }); });
}

// Adds grad times the marginal probabilities of the pairs of labels of one step to d_transitions, and writes those of the
// first label of the pair to d_x, exactly: for steps whose terms differ so much that exponentials lose them.
template <class T>
void add_exact_pairs(const CrfArgs<T>& args, const T* alphas, const T* betas, T grad, T* d_x, T* d_transitions, i64 padded) {
    const i64 K = args.K;
    double top = -infinity, sum = 0;
    bool is_number = true;
    for (i64 i = 0; i < K; ++i)
        for (i64 j = 0; j < K; ++j) {
            const double term = double(alphas[i]) + double(args.transitions[i * K + j]) + double(betas[j]);
            is_number = is_number && term == term;
            top = term > top ? term : top;
        }
    if (is_number && top == -infinity) {  // no sequence is possible
        for (i64 i = 0; i < K; ++i) d_x[i] = T(0);
        return;
    }
    for (i64 i = 0; i < K; ++i)
        for (i64 j = 0; j < K; ++j)
            sum += __builtin_exp(double(alphas[i]) + double(args.transitions[i * K + j]) + double(betas[j]) - top);
    for (i64 i = 0; i < K; ++i) {
        double total = 0;
        for (i64 j = 0; j < K; ++j) {
            const double term = double(alphas[i]) + double(args.transitions[i * K + j]) + double(betas[j]) - top;
            const double marginal = double(grad) * __builtin_exp(term) / sum;
            d_transitions[i * padded + j] += T(marginal);
            total += marginal;
        }
        d_x[i] = T(total);
    }
}

constexpr i64 steps_in_sum = 128;

template <class T>
void crf_backward(const CrfArgs<T>& args, AllocateScratch allocate) {
    constexpr i64 L = Simd<T>::lanes;
    const int parts = crf_parts(args);
    ThreadSlot* slots = nullptr;
    T* own = nullptr;
    i64 size = 0;
    const i64 gap = thread_gap_bytes / i64(sizeof(T));
    const auto lay_out = [&](BumpAllocator& memory) {
        CrfTables<T> tables(args, memory);
        slots = memory.allocate<ThreadSlot>(parts);
        size = (3 * tables.K + 7) * tables.padded;
        own = memory.allocate<T>(parts * (size + gap));
        return tables;
    };
    BumpAllocator count{nullptr};
    lay_out(count);
    BumpAllocator memory{static_cast<char*>(allocate(count.used))};
    const CrfTables<T> tables = lay_out(memory);
    const i64 K = tables.K, padded = tables.padded;
    const auto run_part = [&](const Thread& thread, int part) {
        // of each part: sums of factors u_i w_j and of exact transitions, (K, padded) each, those of a few steps, which
        // are added to the sums together and so with less rounding, and sums of start and end
        T *sums = own + part * (size + gap), *exact = sums + K * padded, *products = exact + K * padded;
        T *d_start = products + K * padded, *d_end = d_start + padded, *alphas = d_end + padded, *betas = alphas + padded;
        T *u = betas + padded, *w = u + padded, *v = w + padded;
        std::memset(sums, 0, sizeof(T) * (3 * K + 2) * padded);
        const auto add_products = [&] {
            for (i64 k = 0; k < K * padded; k += L) {
                store<T>(sums + k, load<T>(sums + k) + load<T>(products + k));
                store<T>(products + k, Vec<T>{});
            }
        };
        for (i64 j = K; j < padded; ++j) alphas[j] = betas[j] = T(-infinity);
        const Range entries = split_batch(args, part, parts);
        thread.count_work(args, entries.lo, entries.hi);
        for (i64 b = entries.lo; b < entries.hi; ++b) {
            const i64 length = length_of(args, b);
            const T grad = args.grad[b];
            i64 row = args.row(length - 1, b);
            T* d_x = args.d_emissions + row * K;
            for (i64 j = 0; j < K; ++j) betas[j] = args.end[j];
            const double total = log_sum<T>(args.alphas + row * K, betas, K, 1);
            for (i64 j = 0; j < K; ++j) {
                const double term = double(args.alphas[row * K + j]) + double(betas[j]) - total;
                d_x[j] = total == -infinity ? T(0) : T(double(grad) * __builtin_exp(term));
                d_end[j] += d_x[j];
            }
            for (i64 t = length - 1; t > 0; --t) {
                const T* x = args.emissions + row * K;
                for (i64 j = 0; j < padded; j += L) store<T>(betas + j, load<T>(betas + j) + load_part<T>(x + j, min(L, K - j)));
                for (i64 j = K; j < padded; ++j) betas[j] = T(-infinity);
                row = args.row(t - 1, b);
                d_x = args.d_emissions + row * K;
                const T top = largest<T>(betas, padded);
                for (i64 j = 0; j < padded; j += L) {
                    const i64 n = min(L, K - j);
                    const Vec<T> shifted = load<T>(betas + j) - top;
                    store<T>(betas + j, shifted);
                    store<T>(w + j, vexp<T>(shifted));
                    store_part<T>(alphas + j, load_part<T>(args.alphas + row * K + j, n), n);
                    store<T>(u + j, vexp<T>(load<T>(alphas + j)));
                }
                multiply<T>(w, tables.transposed_factors, K, padded, v);
                Vec<T> partial{};
                for (i64 i = 0; i < padded; i += L) partial += load<T>(u + i) * load<T>(v + i);
                T sum = 0;
                for (i64 k = 0; k < L; ++k) sum += partial[k];
                if (sum >= CrfRange<T>::smallest_sum) {  // false for NaN
                    const T factor = grad / sum;
                    for (i64 i = 0; i < padded; i += L) {
                        const Vec<T> scaled = load<T>(u + i) * factor;
                        store<T>(u + i, scaled);
                        store_part<T>(d_x + i, scaled * load<T>(v + i), min(L, K - i));
                    }
                    for (i64 i = 0; i < K; ++i)
                        for (i64 j = 0; j < padded; j += L) {
                            T* pair = products + i * padded + j;
                            store<T>(pair, load<T>(pair) + u[i] * load<T>(w + j));
                        }
                } else {
                    add_exact_pairs<T>(args, alphas, betas, grad, d_x, exact, padded);
                }
                // betas of the step before; the transition from i to j is column j of row i
                logarithms<T>(betas, args.transitions, 1, K, tables.top, K, padded, v, u);
                for (i64 j = 0; j < K; ++j) betas[j] = u[j];
                if (t % steps_in_sum == 0) add_products();
            }
            add_products();
            for (i64 j = 0; j < K; ++j) d_start[j] += d_x[j];
            if (!args.labels) continue;
            i64 previous = 0;
            for (i64 t = 0; t < length; ++t) {
                const i64 at = args.row(t, b), label = args.labels[at];
                args.d_emissions[at * K + label] -= grad;
                (t ? exact[previous * padded + label] : d_start[label]) -= grad;
                previous = label;
            }
            d_end[previous] -= grad;
        }
    };
    run_threads(slots, parts, [&](Thread& thread) { thread.each_part([&](int part) { run_part(thread, part); }); });
    for (i64 i = 0; i < K; ++i) {
        T start = 0, end = 0;
        for (int part = 0; part < parts; ++part) {
            const T* of_ends = own + part * (size + gap) + 3 * K * padded;
            start += of_ends[i], end += of_ends[padded + i];
        }
        args.d_start[i] = start, args.d_end[i] = end;
        for (i64 j = 0; j < K; ++j) {
            T sum = 0, exact = 0;
            for (int part = 0; part < parts; ++part) {
                const T* pair = own + part * (size + gap) + i * padded + j;
                sum += pair[0], exact += pair[K * padded];
            }
            args.d_transitions[i * K + j] = sum * tables.factors[i * padded + j] + exact;
        }
    }
}

// The best labels of every entry; of equal ones the first.
template <class T>
void crf_decode(const CrfArgs<T>& args, AllocateScratch allocate) {
    constexpr i64 L = Simd<T>::lanes;
    using I = typename Simd<T>::I;
    using Int = typename Simd<T>::Int;
    const int parts = crf_parts(args);
    const i64 K = args.K, padded = (K + L - 1) / L * L, gap = thread_gap_bytes / i64(sizeof(T));
    ThreadSlot* slots = nullptr;
    T *transitions = nullptr, *own = nullptr;
    std::uint16_t* origins = nullptr;
    const auto lay_out = [&](BumpAllocator& memory) {
        transitions = memory.allocate<T>(K * padded);
        slots = memory.allocate<ThreadSlot>(parts);
        own = memory.allocate<T>(parts * (2 * padded + gap));
        origins = memory.allocate<std::uint16_t>(parts * args.T_ * K);
    };
    BumpAllocator count{nullptr};
    lay_out(count);
    BumpAllocator memory{static_cast<char*>(allocate(count.used))};
    lay_out(memory);
    for (i64 i = 0; i < K; ++i)
        for (i64 j = 0; j < padded; ++j)
            transitions[i * padded + j] = j < K ? args.transitions[i * K + j] : T(-infinity);
    const auto run_part = [&](const Thread& thread, int part) {
        T *values = own + part * (2 * padded + gap), *next = values + padded;
        std::uint16_t* origin = origins + part * args.T_ * K;
        const Range entries = split_batch(args, part, parts);
        thread.count_work(args, entries.lo, entries.hi);
        for (i64 b = entries.lo; b < entries.hi; ++b) {
            const i64 length = length_of(args, b);
            double total = 0;
            for (i64 j = 0; j < padded; ++j)
                values[j] = j < K ? args.start[j] + args.emissions[args.row(0, b) * K + j] : T(-infinity);
            for (i64 t = 1; t < length; ++t) {
                const T* x = args.emissions + args.row(t, b) * K;
                const T top = largest<T>(values, padded);  // keeps the values small, so that none is rounded
                total += double(top);
                for (i64 j = 0; j < padded; j += L) {
                    const i64 n = min(L, K - j);
                    Vec<T> best = (values[0] - top) + load<T>(transitions + j);
                    I from{};
                    for (i64 i = 1; i < K; ++i) {
                        const Vec<T> score = (values[i] - top) + load<T>(transitions + i * padded + j);
                        const auto is_better = score > best;
                        best = is_better ? score : best;
                        from = ((I)is_better & Int(i)) | (~(I)is_better & from);
                    }
                    store<T>(next + j, best + load_part<T>(x + j, n));
                    for (i64 k = 0; k < n; ++k) origin[t * K + j + k] = static_cast<std::uint16_t>(from[k]);
                }
                T* const swapped = values;
                values = next, next = swapped;
            }
            i64 label = 0;
            for (i64 j = 1; j < K; ++j)
                if (values[j] + args.end[j] > values[label] + args.end[label]) label = j;
            args.scores[b] = T(total + double(values[label]) + double(args.end[label]));
            for (i64 t = length - 1;; --t) {
                args.best[args.row(t, b)] = label;
                if (!t) break;
                label = origin[t * K + label];
            }
        }
    };
    run_threads(slots, parts, [&](Thread& thread) { thread.each_part([&](int part) { run_part(thread, part); }); });
}

}  // namespace
