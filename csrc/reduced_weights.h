// Weights of fewer bits, for inference: bfloat16 and int8. The layer is float32.
//
// int8: every row of W, and every row of state and input of every step, is q * scale with q = round(x * (127 / m)) from -127 to
// 127, scale = m / 127 and m the largest |x| of the row. Sums of products of these integers are exact, so they are the same
// with every instruction set. A row with a number that is not finite has the scale NaN, and one below smallest_scaled is zero.
#pragma once

#include "weight_formats.h"

namespace {

// The upper halves of float32 numbers, rounded to nearest even. A 32-bit number holds those of two columns, the even one in its
// lower half, so that one shift or mask makes a float32 of either.
struct Bf16Weights {
    using Number = float;
    using Weight = std::uint32_t;
    using Row = float;
    using Pairs = typename Simd<float>::I;
    static constexpr bool prepares_rows = false;
    static constexpr i64 L = Simd<float>::lanes;

    template <int NV>
    static constexpr i64 panel_size(i64 K) {
        return (K + 1) / 2 * NV * L;
    }

    static std::uint32_t round(float x) {
        std::uint32_t bits;
        std::memcpy(&bits, &x, sizeof bits);
        if (x != x) return 0x7fc0;
        return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    }

    template <int NV>
    static void pack_panel(const float* m, i64 K, const i64* first, const i64* count, Weight* panel) {
        for (i64 k = 0; k < K; k += 2)
            for (int v = 0; v < NV; ++v)
                for (i64 lane = 0; lane < L; ++lane) {
                    const float* row = m + (first[v] + lane) * K + k;
                    Weight pair = 0;
                    if (lane < count[v]) pair = round(row[0]) | (k + 1 < K ? round(row[1]) << 16 : 0);
                    *panel++ = pair;
                }
    }

    template <int NV, int MR>
    static void multiply(i64 K, const float* a, i64 lda, const Weight* w, float* dst) {
        using V = Vec<float>;
        constexpr std::uint32_t upper_half = 0xffff0000u;
        // As in tile(), several partial sums where there are few rows.
        constexpr int parts = MR * NV >= 8 ? 1 : MR * NV >= 4 ? 2 : 4, unrolled = parts < 4 ? 1 : 2;
        V sums[parts][MR][NV];
        OHLOL_UNROLL(4)
        for (int part = 0; part < parts; ++part)
            OHLOL_UNROLL(12)
            for (int i = 0; i < MR; ++i)
                OHLOL_UNROLL(4)
                for (int v = 0; v < NV; ++v) sums[part][i][v] = V{};
        i64 k = 0;
        const auto add_pair = [&](int part) {
            const Pairs* pairs = reinterpret_cast<const Pairs*>(w);
            OHLOL_UNROLL(4)
            for (int v = 0; v < NV; ++v) {
                const V even = (V)(pairs[v] << 16), odd = (V)(pairs[v] & upper_half);
                OHLOL_UNROLL(12)
                for (int i = 0; i < MR; ++i) {
                    sums[part % parts][i][v] += even * a[i * lda + k];
                    sums[(part + 1) % parts][i][v] += odd * a[i * lda + k + 1];
                }
            }
            k += 2, w += NV * L;
        };
        while (k + 2 * unrolled <= K)
            OHLOL_UNROLL(2)
            for (int u = 0; u < unrolled; ++u) add_pair(2 * u);
        while (k + 2 <= K) add_pair(0);
        OHLOL_UNROLL(12)
        for (int i = 0; i < MR; ++i)
            OHLOL_UNROLL(4)
            for (int v = 0; v < NV; ++v) {
                V sum = sums[0][i][v];
                OHLOL_UNROLL(4)
                for (int part = 1; part < parts; ++part) sum += sums[part][i][v];
                if (k < K) sum += (V)(reinterpret_cast<const Pairs*>(w)[v] << 16) * a[i * lda + k];
                reinterpret_cast<V*>(dst)[i * NV + v] = sum;
            }
    }
};

typedef std::int32_t Ints __attribute__((vector_size(OHLOL_VECTOR_BYTES), may_alias));

OHLOL_INLINE Ints round_to_int(Vec<float> x) {
#if defined(__AVX512F__)
    return (Ints)_mm512_maskz_cvtps_epi32(0xffff, (__m512)x);
#elif defined(__AVX2__)
    return (Ints)_mm256_cvtps_epi32((__m256)x);
#elif defined(__SSE2__)
    return (Ints)_mm_cvtps_epi32((__m128)x);
#else
    for (int i = 0; i < Simd<float>::lanes; ++i) x[i] = __builtin_rintf(x[i]);
    return __builtin_convertvector(x, Ints);
#endif
}

// Four numbers of a row from -127 to 127 in each lane, and how add_products adds their products with those of w to each lane
// of the sums. A number of w takes the sign of its factor, so that the other one has none, as the instructions ask for; two
// products have at most 15 bits and a sign.
#if defined(__AVX512F__)
struct ByteQuads {
    __m512i sizes;
    __mmask64 is_negative;
    explicit ByteQuads(std::int32_t quad)
        : sizes(_mm512_maskz_abs_epi8(~__mmask64{}, _mm512_set1_epi32(quad))),
          is_negative(_mm512_movepi8_mask(_mm512_set1_epi32(quad))) {}
    OHLOL_INLINE Ints add_products(Ints sums, Ints w) const {
        const __m512i with_sign = _mm512_mask_sub_epi8((__m512i)w, is_negative, _mm512_setzero_si512(), (__m512i)w);
        return sums + (Ints)_mm512_madd_epi16(_mm512_maddubs_epi16(sizes, with_sign), _mm512_set1_epi16(1));
    }
};
#elif defined(__AVX2__)
struct ByteQuads {
    __m256i bytes, sizes;
    explicit ByteQuads(std::int32_t quad) : bytes(_mm256_set1_epi32(quad)), sizes(_mm256_abs_epi8(bytes)) {}
    OHLOL_INLINE Ints add_products(Ints sums, Ints w) const {
        const __m256i pairs = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8((__m256i)w, bytes));
        return sums + (Ints)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    }
};
#else
struct ByteQuads {
    typedef std::int16_t Shorts __attribute__((vector_size(OHLOL_VECTOR_BYTES), may_alias));
    Shorts even, odd;
    explicit ByteQuads(std::int32_t quad) {
        const Shorts pairs = (Shorts)(quad - Ints{});
        even = pairs << 8 >> 8, odd = pairs >> 8;
    }
    OHLOL_INLINE Ints add_products(Ints sums, Ints w) const {
        const Ints pairs = (Ints)(((Shorts)w << 8 >> 8) * even + ((Shorts)w >> 8) * odd);
        return sums + (pairs << 16 >> 16) + (pairs >> 16);
    }
};
#endif

struct Int8Weights {
    using Number = float;
    using Weight = std::int8_t;
    using Row = std::int8_t;
    static constexpr bool prepares_rows = true;
    static constexpr i64 L = Simd<float>::lanes;
    static constexpr float smallest_scaled = 1e-30f;  // the largest number of a row whose quotients are normal

    // A row is its scale and then its numbers. 64 bytes more keep rows from sharing cache sets.
    static constexpr i64 row_size(i64 K) { return round_up(sizeof(float) + K, 64) + 64; }
    // A panel is NV vectors for every four columns, a lane the four numbers of a unit, and then the scales.
    template <int NV>
    static constexpr i64 panel_size(i64 K) {
        return round_up(K, 4) * NV * L + sizeof(float) * NV * L;
    }

    struct Scale {
        float scale, factor;  // q * scale = x, x * factor = q
    };

    static Scale find_scale(const float* x, i64 K) {
        typedef std::int32_t Bits __attribute__((vector_size(OHLOL_VECTOR_BYTES), may_alias));
        Bits largest{};
        for (i64 k = 0; k < K; k += L) {  // as integers, sizes are in the order of the numbers, and NaN is the largest
            const Vec<float> v = K - k < L ? load_part<float>(x + k, K - k) : load<float>(x + k);
            const Bits size = (Bits)v & 0x7fffffff;
            largest = size > largest ? size : largest;
        }
        std::int32_t bits = 0;
        for (int i = 0; i < L; ++i) bits = largest[i] > bits ? largest[i] : bits;
        float m;
        std::memcpy(&m, &bits, sizeof m);
        if (bits >= 0x7f800000) return {__builtin_nanf(""), 0};
        if (m < smallest_scaled) return {0, 0};
        return {m / 127, 127 / m};
    }

    // Calls write(k, quads) with the numbers of L columns from k on, four in each 32-bit number; beyond K they are zero.
    template <class Write>
    static OHLOL_INLINE void quantize(const float* x, i64 K, float factor, Write&& write) {
        typedef std::int8_t Bytes __attribute__((vector_size(L)));
        for (i64 k = 0; k < K; k += L) {
            const Vec<float> v = K - k < L ? load_part<float>(x + k, K - k) : load<float>(x + k);
            const Bytes bytes = __builtin_convertvector(factor ? round_to_int(v * factor) : Ints{}, Bytes);
            std::int32_t quads[L / 4];
            std::memcpy(quads, &bytes, sizeof quads);
            write(k, quads);
        }
    }

    static void prepare_row(const float* x, i64 K, Row* row) {
        const Scale scale = find_scale(x, K);
        std::memcpy(row, &scale.scale, sizeof(float));
        quantize(x, K, scale.factor, [&](i64 k, const std::int32_t(&quads)[L / 4]) {
            std::memcpy(row + sizeof(float) + k, quads, sizeof quads);
        });
    }

    template <int NV>
    static void pack_panel(const float* m, i64 K, const i64* first, const i64* count, Weight* panel) {
        const i64 quads_size = round_up(K, 4) * NV * L;
        std::memset(panel, 0, panel_size<NV>(K));
        for (int v = 0; v < NV; ++v)
            for (i64 lane = 0; lane < count[v]; ++lane) {
                const float* row = m + (first[v] + lane) * K;
                const Scale scale = find_scale(row, K);
                const i64 at = (v * L + lane) * 4;
                std::memcpy(panel + quads_size + at, &scale.scale, sizeof(float));
                quantize(row, K, scale.factor, [&](i64 k, const std::int32_t(&quads)[L / 4]) {
                    for (i64 i = 0; i < L && k + i < K; i += 4)
                        std::memcpy(panel + (k + i) * NV * L + at, quads + i / 4, 4);
                });
            }
    }

    template <int NV, int MR>
    static void multiply(i64 K, const Row* a, i64 lda, const Weight* w, float* dst) {
        Ints sums[MR][NV];
        OHLOL_UNROLL(12)
        for (int i = 0; i < MR; ++i)
            OHLOL_UNROLL(4)
            for (int v = 0; v < NV; ++v) sums[i][v] = Ints{};
        for (i64 k = 0; k < K; k += 4, w += 4 * NV * L) {
            const Ints* quads = reinterpret_cast<const Ints*>(w);
            OHLOL_UNROLL(12)
            for (int i = 0; i < MR; ++i) {
                std::int32_t quad;
                std::memcpy(&quad, a + i * lda + sizeof(float) + k, sizeof quad);
                const ByteQuads bytes(quad);
                OHLOL_UNROLL(4)
                for (int v = 0; v < NV; ++v) sums[i][v] = bytes.add_products(sums[i][v], quads[v]);
            }
        }
        const Vec<float>* scales = reinterpret_cast<const Vec<float>*>(w);
        OHLOL_UNROLL(12)
        for (int i = 0; i < MR; ++i) {
            float scale;
            std::memcpy(&scale, a + i * lda, sizeof scale);
            OHLOL_UNROLL(4)
            for (int v = 0; v < NV; ++v)
                reinterpret_cast<Vec<float>*>(dst)[i * NV + v] =
                    __builtin_convertvector(sums[i][v], Vec<float>) * (scales[v] * scale);
        }
    }
};

}  // namespace
