// The most that the processor could do: multiply-adds on numbers in registers, for one instruction set. This file is compiled
// once for each OHLOL_VARIANT.
#include "kernel_args.h"
#include "portability.h"
#include "simd.h"

namespace {

// Runs `rounds` times one multiply-add in each of as many independent vectors as a tile has, and returns the operations.
template <class T>
double multiply_add(i64 rounds, T* sum) {
#if defined(__AVX512F__)
    constexpr int vectors = 24;
#else
    constexpr int vectors = 12;
#endif
    Vec<T> v[vectors];
    for (int i = 0; i < vectors; ++i) v[i] = splat<T>(T(i));
    volatile T half = T(0.5), one = T(1);  // not known to the compiler
    const Vec<T> factor = splat<T>(half), term = splat<T>(one);
    for (i64 round = 0; round < rounds; ++round) {
        OHLOL_UNROLL(24)
        for (int i = 0; i < vectors; ++i) v[i] = v[i] * factor + term;
    }
    for (int i = 1; i < vectors; ++i) v[0] += v[i];
    *sum = v[0][0];
    return 2.0 * double(rounds) * vectors * Simd<T>::lanes;
}

}  // namespace

#define OHLOL_STRING_(x) #x
#define OHLOL_STRING(x) OHLOL_STRING_(x)
#define OHLOL_JOIN_(a, b) a##b
#define OHLOL_JOIN(a, b) OHLOL_JOIN_(a, b)

const ohlol::Peak ohlol::OHLOL_JOIN(peak_, OHLOL_VARIANT) = {OHLOL_STRING(OHLOL_VARIANT), &multiply_add<float>,
                                                            &multiply_add<double>};
