// Sums of rows by their id: the gradient of a table from which rows were looked up.
//
// Threads split the columns, and every thread adds the rows in their order, so that the bits do not depend on the threads.
#pragma once

#include "threads.h"
#include "training.h"

namespace {

using ohlol::ScatterArgs;

template <class T>
void scatter_rows(const ScatterArgs<T>& args, AllocateScratch allocate) {
    constexpr i64 L = Simd<T>::lanes;
    const i64 N = args.N, vectors = (N + L - 1) / L;
    const bool is_small = double(args.rows) * double(N) < args.serial_below;
    const int parts = args.threads <= 1 || is_small ? 1 : static_cast<int>(max(1, min(args.threads, vectors)));
    ThreadSlot* const slots = static_cast<ThreadSlot*>(allocate(sizeof(ThreadSlot) * parts));
    run_threads(slots, parts, [&](Thread& thread) {
        thread.each_part([&](int part) {
            const Range range = split(vectors, part, parts);
            const i64 lo = range.lo * L, hi = min(range.hi * L, N);
            for (i64 id = 0; id < args.size; ++id) std::memset(args.sums + id * N + lo, 0, sizeof(T) * (hi - lo));
            for (i64 row = 0; row < args.rows; ++row) {
                const T* const from = args.values + row * N;
                T* const to = args.sums + args.ids[row] * N;
                i64 j = lo;
                for (; j + L <= hi; j += L) store<T>(to + j, load<T>(to + j) + load<T>(from + j));
                for (; j < hi; ++j) to[j] += from[j];
            }
        });
    });
}

}  // namespace
