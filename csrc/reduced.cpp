// The forward pass and the products of the vector machine with weights of fewer bits, of one instruction set: this file is
// compiled once for each OHLOL_VARIANT. As in recurrence.cpp, no templates of the standard library.
#include "forward.h"
#include "reduced_products.h"

namespace {

// Calls run(Format{}) with the format class of a code.
template <class F>
OHLOL_INLINE auto with_format(int format, F&& run) {
    return format == ohlol::bf16 ? run(Bf16Weights{}) : run(Int8Weights{});
}

void forward_reduced(const ForwardArgs<float>& args, AllocateScratch allocate) {
    with_cell<float>(args.cell, [&](auto cell) {
        with_format(args.format, [&](auto format) { forward<decltype(format), decltype(cell)>(args, allocate); });
    });
}

std::size_t pack_reduced(const ForwardArgs<float>& args, void* destination) {
    return with_cell<float>(args.cell, [&](auto cell) {
        return with_format(args.format, [&](auto format) { return pack<decltype(format), decltype(cell)>(args, destination); });
    });
}

std::size_t matrix_bytes(int format, i64 K, i64 N) {
    return with_format(format, [&](auto f) { return reduced_matrix_bytes<decltype(f)>(K, N); });
}

void pack_matrix(int format, i64 K, i64 N, const float* rows, void* destination) {
    with_format(format, [&](auto f) { pack_reduced_matrix<decltype(f)>(K, N, rows, destination); });
}

// The bytes of a row of K numbers that is prepared for products; 0 where they read it as it is.
i64 row_bytes(int format, i64 K) { return format == ohlol::int8 ? Int8Weights::row_size(K) : 0; }

void prepare_rows(const float* rows, i64 stride, i64 count, i64 K, void* space) {
    for (i64 i = 0; i < count; ++i)
        Int8Weights::prepare_row(rows + i * stride, K, static_cast<Int8Weights::Row*>(space) + i * Int8Weights::row_size(K));
}

void multiply(const ReducedProduct& product) {
    with_format(product.format, [&](auto f) { multiply_reduced<decltype(f)>(product); });
}

}  // namespace

#define OHLOL_JOIN_(a, b) a##b
#define OHLOL_JOIN(a, b) OHLOL_JOIN_(a, b)

const ohlol::ReducedFunctions ohlol::OHLOL_JOIN(reduced_, OHLOL_VARIANT) = {
    &forward_reduced, &pack_reduced, &matrix_bytes, &pack_matrix, &row_bytes, &prepare_rows, &multiply};
