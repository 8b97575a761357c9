// How the threads of one call split the work, synchronize and lay out their memory.
#pragma once

#include <omp.h>
#include <sched.h>

#include "kernel_args.h"
#include "simd.h"

namespace {

using ohlol::AllocateScratch;
using ohlol::LayerArgs;

// One of the `count` threads of a call. For the barrier each thread counts its arrivals on a cache line of its own, so
// that an arrival costs one transfer between two cores.
struct Thread {
    struct alignas(64) Arrivals {
        int count;
    };
    Arrivals* arrivals;  // (count,)
    int index, count;

    void barrier() const {
        if (count == 1) return;
        const int arrival = arrivals[index].count + 1;
        __atomic_store_n(&arrivals[index].count, arrival, __ATOMIC_RELEASE);
        for (int other = 0; other < count; ++other)
            // Spin, but not forever: with more runnable threads than cores, the other thread may need this one's core.
            for (int spins = 0; __atomic_load_n(&arrivals[other].count, __ATOMIC_ACQUIRE) - arrival < 0; ++spins) {
                if (spins < 1000) {
#if defined(__x86_64__)
                    __builtin_ia32_pause();
#endif
                } else {
                    sched_yield();
                }
            }
    }
};

// Allocates pieces of one block of memory, each aligned to 64 bytes. With a null base it only counts the bytes.
struct BumpAllocator {
    char* base;
    std::size_t used = 0;
    template <class T>
    T* allocate(i64 n) {
        char* p = base ? base + used : nullptr;
        used += (static_cast<std::size_t>(n) * sizeof(T) + 63) / 64 * 64;
        return reinterpret_cast<T*>(p);
    }
};

struct Range {
    i64 lo, hi;
    i64 size() const { return hi - lo; }
};

inline i64 min(i64 a, i64 b) { return a < b ? a : b; }
inline i64 max(i64 a, i64 b) { return a < b ? b : a; }

// Part `index` of `count` equal parts of 0 .. n - 1.
Range split(i64 n, int index, int count) { return {n * index / count, n * (index + 1) / count}; }

// The entries of the batch for one thread, such that every thread has about the same number of rows.
template <class T>
Range split_batch(const LayerArgs<T>& args, int index, int count) {
    if (!args.batch_sizes) return split(args.B, index, count);
    const i64 first_row = args.rows * index / count, last_row = args.rows * (index + 1) / count;
    i64 t = args.T_ - 1, rows_before = 0, lo = -1, hi = args.B;
    for (i64 b = 0; b < args.B; ++b) {
        if (lo < 0 && rows_before >= first_row) lo = b;
        if (rows_before >= last_row) {
            hi = b;
            break;
        }
        while (t >= 0 && args.batch_sizes[t] <= b) --t;
        rows_before += t + 1;
    }
    if (index == count - 1) hi = args.B;
    if (lo < 0) lo = hi;
    return {lo, hi};
}

// The largest recurrent weights, in bytes, that are assumed to stay in the caches, so that every thread can read all of them at
// each step without waiting for memory.
constexpr double cached_weight_bytes = 1 << 23;

// Whether the threads split the hidden units, with a barrier at each step; otherwise they split the batch, without barriers.
template <class T>
bool splits_hidden_units(const LayerArgs<T>& args, int gates) {
    return args.B < args.threads || (args.H >= 128 && args.B < 4 * args.threads) ||
           double(gates) * double(args.H) * double(args.H) * sizeof(T) > cached_weight_bytes;
}

template <class T>
int thread_count(const LayerArgs<T>& args, int gates, i64 panels) {
    const double work = double(args.rows) * double(args.H) * double(gates) * double(args.H + (args.W_ih ? args.I : 0));
    if (args.threads <= 1 || work < args.serial_below) return 1;
    return static_cast<int>(min(args.threads, splits_hidden_units(args, gates) ? panels : args.B));
}

// Bytes between the memory that two threads write, so that one thread's prefetches do not touch the other's writes.
constexpr i64 thread_gap_bytes = 4096;

// Runs body(thread) on `threads` threads of the OpenMP pool; `arrivals` has one element for each.
template <class F>
OHLOL_INLINE void run_threads(Thread::Arrivals* arrivals, int threads, F&& body) {
    if (threads == 1) return body(Thread{arrivals, 0, 1});
    std::memset(arrivals, 0, sizeof(*arrivals) * threads);
#pragma omp parallel num_threads(threads)
    body(Thread{arrivals, omp_get_thread_num(), omp_get_num_threads()});
}

}  // namespace
