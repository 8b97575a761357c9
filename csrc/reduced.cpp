// The forward pass with weights of fewer bits, of one instruction set: this file is compiled once for each OHLOL_VARIANT. As in
// recurrence.cpp, no templates of the standard library.
#include "forward.h"
#include "reduced_weights.h"

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

}  // namespace

#define OHLOL_JOIN_(a, b) a##b
#define OHLOL_JOIN(a, b) OHLOL_JOIN_(a, b)

const ohlol::ReducedFunctions ohlol::OHLOL_JOIN(reduced_, OHLOL_VARIANT) = {&forward_reduced, &pack_reduced};
