// Whether other processes use the processors: how many threads run a call, and how they wait for each other.
#pragma once

#include "kernel_args.h"

namespace ohlol {

// One thread of a call, on a cache line of its own, so that an arrival at a barrier costs one transfer between two cores.
struct alignas(64) ThreadSlot {
    int arrivals;       // twice the number of barriers at which it has arrived, plus 1 if the caller has asked it to leave
    int sleepers;       // of the first slot: threads that sleep until another one arrives
    i64 busy;           // nanoseconds outside of barriers
    i64 work;           // of its parts, in any unit; 0 for all threads where the parts are equal
};

// The arrivals of a thread that has left: more than any barrier waits for.
constexpr int has_left = (1 << 30) + 1;

// The threads that run a call of several parts: one for each, or one for all of them.
struct Region {
    int parts, threads;
    i64 start;
};

i64 now_in_ns();

// Decides how many threads run a call that is split into `parts`.
Region begin_region(int parts);

// What one thread would have taken for a call of `parts`, in nanoseconds, from the times of its threads.
i64 estimate_serial_time(const ThreadSlot* slots, int threads, int parts);

// Learns from a call that has ended. `serial_estimate` is what one thread would have taken, in nanoseconds.
void end_region(const Region& region, i64 serial_estimate);

// Waits in barrier number `barrier` for slots[other], after spinning, and returns the nanoseconds. With a `leave_timeout`
// other than 0, that thread is then asked to leave, and runs what it has begun.
i64 wait_for_thread(ThreadSlot* slots, int other, int barrier, i64 leave_timeout);

// Wakes the threads that sleep until this one arrives.
void wake_sleepers(ThreadSlot* slot);

// The most threads that run a call, whatever it is split into; 0: no limit.
void limit_threads(int processors);

// For tests: uses threads whatever time they lose, and for the smallest step.
void force_threads(bool on);
bool threads_are_forced();

// For tests: asks late threads to leave after this time; 0: as usual.
void set_leave_timeout(i64 nanoseconds);

// For tests: how many calls ran on several threads, and of the last one the threads and the estimated time of one thread.
struct ThreadedCalls {
    i64 count, threads, serial_estimate;
};
ThreadedCalls threaded_calls();

// Whether calls run on one thread at present, because other processes use the processors.
bool is_contended();

// In a forked process only the calling thread exists.
void reset_contention();

}  // namespace ohlol
