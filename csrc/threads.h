// How the threads of one call split the work, synchronize and lay out their memory.
#pragma once

#include <omp.h>

#include "contention.h"
#include "kernel_args.h"
#include "simd.h"

namespace {

using ohlol::AllocateScratch;
using ohlol::LayerArgs;
using ohlol::ThreadSlot;

inline i64 min(i64 a, i64 b) { return a < b ? a : b; }
inline i64 max(i64 a, i64 b) { return a < b ? b : a; }

// One of the threads that run the parts of a call. The parts are fixed by the call, and with them the bits of its results; the
// threads that run them depend on the load of the machine.
class Thread {
  public:
    Thread(ThreadSlot* slots, int index, int threads, int parts, i64 start = 0)
        : slots_(slots), index_(index), threads_(threads), parts_(parts), start_(start) {}

    int parts() const { return parts_; }

    // Calls run(part) for each part of this thread; where it has all of them, `reversed` starts with the last one.
    template <class F>
    void each_part(F&& run, bool reversed = false) const {
        const bool backwards = reversed && threads_ == 1;
        for (int part = index_; part < parts_; part = next_part(part)) run(backwards ? parts_ - 1 - part : part);
    }

    // Waits for the other threads. Returns false if this one must leave the call: the caller runs its parts from then on.
    bool barrier() {
        if (threads_ == 1) return true;
        ++barriers_;
        const bool leaves = __atomic_fetch_add(&slots_[index_].arrivals, 2, __ATOMIC_SEQ_CST) & 1;
        if (leaves) __atomic_store_n(&slots_[index_].arrivals, ohlol::has_left, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&slots_[0].sleepers, __ATOMIC_SEQ_CST)) ohlol::wake_sleepers(&slots_[index_]);
        if (leaves) return false;
        for (int other = 0; other < threads_; ++other) {
            int spins = 0;
            while (__atomic_load_n(&slots_[other].arrivals, __ATOMIC_ACQUIRE) >> 1 < barriers_ && ++spins < 1000) {
#if defined(__x86_64__)
                __builtin_ia32_pause();
#endif
            }
            if (spins == 1000) wait(other);
        }
        return true;
    }

    // Counts the rows of a part that runs these entries of the batch, and its steps, since a step with few rows takes longer for
    // each. Where parts are equal, no work need be counted.
    template <class T>
    void count_work(const LayerArgs<T>& args, i64 lo, i64 hi) const {
        if (threads_ == 1) return;
        i64 work = 0;
        for (i64 t = 0, entries; t < args.T_ && (entries = min(hi, args.entries(t)) - lo) > 0; ++t) work += entries + 1;
        slots_[index_].work += work;
    }

    // Keeps the time of this thread, which began at `start`.
    void finish() { slots_[index_].busy = ohlol::now_in_ns() - start_ - waited_; }

  private:
    int next_part(int part) const {
        if (threads_ == parts_ && !took_over_) return parts_;
        for (++part; part < parts_; ++part)
            if (part % threads_ == index_ || (took_over_ && was_asked(part % threads_))) break;
        return part;
    }

    // The other thread is not running, or has more to do: the caller asks it to leave after a while, so that this call waits
    // for it once and not at every barrier.
    __attribute__((noinline)) void wait(int other) {
        i64 leave_timeout = 0;
        if (index_ == 0) leave_timeout = max(200'000, 2 * (ohlol::now_in_ns() - start_ - waited_) / barriers_);
        waited_ += ohlol::wait_for_thread(slots_, other, barriers_, leave_timeout);
        if (index_ == 0 && was_asked(other)) took_over_ = true;
    }
    bool was_asked(int thread) const { return __atomic_load_n(&slots_[thread].arrivals, __ATOMIC_ACQUIRE) & 1; }

    ThreadSlot* slots_;
    int index_, threads_, parts_, barriers_ = 0;
    bool took_over_ = false;  // the caller: it has asked threads to leave and runs their parts
    i64 start_, waited_ = 0;
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

// Part `index` of `count` equal parts of 0 .. n - 1.
Range split(i64 n, int index, int count) { return {n * index / count, n * (index + 1) / count}; }

// The entries of the batch of one part, such that every part has about the same number of rows.
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
// `weight_bytes` are those of one weight.
template <class T>
bool splits_hidden_units(const LayerArgs<T>& args, int gates, double weight_bytes = sizeof(T)) {
    return args.B < args.threads || (args.H >= 128 && args.B < 4 * args.threads) ||
           double(gates) * double(args.H) * double(args.H) * weight_bytes > cached_weight_bytes;
}

// The parts of a call: as many as threads may run it.
template <class T>
int part_count(const LayerArgs<T>& args, bool split_hidden, int gates, i64 panels) {
    const double work = double(args.rows) * double(args.H) * double(gates) * double(args.H + (args.W_ih ? args.I : 0));
    if (args.threads <= 1 || work < args.serial_below) return 1;
    return static_cast<int>(min(args.threads, split_hidden ? panels : args.B));
}

// Bytes between the memory that two threads write, so that one thread's prefetches do not touch the other's writes.
constexpr i64 thread_gap_bytes = 4096;

// Runs body(thread) on threads of the OpenMP pool, or on this thread alone; `slots` has one element for each part.
template <class F>
OHLOL_INLINE void run_threads(ThreadSlot* slots, int parts, F&& body) {
    ohlol::Region region = ohlol::begin_region(parts);
    if (region.threads == 1) {
        Thread thread(slots, 0, 1, parts);
        body(thread);
        return ohlol::end_region(region, 0);
    }
    std::memset(slots, 0, sizeof(*slots) * region.threads);
    int threads_started = 1;  // OpenMP may start fewer than asked for
#pragma omp parallel num_threads(region.threads)
    {
        const int index = omp_get_thread_num(), threads = omp_get_num_threads();
        if (index == 0) threads_started = threads;
        Thread thread(slots, index, threads, parts, ohlol::now_in_ns());
        body(thread);
        thread.finish();
    }
    region.threads = threads_started;
    ohlol::end_region(region, ohlol::estimate_serial_time(slots, threads_started, parts));
}

}  // namespace
