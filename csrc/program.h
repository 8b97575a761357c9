// The vector machine: a program of vector instructions, run for every step of a recurrence.
//
// An instruction works on a block of rows, so that its dispatch costs little, and pointwise instructions on so few of them
// that their temporaries stay in the L1 cache. Products use the register tiles of tile.h. Threads split the batch.
#pragma once

#include "gemm.h"
#include "panels.h"
#include "program_args.h"
#include "threads.h"

namespace {

using ohlol::Instruction;
using ohlol::is_binary;
using ohlol::is_unary;
using ohlol::Memory;
using ohlol::MemoryKind;
using ohlol::Op;
using ohlol::PackedMatrix;
using ohlol::Place;
using ohlol::Program;
using ohlol::ProgramArgs;
using ohlol::Section;

constexpr i64 max_block_rows = 48;       // of a product
constexpr i64 temporary_bytes = 2048;    // of one temporary

// The vectors of a panel of a packed matrix at most, for blocks of so many rows. With 12 accumulators three vectors divide
// the usual numbers of rows into tiles of four, with all registers in use; four would leave tiles of two rows.
constexpr i64 max_panel_vectors(i64 rows) { return accumulators == 12 && rows >= 4 ? 3 : 4; }

// Rows of local memory are as long as the widest vectors, whatever the instruction set.
template <class T>
constexpr i64 alignment = 64 / sizeof(T);

// ---- vector functions

template <class T>
OHLOL_INLINE Vec<T> vexpm1(Vec<T> x) {
    constexpr T limit = sizeof(T) == 4 ? T(87) : T(708);
    const auto is_over = x > splat<T>(limit);
    Vec<T> y = is_over ? splat<T>(limit) : x;
    y = y < splat<T>(-limit) ? splat<T>(-limit) : y;
    Vec<T> scale;
    const Vec<T> p = expm1_reduced<T>(y, scale);
    return is_over ? vexp<T>(x) : scale * p + (scale - T(1));
}

template <class T, class F>
OHLOL_INLINE Vec<T> each_lane(Vec<T> x, F&& f) {
    Vec<T> y;
    OHLOL_KEEP_LOOP
    for (int i = 0; i < Simd<T>::lanes; ++i) y[i] = f(x[i]);
    return y;
}

template <class T>
OHLOL_INLINE Vec<T> vsqrt(Vec<T> x) {
    Vec<T> y;
    for (int i = 0; i < Simd<T>::lanes; ++i) {
        if constexpr (sizeof(T) == 4)
            y[i] = __builtin_sqrtf(x[i]);
        else
            y[i] = __builtin_sqrt(x[i]);
    }
    return y;
}

// The functions of <cmath> as builtins, since an inline function of a header may be compiled for another instruction set.
#define OHLOL_SCALAR(name)                   \
    template <class T>                       \
    OHLOL_INLINE T scalar_##name(T x) {      \
        if constexpr (sizeof(T) == 4)        \
            return __builtin_##name##f(x);   \
        else                                 \
            return __builtin_##name(x);      \
    }
OHLOL_SCALAR(log)
OHLOL_SCALAR(log1p)
OHLOL_SCALAR(sin)
OHLOL_SCALAR(cos)
OHLOL_SCALAR(erf)
#undef OHLOL_SCALAR

template <class T>
OHLOL_INLINE T scalar_pow(T x, T y) {
    if constexpr (sizeof(T) == 4)
        return __builtin_powf(x, y);
    else
        return __builtin_pow(x, y);
}

template <class T, Op op>
OHLOL_INLINE Vec<T> apply_unary(Vec<T> x) {
    using I = typename Simd<T>::I;
    const Vec<T> zero{}, one = splat<T>(1);
    switch (op) {
        case Op::copy: return x;
        case Op::neg: return -x;
        case Op::abs: return (Vec<T>)((I)x & ~(Simd<T>::sign - I{}));
        case Op::sign: return x > zero ? one : x < zero ? -one : zero;
        case Op::relu: return x < zero ? zero : x;  // keeps NaN
        case Op::sigmoid: return vsigmoid<T>(x);
        case Op::tanh: return vtanh<T>(x);
        case Op::exp: return vexp<T>(x);
        case Op::expm1: return vexpm1<T>(x);
        case Op::log: return each_lane<T>(x, &scalar_log<T>);
        case Op::log1p: return each_lane<T>(x, &scalar_log1p<T>);
        case Op::sqrt: return vsqrt<T>(x);
        case Op::rsqrt: return T(1) / vsqrt<T>(x);
        case Op::reciprocal: return T(1) / x;
        case Op::sin: return each_lane<T>(x, &scalar_sin<T>);
        case Op::cos: return each_lane<T>(x, &scalar_cos<T>);
        case Op::erf: return each_lane<T>(x, &scalar_erf<T>);
        case Op::isnan: return x != x ? one : zero;
        case Op::square: return x * x;
        default: __builtin_unreachable();
    }
}

template <class T, Op op>
OHLOL_INLINE Vec<T> apply_binary(Vec<T> a, Vec<T> b) {
    const Vec<T> zero{}, one = splat<T>(1);
    switch (op) {
        case Op::add: return a + b;
        case Op::sub: return a - b;
        case Op::mul: return a * b;
        case Op::div: return a / b;
        case Op::minimum: return a < b ? a : a != a ? a : b;  // a NaN in either is the result
        case Op::maximum: return a > b ? a : a != a ? a : b;
        case Op::gt: return a > b ? one : zero;
        case Op::ge: return a >= b ? one : zero;
        case Op::eq: return a == b ? one : zero;
        case Op::ne: return a != b ? one : zero;
        case Op::pow: {
            Vec<T> y;
            for (int i = 0; i < Simd<T>::lanes; ++i) y[i] = scalar_pow<T>(a[i], b[i]);
            return y;
        }
        case Op::tanh_grad: return a * (T(1) - b * b);
        case Op::sigmoid_grad: return a * (b * (T(1) - b));
        default: __builtin_unreachable();
    }
}

template <class T, Op op>
OHLOL_INLINE Vec<T> apply_ternary(Vec<T> a, Vec<T> b, Vec<T> c) {
    if constexpr (op == Op::where) return a != Vec<T>{} ? b : c;
    return a * b + c;
}

// ---- instructions

constexpr i64 no_memory = ohlol::max_memories;  // the index of a null pointer, for operands that an instruction has not

// An instruction as a part runs it: where its operands lie, the distance of their rows, and how the last vector is accessed.
template <class T>
struct Resolved {
    using Run = void (*)(const Resolved&, T*, const T*, const T*, const T*, i64 rows);
    Run run;
    i64 width;
    i64 memory[4], column[4];  // of result, a, b, c; likewise below
    i64 flat_ld;             // not 0: the rows of all operands lie together, at this distance
    i64 strides[4];          // of result, a, b, c
    bool whole[4];           // the last vector may be accessed as a whole
    bool scalar[4];
};

template <class T, bool Scalar>
struct Reader {
    const T* p;
    Vec<T> value{};
    OHLOL_INLINE explicit Reader(const T* from) : p(from) {
        if constexpr (Scalar) value = splat<T>(*from);
    }
    OHLOL_INLINE Vec<T> at(i64 j) const {
        if constexpr (Scalar) return value;
        else return load<T>(p + j);
    }
    OHLOL_INLINE Vec<T> part(i64 j, i64 n, bool whole) const {
        if constexpr (Scalar) return value;
        else return whole ? load<T>(p + j) : load_part<T>(p + j, n);
    }
};

// The same, decided at run time.
template <class T>
struct AnyReader {
    const T* p;
    bool is_scalar;
    Vec<T> value{};
    OHLOL_INLINE AnyReader(const T* from, bool scalar) : p(from), is_scalar(scalar) {
        if (scalar) value = splat<T>(*from);
    }
    OHLOL_INLINE Vec<T> at(i64 j) const { return is_scalar ? value : load<T>(p + j); }
    OHLOL_INLINE Vec<T> part(i64 j, i64 n, bool whole) const {
        return is_scalar ? value : whole ? load<T>(p + j) : load_part<T>(p + j, n);
    }
};

// Calls body(result, a, b, c) for each row, and combine for each vector in it.
template <class T, class MakeReaders>
OHLOL_INLINE void for_rows(const Resolved<T>& r, T* result, const T* a, const T* b, const T* c, i64 rows, MakeReaders&& row) {
    i64 width = r.width;
    if (r.flat_ld) {
        width = rows * r.flat_ld;
        rows = 1;
    }
    for (i64 i = 0; i < rows; ++i) {
        row(result, a, b, c, width);
        result += r.strides[0];
        a += r.strides[1];
        b += r.strides[2];
        c += r.strides[3];
    }
}

template <class T, class Combine>
OHLOL_INLINE void for_vectors(const Resolved<T>& r, T* result, i64 width, Combine&& combine) {
    constexpr i64 L = Simd<T>::lanes;
    i64 j = 0;
    for (; j + L <= width; j += L) store<T>(result + j, combine(j, L));
    if (j < width) {
        const Vec<T> last = combine(j, width - j);
        if (r.whole[0])
            store<T>(result + j, last);
        else
            store_part<T>(result + j, last, width - j);
    }
}

template <class T, Op op, bool Scalar>
void run_unary(const Resolved<T>& r, T* result, const T* a, const T* b, const T* c, i64 rows) {
    for_rows<T>(r, result, a, b, c, rows, [&](T* result, const T* a, const T*, const T*, i64 width) {
        const Reader<T, Scalar> x(a);
        for_vectors<T>(r, result, width, [&](i64 j, i64 n) {
            return apply_unary<T, op>(n == Simd<T>::lanes ? x.at(j) : x.part(j, n, r.whole[1]));
        });
    });
}

template <class T, Op op, bool ScalarA, bool ScalarB>
void run_binary(const Resolved<T>& r, T* result, const T* a, const T* b, const T* c, i64 rows) {
    for_rows<T>(r, result, a, b, c, rows, [&](T* result, const T* a, const T* b, const T*, i64 width) {
        const Reader<T, ScalarA> x(a);
        const Reader<T, ScalarB> y(b);
        for_vectors<T>(r, result, width, [&](i64 j, i64 n) {
            if (n == Simd<T>::lanes) return apply_binary<T, op>(x.at(j), y.at(j));
            return apply_binary<T, op>(x.part(j, n, r.whole[1]), y.part(j, n, r.whole[2]));
        });
    });
}

template <class T, Op op>
void run_ternary(const Resolved<T>& r, T* result, const T* a, const T* b, const T* c, i64 rows) {
    for_rows<T>(r, result, a, b, c, rows, [&](T* result, const T* a, const T* b, const T* c, i64 width) {
        const AnyReader<T> x(a, r.scalar[1]), y(b, r.scalar[2]), z(c, r.scalar[3]);
        for_vectors<T>(r, result, width, [&](i64 j, i64 n) {
            if (n == Simd<T>::lanes) return apply_ternary<T, op>(x.at(j), y.at(j), z.at(j));
            return apply_ternary<T, op>(x.part(j, n, r.whole[1]), y.part(j, n, r.whole[2]), z.part(j, n, r.whole[3]));
        });
    });
}

template <class T, Op op>
void run_vectors_only(const Resolved<T>& r, T* result, const T* a, const T* b, const T* c, i64 rows) {
    for_rows<T>(r, result, a, b, c, rows, [&](T* result, const T* a, const T* b, const T* c, i64 width) {
        const Reader<T, false> x(a), y(b), z(c);
        for_vectors<T>(r, result, width, [&](i64 j, i64 n) {
            if (n == Simd<T>::lanes) return apply_ternary<T, op>(x.at(j), y.at(j), z.at(j));
            return apply_ternary<T, op>(x.part(j, n, r.whole[1]), y.part(j, n, r.whole[2]), z.part(j, n, r.whole[3]));
        });
    });
}

template <class T>
void run_sum(const Resolved<T>& r, T* result, const T* a, const T*, const T*, i64 rows) {
    constexpr i64 L = Simd<T>::lanes;
    for (i64 i = 0; i < rows; ++i, result += r.strides[0], a += r.strides[1]) {
        Vec<T> sum{};
        i64 j = 0;
        for (; j + L <= r.width; j += L) sum += load<T>(a + j);
        if (j < r.width) sum += load_part<T>(a + j, r.width - j);
        T total = 0;
        for (int lane = 0; lane < L; ++lane) total += sum[lane];
        *result = total;
    }
}

template <class T>
void run_amax(const Resolved<T>& r, T* result, const T* a, const T*, const T*, i64 rows) {
    for (i64 i = 0; i < rows; ++i, result += r.strides[0], a += r.strides[1]) {
        T largest = a[0];
        for (i64 j = 1; j < r.width; ++j) largest = a[j] > largest || a[j] != a[j] ? a[j] : largest;
        *result = largest;
    }
}

// Adds the sum over the rows: its rounding error grows with the number of blocks, not of rows.
template <class T>
void run_accumulate(const Resolved<T>& r, T* result, const T* a, const T*, const T*, i64 rows) {
    constexpr i64 L = Simd<T>::lanes;
    for (i64 j = 0; j < r.width; j += L) {
        const i64 n = min(r.width - j, L);
        Vec<T> sum{};
        for (i64 i = 0; i < rows; ++i) {
            const T* from = a + i * r.strides[1] + j;
            sum += n == L || r.whole[1] ? load<T>(from) : load_part<T>(from, n);
        }
        if (n == L)
            store<T>(result + j, load<T>(result + j) + sum);
        else
            store_part<T>(result + j, load_part<T>(result + j, n) + sum, n);
    }
}

template <class T, Op op>
typename Resolved<T>::Run binary_function(bool scalar_a, bool scalar_b) {
    if (scalar_a) return scalar_b ? &run_binary<T, op, true, true> : &run_binary<T, op, true, false>;
    return scalar_b ? &run_binary<T, op, false, true> : &run_binary<T, op, false, false>;
}

template <class T, int N>
typename Resolved<T>::Run find_pointwise(Op op, const bool* scalar) {
    if constexpr (N > static_cast<int>(Op::sigmoid_grad)) {
        return nullptr;
    } else {
        constexpr Op here = static_cast<Op>(N);
        if (op != here) return find_pointwise<T, N + 1>(op, scalar);
        if constexpr (is_unary(here))
            return scalar[1] ? &run_unary<T, here, true> : &run_unary<T, here, false>;
        else
            return binary_function<T, here>(scalar[1], scalar[2]);
    }
}

template <class T>
typename Resolved<T>::Run find_function(Op op, const bool* scalar) {
    const bool any_scalar = scalar[1] || scalar[2] || scalar[3];
    switch (op) {
        case Op::where: return any_scalar ? &run_ternary<T, Op::where> : &run_vectors_only<T, Op::where>;
        case Op::mul_add: return any_scalar ? &run_ternary<T, Op::mul_add> : &run_vectors_only<T, Op::mul_add>;
        case Op::sum: return &run_sum<T>;
        case Op::amax: return &run_amax<T>;
        case Op::accumulate: return &run_accumulate<T>;
        case Op::matmul: return nullptr;
        default: return find_pointwise<T, 0>(op, scalar);
    }
}

// ---- memory

constexpr bool is_shared_by_rows(MemoryKind kind) {
    return kind == MemoryKind::vector || kind == MemoryKind::number || kind == MemoryKind::accumulator;
}

template <class T>
struct ProgramScratch {
    static constexpr i64 L = Simd<T>::lanes, A = alignment<T>, thread_gap = thread_gap_bytes / sizeof(T);
    i64 block_rows, section_rows, state_ld_sum = 0, accumulator_ld_sum = 0, vector_ld_sum = 0;
    i64 state_stride;  // numbers of the states of one parity
    T *packed, *vectors, *numbers, *states, *locals, *temporaries, *accumulators;
    i64 local_stride, temporary_stride, accumulator_stride;  // between parts
    char* prepared;        // rows that are prepared for products with fewer bits
    i64 prepared_stride;   // between parts
    Resolved<T>* resolved;
    i64* packed_offsets;
    T* gemm_space;
    ThreadSlot* slots;

    ProgramScratch(const ProgramArgs<T>& args, char* base, std::size_t& bytes, int parts) {
        const Program& p = args.program;
        BumpAllocator memory{base};
        const i64 rows_of_part = (args.B + parts - 1) / parts + (args.batch_sizes ? args.B : 0);
        block_rows = min(max_block_rows, min(args.B, rows_of_part));
        const i64 widest = max(p.widest, A);
        section_rows = max(1, min(block_rows, temporary_bytes / static_cast<i64>(sizeof(T)) / widest));
        i64 packed_size = 0;
        i64 prepared_bytes = 0;  // of a row
        for (i64 m = 0; m < p.matrix_count; ++m) {
            const PackedMatrix& matrix = p.matrices[m];
            if (args.reduced)
                prepared_bytes = max(prepared_bytes, args.reduced->row_bytes(args.format, matrix.K));
            else
                packed_size += matrix.K * round_up(matrix.N, L);
        }
        packed = memory.allocate<T>(packed_size);
        for (i64 k = 0; k < p.vector_count; ++k) vector_ld_sum += round_up(p.vector_widths[k], A);
        vectors = memory.allocate<T>(vector_ld_sum);
        numbers = memory.allocate<T>(p.number_count);
        for (i64 k = 0; k < p.state_count; ++k) state_ld_sum += round_up(p.state_widths[k], A);
        state_stride = args.B * state_ld_sum + parts * thread_gap * p.state_count;
        states = memory.allocate<T>(2 * state_stride);
        local_stride = block_rows * p.local_width + thread_gap;
        locals = memory.allocate<T>(parts * local_stride);
        temporary_stride = section_rows * p.temporary_width + thread_gap;
        temporaries = memory.allocate<T>(parts * temporary_stride);
        prepared_stride = prepared_bytes ? block_rows * prepared_bytes + thread_gap_bytes : 0;
        prepared = memory.allocate<char>(parts * prepared_stride);
        for (i64 k = 0; k < p.accumulator_count; ++k) accumulator_ld_sum += round_up(p.accumulator_widths[k], A);
        accumulator_stride = accumulator_ld_sum + thread_gap;
        accumulators = memory.allocate<T>(parts * accumulator_stride);
        resolved = memory.allocate<Resolved<T>>(p.instruction_count);
        packed_offsets = memory.allocate<i64>(p.matrix_count);
        gemm_space = memory.allocate<T>(p.product_count ? parts * GemmBlocks<T>::space : 0);
        slots = memory.allocate<ThreadSlot>(parts);
        bytes = memory.used;
    }

    Panels panels(const PackedMatrix& matrix) const { return {matrix.N, L, max_panel_vectors(block_rows)}; }
};

// Packs one panel of rows k of a matrix whose number (k, n) lies at data[k * k_stride + n * n_stride].
template <class T, int NV>
void pack_strided(const T* data, i64 k_stride, i64 n_stride, i64 K, i64 N, i64 col, T* panel) {
    constexpr i64 L = Simd<T>::lanes, width = NV * L;
    if (n_stride == 1) return pack_panel<T>(data, k_stride, K, N, col, width, panel);
    if (k_stride == 1) {
        i64 first[NV], count[NV];
        for (int v = 0; v < NV; ++v) {
            first[v] = col + v * L;
            count[v] = max(0, min(L, N - first[v]));
        }
        return pack_panel_transposed<T, NV>(data, n_stride, K, first, count, panel);
    }
    for (i64 k = 0; k < K; ++k)
        for (i64 n = 0; n < width; ++n)
            panel[k * width + n] = col + n < N ? data[k * k_stride + (col + n) * n_stride] : T(0);
}

template <class T>
void pack_matrix(const ProgramArgs<T>& args, const PackedMatrix& matrix, const Panels& panels, T* to, i64 first_panel,
                 i64 last_panel) {
    constexpr i64 L = Simd<T>::lanes;
    for (i64 p = first_panel; p < last_panel; ++p) {
        const Range vectors = panels.at(p);
        T* panel = to + vectors.lo * L * matrix.K;
        i64 k = 0;
        for (i64 i = matrix.first_part; i < matrix.last_part; ++i) {
            const auto& part = args.program.parts[i];
            const auto& view = args.matrix_data[part.matrix];
            const T* data = static_cast<const T*>(view.data) + part.first_row * view.row_stride +
                            part.first_column * view.column_stride;
            const i64 rows = part.last_row - part.first_row, columns = part.last_column - part.first_column;
            const i64 K = matrix.transposed ? columns : rows;
            const i64 k_stride = matrix.transposed ? view.column_stride : view.row_stride;
            const i64 n_stride = matrix.transposed ? view.row_stride : view.column_stride;
            T* rows_of_part = panel + k * vectors.size() * L;
            const i64 col = vectors.lo * L;
            switch (vectors.size()) {
                case 1: pack_strided<T, 1>(data, k_stride, n_stride, K, matrix.N, col, rows_of_part); break;
                case 2: pack_strided<T, 2>(data, k_stride, n_stride, K, matrix.N, col, rows_of_part); break;
                case 3: pack_strided<T, 3>(data, k_stride, n_stride, K, matrix.N, col, rows_of_part); break;
                default: pack_strided<T, 4>(data, k_stride, n_stride, K, matrix.N, col, rows_of_part);
            }
            k += K;
        }
    }
}

// ---- products

// The terms that are added to a tile's product, by the distance of their rows; null for none.
template <class T>
struct Terms {
    const T *b, *c;
    i64 b_stride, c_stride;
};

// result (MR, NV * lanes) = a (MR, K) panel (K, NV * lanes) + b + c.
template <class T, int NV, int MR>
void multiply_tile(i64 K, const T* a, i64 lda, const T* panel, const Terms<T>& terms, T* result, i64 ld) {
    constexpr i64 L = Simd<T>::lanes;
    multiply_registers<T, NV, MR, false>(K, a, lda, panel, [&](int i, int v, Vec<T> sum) {
        if (terms.b) sum += load<T>(terms.b + i * terms.b_stride + v * L);
        if (terms.c) sum += load<T>(terms.c + i * terms.c_stride + v * L);
        store<T>(result + i * ld + v * L, sum);
    });
}

template <class T, int NV>
struct TermTiles {
    using Fn = void (*)(i64, const T*, i64, const T*, const Terms<T>&, T*, i64);
    static constexpr int max = max_rows(NV);
    Fn fn[max + 1];
    template <int MR>
    constexpr void fill() {
        fn[MR] = &multiply_tile<T, NV, MR>;
        if constexpr (MR > 1) fill<MR - 1>();
    }
    constexpr TermTiles() : fn{} { fill<max>(); }
};
template <class T, int NV>
constexpr TermTiles<T, NV> term_tiles{};

template <class T, int NV>
void multiply_panel(const Resolved<T>& r, i64 K, const T* packed, i64 col, T* result, const T* a, const T* b, const T* c,
                    i64 rows) {
    constexpr i64 L = Simd<T>::lanes;
    const bool ends_here = col + NV * L > r.width;
    if (!ends_here || (r.whole[0] && (!b || r.whole[2]) && (!c || r.whole[3]))) {
        for_row_tiles<T, NV>(0, rows, [&](i64 first, i64 tile_rows, TileFn<T>) {
            const Terms<T> terms{b ? b + first * r.strides[2] + col : nullptr, c ? c + first * r.strides[3] + col : nullptr,
                                 r.strides[2], r.strides[3]};
            term_tiles<T, NV>.fn[tile_rows](K, a + first * r.strides[1], r.strides[1], packed, terms,
                                            result + first * r.strides[0] + col, r.strides[0]);
        });
        return;
    }
    alignas(64) T products[accumulators * L];
    for_row_tiles<T, NV>(0, rows, [&](i64 first, i64 tile_rows, TileFn<T> tile_fn) {
        tile_fn(K, a + first * r.strides[1], r.strides[1], packed, products);
        for (i64 i = 0; i < tile_rows; ++i) {
            const i64 row = first + i;
            for (int v = 0; v < NV; ++v) {
                const i64 j = col + v * L, n = min(r.width - j, L);
                Vec<T> sum = load<T>(products + (i * NV + v) * L);
                if (b) sum += n == L || r.whole[2] ? load<T>(b + row * r.strides[2] + j) : load_part<T>(b + row * r.strides[2] + j, n);
                if (c) sum += n == L || r.whole[3] ? load<T>(c + row * r.strides[3] + j) : load_part<T>(c + row * r.strides[3] + j, n);
                T* to = result + row * r.strides[0] + j;
                if (n == L || r.whole[0])
                    store<T>(to, sum);
                else
                    store_part<T>(to, sum, n);
            }
        }
    });
}

template <class T>
void multiply(const Resolved<T>& r, const PackedMatrix& matrix, const Panels& panels, const T* packed, T* result, const T* a,
              const T* b, const T* c, i64 rows, bool backwards) {
    constexpr i64 L = Simd<T>::lanes;
    for (i64 k = 0; k < panels.count; ++k) {
        // Every other step reads the panels in reverse order: those it read last are still in the cache.
        const Range vectors = panels.at(backwards ? panels.count - 1 - k : k);
        const T* panel = packed + vectors.lo * L * matrix.K;
        const i64 col = vectors.lo * L;
        switch (vectors.size()) {
            case 1: multiply_panel<T, 1>(r, matrix.K, panel, col, result, a, b, c, rows); break;
            case 2: multiply_panel<T, 2>(r, matrix.K, panel, col, result, a, b, c, rows); break;
            case 3: multiply_panel<T, 3>(r, matrix.K, panel, col, result, a, b, c, rows); break;
            default: multiply_panel<T, 4>(r, matrix.K, panel, col, result, a, b, c, rows);
        }
    }
}

// ---- the time loop

template <class T>
void resolve(const Program& p, Resolved<T>* resolved) {
    constexpr i64 A = alignment<T>;
    for (i64 i = 0; i < p.instruction_count; ++i) {
        const Instruction& instruction = p.instructions[i];
        Resolved<T>& r = resolved[i];
        r.width = instruction.width;
        const Place* places[4] = {&instruction.result, &instruction.a, &instruction.b, &instruction.c};
        const bool reduces = instruction.op == Op::sum || instruction.op == Op::amax;
        i64 flat_ld = reduces || instruction.op == Op::accumulate ? 0 : round_up(instruction.width, A);
        for (int k = 0; k < 4; ++k) {
            r.strides[k] = 0;
            r.whole[k] = true;
            r.scalar[k] = false;
            r.memory[k] = places[k]->memory < 0 ? no_memory : places[k]->memory;
            r.column[k] = places[k]->memory < 0 ? 0 : places[k]->column;
            if (places[k]->memory < 0) continue;
            const Memory& memory = p.memories[places[k]->memory];
            const bool shared = is_shared_by_rows(memory.kind);
            r.strides[k] = shared ? 0 : memory.ld;
            r.scalar[k] = places[k]->is_scalar;
            const i64 end = places[k]->column + instruction.width;
            const bool is_padded = memory.kind != MemoryKind::rows || memory.ld == round_up(memory.width, A);
            r.whole[k] = is_padded && end == memory.width && places[k]->column % A == 0;
            if (r.scalar[k] ? !shared : shared || places[k]->column != 0 || memory.ld != flat_ld || memory.width != r.width)
                flat_ld = 0;
        }
        r.flat_ld = flat_ld;
        r.run = find_function<T>(instruction.op, r.scalar);
    }
}

template <class T>
struct ProgramPart {
    const ProgramArgs<T>& args;
    const ProgramScratch<T>& scratch;
    const int index, parts;
    const Program& program = args.program;
    T* pointers[ohlol::max_memories + 1] = {};
    i64 section_strides[ohlol::max_memories + 1] = {};  // by how much a row of a section moves a pointer
    // A memory whose pointer depends on the step: its first row, of a state for even and for odd steps.
    struct Moving {
        T* base[2];
        i64 memory, ld;
        bool by_entry;  // a state has a row for each entry of the batch, not for each row of the input
    };
    Moving moving[ohlol::max_memories];
    i64 moving_count = 0;
    const Instruction* prepared = nullptr;  // the product whose operand the prepared rows are
    i64 reduced_count = 0;                  // of products with fewer bits

    ProgramPart(const ProgramArgs<T>& a, const ProgramScratch<T>& s, int part, int count)
        : args(a), scratch(s), index(part), parts(count) {}

    T* state(i64 k, i64 parity) const {
        i64 before = 0;
        for (i64 i = 0; i < k; ++i)
            before += args.B * round_up(program.state_widths[i], alignment<T>) + parts * ProgramScratch<T>::thread_gap;
        return scratch.states + parity * scratch.state_stride + before + index * ProgramScratch<T>::thread_gap;
    }
    i64 state_ld(i64 k) const { return round_up(program.state_widths[k], alignment<T>); }

    static void pack(const ProgramArgs<T>& args, const ProgramScratch<T>& scratch, int index, int parts) {
        const Program& program = args.program;
        i64 offset = 0;
        for (i64 m = 0; m < program.matrix_count; ++m) {
            const PackedMatrix& matrix = program.matrices[m];
            if (index == 0) scratch.packed_offsets[m] = offset;
            if (args.reduced) {
                offset += static_cast<i64>(args.reduced->matrix_bytes(args.format, matrix.K, matrix.N));
                continue;
            }
            const Panels panels = scratch.panels(matrix);
            const Range own = split(panels.count, index, parts);
            pack_matrix<T>(args, matrix, panels, scratch.packed + offset, own.lo, own.hi);
            offset += matrix.K * round_up(matrix.N, Simd<T>::lanes);
        }
        if (index != 0) return;
        T* to = scratch.vectors;
        for (i64 k = 0; k < program.vector_count; ++k) {
            const i64 ld = round_up(program.vector_widths[k], alignment<T>);
            std::memset(to, 0, sizeof(T) * ld);
            std::memcpy(to, args.vector_data[k], sizeof(T) * program.vector_widths[k]);
            to += ld;
        }
        for (i64 k = 0; k < program.number_count; ++k) scratch.numbers[k] = static_cast<T>(program.numbers[k]);
        resolve<T>(program, scratch.resolved);
    }

    void initialize(Range entries) {
        for (i64 k = 0; k < program.state_count; ++k)
            for (i64 parity = 0; parity < 2; ++parity)
                for (i64 b = entries.lo; b < entries.hi; ++b) {
                    T* to = state(k, parity) + b * state_ld(k);
                    std::memset(to, 0, sizeof(T) * state_ld(k));
                    if (args.initial[k])
                        std::memcpy(to, args.initial[k] + b * program.state_widths[k], sizeof(T) * program.state_widths[k]);
                }
        std::memset(scratch.accumulators + index * scratch.accumulator_stride, 0,
                    sizeof(T) * scratch.accumulator_ld_sum);
        T* vector = scratch.vectors;
        T* accumulator = scratch.accumulators + index * scratch.accumulator_stride;
        for (i64 m = 0; m < program.memory_count; ++m) {
            const Memory& memory = program.memories[m];
            section_strides[m] = is_shared_by_rows(memory.kind) || memory.kind == MemoryKind::temporary ? 0 : memory.ld;
            switch (memory.kind) {
                case MemoryKind::vector: pointers[m] = vector + offset_of(program.vector_widths, memory.index); break;
                case MemoryKind::accumulator:
                    pointers[m] = accumulator + offset_of(program.accumulator_widths, memory.index);
                    break;
                case MemoryKind::number: pointers[m] = scratch.numbers + memory.index; break;
                case MemoryKind::local:
                    pointers[m] = scratch.locals + index * scratch.local_stride + memory.index * scratch.block_rows;
                    break;
                case MemoryKind::temporary:
                    pointers[m] =
                        scratch.temporaries + index * scratch.temporary_stride + memory.index * scratch.section_rows;
                    break;
                case MemoryKind::rows: {
                    T* rows = args.rows_data[memory.index];
                    moving[moving_count++] = {{rows, rows}, m, memory.ld, false};
                    break;
                }
                default: {
                    const i64 parity = memory.kind == MemoryKind::state_after;
                    moving[moving_count++] = {
                        {state(memory.index, parity), state(memory.index, 1 - parity)}, m, state_ld(memory.index), true};
                }
            }
        }
    }

    static i64 offset_of(const i64* widths, i64 index) {
        i64 offset = 0;
        for (i64 k = 0; k < index; ++k) offset += round_up(widths[k], alignment<T>);
        return offset;
    }

    // Runs the program on rows of one step: entries first .. first + rows - 1, the first of which is row `row` of all.
    void run_block(i64 step, i64 first, i64 row, i64 rows) {
        for (i64 k = 0; k < moving_count; ++k) {
            const Moving& m = moving[k];
            pointers[m.memory] = m.base[step & 1] + (m.by_entry ? first : row) * m.ld;
        }
        prepared = nullptr;
        for (i64 s = 0; s < program.section_count; ++s) {
            const Section& section = program.sections[s];
            if (!scratch.resolved[section.first].run && args.reduced) {
                multiply_reduced(section.first, rows, step & 1);
                continue;
            }
            if (!scratch.resolved[section.first].run) {
                const Resolved<T>& r = scratch.resolved[section.first];
                const i64 matrix = program.instructions[section.first].matrix;
                multiply<T>(r, program.matrices[matrix], scratch.panels(program.matrices[matrix]), scratch.packed + scratch.packed_offsets[matrix], at(r, 0, 0),
                            at(r, 1, 0), at(r, 2, 0), at(r, 3, 0), rows, step & 1);
                continue;
            }
            prepared = nullptr;
            for (i64 i = 0; i < rows; i += scratch.section_rows) {
                const i64 count = min(scratch.section_rows, rows - i);
                for (i64 k = section.first; k < section.last; ++k) {
                    const Resolved<T>& r = scratch.resolved[k];
                    r.run(r, at(r, 0, i), at(r, 1, i), at(r, 2, i), at(r, 3, i), count);
                }
            }
        }
    }

    // The product of an instruction with a matrix of fewer bits. Products of the same operand without a pointwise section in
    // between prepare its rows once.
    void multiply_reduced(i64 k, i64 rows, bool backwards) {
        if constexpr (sizeof(T) == 4) {
            const Instruction& instruction = program.instructions[k];
            const PackedMatrix& matrix = program.matrices[instruction.matrix];
            const Resolved<T>& r = scratch.resolved[k];
            ohlol::ReducedProduct product{args.format, matrix.K, matrix.N, rows,
                                          args.packed + scratch.packed_offsets[instruction.matrix], at(r, 1, 0), r.strides[1],
                                          at(r, 2, 0), at(r, 3, 0), r.strides[2], r.strides[3],
                                          at(r, 0, 0), r.strides[0], backwards};
            if (const i64 row_bytes = args.reduced->row_bytes(args.format, matrix.K)) {
                char* space = scratch.prepared + index * scratch.prepared_stride;
                const bool is_prepared = prepared && prepared->a.memory == instruction.a.memory &&
                                         prepared->a.column == instruction.a.column &&
                                         program.matrices[prepared->matrix].K == matrix.K;
                if (!is_prepared) args.reduced->prepare_rows(at(r, 1, 0), r.strides[1], rows, matrix.K, space);
                prepared = &instruction;
                product.rows = space, product.row_stride = row_bytes;
            }
            args.reduced->multiply(product);
            ++reduced_count;
        }
    }

    // Operand k of an instruction at a row of a block.
    OHLOL_INLINE T* at(const Resolved<T>& r, int k, i64 row) const {
        return pointers[r.memory[k]] + row * section_strides[r.memory[k]] + r.column[k];
    }

    void run_steps(const Thread& thread) {
        const Range entries = split_batch(args, index, parts);
        thread.count_work(args, entries.lo, entries.hi);
        initialize(entries);
        for (i64 step = 0; step < args.T_; ++step) {
            const i64 t = args.reverse ? args.T_ - 1 - step : step;
            const i64 hi = min(entries.hi, args.entries(t));
            for (i64 b = entries.lo; b < hi; b += scratch.block_rows)
                run_block(step, b, args.row(t, b), min(scratch.block_rows, hi - b));
            const bool is_last = step == args.T_ - 1;
            const i64 continuing = is_last ? 0 : args.entries(args.reverse ? t - 1 : t + 1);
            for (i64 k = 0; k < program.state_count; ++k)
                for (i64 b = max(entries.lo, continuing); b < hi; ++b)
                    if (args.final[k])
                        std::memcpy(args.final[k] + b * program.state_widths[k],
                                    state(k, (step + 1) & 1) + b * state_ld(k), sizeof(T) * program.state_widths[k]);
        }
        if (reduced_count) __atomic_fetch_add(args.reduced_products, reduced_count, __ATOMIC_RELAXED);
    }

    // This part's rows of a product over all rows.
    static void multiply_rows(const ProgramArgs<T>& args, const ProgramScratch<T>& scratch, int index, int parts, i64 k) {
        constexpr i64 unit = GemmBlocks<T>::rows;
        const Program& program = args.program;
        const ohlol::RowProduct& product = program.products[k];
        const Memory &a = program.memories[product.gradients], &b = program.memories[product.operands];
        const Range units = split((product.N + unit - 1) / unit, index, parts);
        const i64 lo = units.lo * unit, hi = min(units.hi * unit, product.N);
        if (lo >= hi) return;
        const T* gradients = args.rows_data[a.index] + product.gradient_column + lo;
        const T* operands = args.rows_data[b.index] + product.operand_column;
        T* result = args.product_data[k] + lo * product.K;
        gemm<T, true>({.M = hi - lo,
                       .N = product.K,
                       .K = args.rows,
                       .a = Rows<const T>::matrix(gradients, a.ld),
                       .b = Rows<const T>::matrix(operands, b.ld),
                       .c = Rows<T>::matrix(result, product.K),
                       .add = false},
                      scratch.gemm_space + index * GemmBlocks<T>::space);
    }
};

template <class T>
void run_program(const ProgramArgs<T>& args, AllocateScratch allocate) {
    const Program& program = args.program;
    double work = 0;
    for (i64 m = 0; m < program.matrix_count; ++m)
        work += double(args.rows) * double(program.matrices[m].K) * double(program.matrices[m].N);
    for (i64 k = 0; k < program.product_count; ++k)
        work += double(args.rows) * double(program.products[k].K) * double(program.products[k].N);
    work += double(args.rows) * double(program.instruction_count) * double(program.widest);
    const int parts = args.threads <= 1 || work < args.serial_below ? 1 : static_cast<int>(min(args.threads, args.B));
    std::size_t bytes = 0;
    const ProgramScratch<T> measure(args, nullptr, bytes, parts);
    const ProgramScratch<T> scratch(args, static_cast<char*>(allocate(bytes)), bytes, parts);
    run_threads(scratch.slots, parts, [&](Thread& thread) {
        using Part = ProgramPart<T>;
        thread.each_part([&](int part) { Part::pack(args, scratch, part, parts); });
        if (!thread.barrier()) return;
        thread.each_part([&](int part) { Part(args, scratch, part, parts).run_steps(thread); });
        if (!program.product_count || !thread.barrier()) return;
        thread.each_part([&](int part) {
            for (i64 k = 0; k < program.product_count; ++k) Part::multiply_rows(args, scratch, part, parts, k);
        });
    });
    for (i64 k = 0; k < program.accumulator_count; ++k) {
        const T* sums = scratch.accumulators + ProgramPart<T>::offset_of(program.accumulator_widths, k);
        for (i64 j = 0; j < program.accumulator_widths[k]; ++j) {
            T total = 0;
            for (int index = 0; index < parts; ++index) total += sums[index * scratch.accumulator_stride + j];
            args.accumulator_data[k][j] = total;
        }
    }
}

}  // namespace
