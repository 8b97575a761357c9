// Vectors as wide as the instruction set allows, and tanh, sigmoid, exp and log on them.
//
// Written with the compiler's vector extension: one source for AVX-512, AVX2, SSE2 and NEON. Everything has internal linkage,
// because this header is compiled once for each instruction set and the linker must not use the AVX-512 code of a function
// in the baseline variant.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "portability.h"

#if defined(__AVX512F__)
#define OHLOL_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define OHLOL_VECTOR_BYTES 32
#else
#define OHLOL_VECTOR_BYTES 16
#endif

namespace {

using i64 = std::int64_t;

template <class T>
struct Simd;

template <>
struct Simd<float> {
    typedef float V __attribute__((vector_size(OHLOL_VECTOR_BYTES), may_alias));
    typedef float U __attribute__((vector_size(OHLOL_VECTOR_BYTES), aligned(4), may_alias));
    typedef std::uint32_t I __attribute__((vector_size(OHLOL_VECTOR_BYTES), may_alias));
    using Int = std::uint32_t;
    static constexpr int lanes = OHLOL_VECTOR_BYTES / 4;
    static constexpr int mantissa = 23;
    static constexpr Int bias = 127, sign = 0x80000000u;
    static constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
    static constexpr float log2e = 1.44269504088896341f;
    static constexpr float ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
    static constexpr float tanh_limit = 20.0f;     // tanh x rounds to 1 from this value of 2|x| on
    static constexpr float sigmoid_limit = 88.0f;  // exp(-x) counts as infinite above this value of -x
};

template <>
struct Simd<double> {
    typedef double V __attribute__((vector_size(OHLOL_VECTOR_BYTES), may_alias));
    typedef double U __attribute__((vector_size(OHLOL_VECTOR_BYTES), aligned(8), may_alias));
    typedef std::uint64_t I __attribute__((vector_size(OHLOL_VECTOR_BYTES), may_alias));
    using Int = std::uint64_t;
    static constexpr int lanes = OHLOL_VECTOR_BYTES / 8;
    static constexpr int mantissa = 52;
    static constexpr Int bias = 1023, sign = 0x8000000000000000u;
    static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr double log2e = 1.44269504088896340736;
    static constexpr double ln2_hi = 6.93147180369123816490e-01, ln2_lo = 1.90821492927058770002e-10;
    static constexpr double tanh_limit = 40.0;
    static constexpr double sigmoid_limit = 708.0;
};

template <class T>
using Vec = typename Simd<T>::V;

template <class T>
OHLOL_INLINE Vec<T> load(const T* p) {
    return *reinterpret_cast<const typename Simd<T>::U*>(p);
}

template <class T>
OHLOL_INLINE void store(T* p, Vec<T> v) {
    *reinterpret_cast<typename Simd<T>::U*>(p) = v;
}

// Loads the first n lanes (n may be 0), the others are zero; does not access memory past p[n - 1].
template <class T>
OHLOL_INLINE Vec<T> load_part(const T* p, i64 n) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return (Vec<T>)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
    else
        return (Vec<T>)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1u), p);
#else
    T lane[Simd<T>::lanes] = {};
    for (i64 i = 0; i < n; ++i) lane[i] = p[i];
    return load<T>(lane);
#endif
}

template <class T>
OHLOL_INLINE void store_part(T* p, Vec<T> v, i64 n) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)v);
    else
        _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1u), (__m512d)v);
#else
    T lane[Simd<T>::lanes];
    store<T>(lane, v);
    for (i64 i = 0; i < n; ++i) p[i] = lane[i];
#endif
}

// Load and store a full vector, or the first n lanes of the last one.
template <bool Full, class T>
OHLOL_INLINE Vec<T> load_n(const T* p, i64 n) {
    if constexpr (Full) return load<T>(p);
    return load_part<T>(p, n);
}

template <bool Full, class T>
OHLOL_INLINE void store_n(T* p, Vec<T> v, i64 n) {
    if constexpr (Full)
        store<T>(p, v);
    else
        store_part<T>(p, v, n);
}

// x = n ln 2 + r with |r| <= ln 2 / 2; returns exp(r) - 1 with full relative precision, and 2^n.
// A NaN comes back as NaN. |x| must be below the limits of Simd, so that n fits the exponent.
template <class T>
OHLOL_INLINE Vec<T> expm1_reduced(Vec<T> x, Vec<T>& scale) {
    using S = Simd<T>;
    const Vec<T> shifted = x * S::log2e + S::round;
    const Vec<T> n = shifted - S::round;
    const Vec<T> r = (x - n * S::ln2_hi) - n * S::ln2_lo;
    scale = (Vec<T>)((((typename S::I)shifted) + S::bias) << S::mantissa);
    if constexpr (sizeof(T) == 4) {
        Vec<T> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
        p = p * r + 8.3334519073e-3f;
        p = p * r + 4.1665795894e-2f;
        p = p * r + 1.6666665459e-1f;
        p = p * r + 5.0000001201e-1f;
        return p * (r * r) + r;
    } else {
        Vec<T> p = r * (1.0 / 6227020800.0) + (1.0 / 479001600.0);
        p = p * r + 1.0 / 39916800.0;
        p = p * r + 1.0 / 3628800.0;
        p = p * r + 1.0 / 362880.0;
        p = p * r + 1.0 / 40320.0;
        p = p * r + 1.0 / 5040.0;
        p = p * r + 1.0 / 720.0;
        p = p * r + 1.0 / 120.0;
        p = p * r + 1.0 / 24.0;
        p = p * r + 1.0 / 6.0;
        p = p * r + 0.5;
        return p * (r * r) + r;
    }
}

// tanh x = (e^2|x| - 1) / (e^2|x| + 1), the numerator computed without cancellation, then the sign of x.
template <class T>
OHLOL_INLINE Vec<T> vtanh(Vec<T> x) {
    using S = Simd<T>;
    using I = typename S::I;
    const I sign = (I)x & S::sign;
    const Vec<T> size = (Vec<T>)((I)x ^ sign);
    Vec<T> twice = size + size;
    const Vec<T> limit = S::tanh_limit - Vec<T>{};
    twice = twice > limit ? limit : twice;  // a NaN compares false and stays
    Vec<T> scale;
    const Vec<T> p = expm1_reduced<T>(twice, scale);
    const Vec<T> e = scale * p + (scale - T(1));
    return (Vec<T>)((I)(e / (e + T(2))) | sign);
}

// 1 / (1 + exp(-x)); exactly 0 below -sigmoid_limit, an error below the smallest normal number.
template <class T>
OHLOL_INLINE Vec<T> vsigmoid(Vec<T> x) {
    using S = Simd<T>;
    const Vec<T> high = S::sigmoid_limit - Vec<T>{};
    Vec<T> y = -x;
    const auto over = y > high;
    y = over ? high : y;
    y = y < -high ? -high : y;
    Vec<T> scale;
    const Vec<T> p = expm1_reduced<T>(y, scale);
    const Vec<T> e = scale * p + scale;
    const Vec<T> s = T(1) / (T(1) + e);
    return over ? Vec<T>{} : s;
}

template <class T>
OHLOL_INLINE Vec<T> splat(T x) {
    return x - Vec<T>{};
}

// exp(x); 0 below -87 (float) and -708 (double), whose result is no normal number.
template <class T>
OHLOL_INLINE Vec<T> vexp(Vec<T> x) {
    using S = Simd<T>;
    constexpr T limit = sizeof(T) == 4 ? T(87) : T(708);
    constexpr T shift = T(2) * (S::ln2_hi + S::ln2_lo);
    const auto is_over = x > splat<T>(limit), is_under = x < splat<T>(-limit);
    Vec<T> y = is_over ? x - shift : x;
    y = y > splat<T>(limit) ? splat<T>(limit + T(1)) : y;
    y = is_under ? splat<T>(-limit) : y;
    Vec<T> scale;
    const Vec<T> p = expm1_reduced<T>(y, scale);
    const Vec<T> e = scale * p + scale;
    return is_under ? Vec<T>{} : is_over ? e * T(4) : e;
}

// log(x) of a positive normal number x = 2^e m with sqrt(1/2) <= m < sqrt(2): 2 atanh((m - 1) / (m + 1)) + e ln 2.
template <class T>
OHLOL_INLINE Vec<T> vlog(Vec<T> x) {
    using S = Simd<T>;
    using I = typename S::I;
    using Int = typename S::Int;
    constexpr Int one = S::bias << S::mantissa, fraction = (Int(1) << S::mantissa) - 1;
    constexpr Int root = sizeof(T) == 4 ? Int(0x3f3504f3u) : Int(0x3fe6a09e667f3bcdull);  // sqrt(1/2)
    constexpr Int whole = (S::bias + S::mantissa) << S::mantissa;                          // 2^mantissa
    const I shifted = (I)x + (one - root);
    const Vec<T> exponent = (Vec<T>)((shifted >> S::mantissa) | whole) - T(Int(1) << S::mantissa) - T(S::bias);
    const Vec<T> m = (Vec<T>)((shifted & fraction) + root);
    const Vec<T> f = (m - T(1)) / (m + T(1)), g = f * f;
    constexpr int terms = sizeof(T) == 4 ? 5 : 12;  // g is at most 0.0295
    Vec<T> p = splat<T>(T(1) / T(2 * terms + 1));
    for (int k = terms - 1; k > 0; --k) p = p * g + T(1) / T(2 * k + 1);
    return (f + f) * (p * g + T(1)) + exponent * S::ln2_lo + exponent * S::ln2_hi;
}

}  // namespace
