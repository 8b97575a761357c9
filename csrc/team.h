// How the threads of one call share the work, wait for one another and find their memory.
#pragma once

#include <omp.h>
#include <sched.h>

#include "job.h"
#include "simd.h"

namespace {

using ohlol::Scratch;
using ohlol::Sequence;

// A thread of a team, and how it waits for the others: each counts its arrivals on a cache line of its own, so that an
// arrival costs one transfer between two cores.
struct Member {
    struct alignas(64) Arrivals {
        int count;
    };
    Arrivals* team;
    int part, parts;

    void wait() const {
        if (parts == 1) return;
        const int count = team[part].count + 1;
        __atomic_store_n(&team[part].count, count, __ATOMIC_RELEASE);
        for (int other = 0; other < parts; ++other)
            // The spin must end: if the machine has more work than cores, the thread waited for needs this one's core.
            for (int spins = 0; __atomic_load_n(&team[other].count, __ATOMIC_ACQUIRE) - count < 0; ++spins) {
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

// Hands out pieces of one block; run once with no block to learn the size.
struct Bump {
    char* base;
    std::size_t used = 0;
    template <class T>
    T* take(i64 n) {
        char* p = base ? base + used : nullptr;
        used += (static_cast<std::size_t>(n) * sizeof(T) + 63) / 64 * 64;
        return reinterpret_cast<T*>(p);
    }
};

struct Span {
    i64 lo, hi;
    i64 size() const { return hi - lo; }
};

inline i64 least(i64 a, i64 b) { return a < b ? a : b; }
inline i64 most(i64 a, i64 b) { return a < b ? b : a; }

Span share(i64 n, int part, int parts) { return {n * part / parts, n * (part + 1) / parts}; }

// Entries of the batch for one thread, so that every thread has about the same number of rows.
template <class T>
Span share_batch(const Sequence<T>& q, int part, int parts) {
    if (!q.batch_sizes) return share(q.B, part, parts);
    const i64 from = q.rows * part / parts, to = q.rows * (part + 1) / parts;
    i64 t = q.T_ - 1, before = 0, lo = -1, hi = q.B;
    for (i64 b = 0; b < q.B; ++b) {
        if (lo < 0 && before >= from) lo = b;
        if (before >= to) {
            hi = b;
            break;
        }
        while (t >= 0 && q.batch_sizes[t] <= b) --t;
        before += t + 1;
    }
    if (part == parts - 1) hi = q.B;
    if (lo < 0) lo = hi;
    return {lo, hi};
}

// Up to so many bytes of recurrent weights, each of a step's threads reads all of them as fast as it computes.
constexpr double in_cache = 1 << 23;

// Whether the threads split the hidden units, with a barrier a step, and not the entries of the batch.
template <class T>
bool by_units(const Sequence<T>& q, int gates) {
    return q.B < q.threads || (q.H >= 128 && q.B < 4 * q.threads) || double(gates) * double(q.H) * double(q.H) * sizeof(T) > in_cache;
}

template <class T>
int threads_for(const Sequence<T>& q, int gates, i64 panels) {
    const double work = double(q.rows) * double(q.H) * double(gates) * double(q.H + (q.W_ih ? q.I : 0));
    if (q.threads <= 1 || work < q.serial_below) return 1;
    return static_cast<int>(least(q.threads, by_units(q, gates) ? panels : q.B));
}

// Bytes between what two threads write, so that what one fetches ahead is not what the other is writing.
constexpr i64 apart = 4096;

// Runs body(member) on that many threads of the pool; `team` has room for their arrivals.
template <class F>
OHLOL_INLINE void run_team(Member::Arrivals* team, int threads, F&& body) {
    if (threads == 1) return body(Member{team, 0, 1});
    std::memset(team, 0, sizeof(*team) * threads);
#pragma omp parallel num_threads(threads)
    body(Member{team, omp_get_thread_num(), omp_get_num_threads()});
}

}  // namespace
