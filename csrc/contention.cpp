// Whether other processes use the processors. A thread that has no processor of its own delays all others of its call, so each
// call on several threads is compared with what one thread would have taken. When threads have lost more time than they
// gained, one thread runs all parts of the following calls, for many times what was lost, and until there are processors that
// no process waits for: the loss stays a small share of the time, whatever the cause. The results do not depend on it.
//
// Meanwhile the threads of torch, which are the same OpenMP threads, must not spin in their barriers either. libgomp spins for
// milliseconds only while it manages no more threads than there are processors, so a team that only sleeps is added.
#include "contention.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <thread>

#ifdef __linux__
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ohlol {
namespace {

constexpr i64 millisecond = 1'000'000;
constexpr i64 tolerated_loss = 3 * millisecond / 10;
constexpr i64 largest_saved_time = 2 * millisecond;     // that is remembered, so that one short delay changes nothing
constexpr i64 rest_factor = 20;                         // time on one thread, relative to the time lost
constexpr i64 time_between_checks = 5 * millisecond;    // of the processes that run
constexpr int free_checks = 6;                          // in a row, before threads are used again
constexpr i64 least_retry = 2000 * millisecond;         // threads are tried again after this time even if no processor is free,
constexpr i64 largest_retry = 32'000 * millisecond;     // which grows to this while they lose
constexpr i64 success = 1000 * millisecond;             // threads that were used for so long had not lost
constexpr i64 time_before_sleep = millisecond / 5;      // in a barrier
// More idle threads would be needed only where at least 15 processors are not used by the call. Threads that spin have processors
// of their own there, and so many more threads would cost memory and time to start.
constexpr int largest_idle_team = 16;

std::atomic<i64> lost{0};          // by threads, minus what they gained; at least -largest_saved_time
std::atomic<i64> serial_until{0};  // one thread runs each call until then; 0: threads are used
std::atomic<int> checks_left{0};   // of free_checks
std::atomic<i64> resumed_at{0}, retry_time{least_retry}, retry_at{0};
std::atomic<int> thread_limit{0};
std::atomic<bool> threads_forced{false};
std::atomic<i64> leave_timeout_of_tests{0};
std::atomic<i64> threaded_count{0}, last_threads{0}, last_serial_estimate{0};

#ifdef __linux__
void sleep_while(int* word, int value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0); }
void wake_all(int* word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1 << 30, nullptr, nullptr, 0); }
#else
void sleep_while(int*, int) { std::this_thread::yield(); }
void wake_all(int*) {}
#endif

// Whether `threads` processors are free for this process, one of which it uses now. The system counts the processes that run
// or wait for a processor; where it does not say, they are assumed to be free.
bool has_free_processors(int threads) {
#ifdef __linux__
    const int file = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    if (file < 0) return true;
    char text[128] = {};
    const auto size = read(file, text, sizeof(text) - 1);
    close(file);
    int running = 0;
    if (size <= 0 || std::sscanf(text, "%*s %*s %*s %d/", &running) != 1) return true;
    return running - 1 + threads <= sysconf(_SC_NPROCESSORS_ONLN);
#else
    return threads > 0;
#endif
}

// ---- the idle team

#ifdef __linux__
int idle_team_state = 0;  // the address on which the thread sleeps: 1 while it is to stay
std::atomic<bool> idle_team_exists{false};

void* keep_idle_team(void* threads) {
    const int count = static_cast<int>(reinterpret_cast<std::intptr_t>(threads));
#pragma omp parallel num_threads(count)
    asm volatile("");
    while (__atomic_load_n(&idle_team_state, __ATOMIC_ACQUIRE) == 1) sleep_while(&idle_team_state, 1);
    idle_team_exists = false;
    return nullptr;  // the end of the thread ends its team
}

// Makes the threads of libgomp sleep in their barriers instead of spinning.
void stop_spinning(int threads) {
    if (__atomic_exchange_n(&idle_team_state, 1, __ATOMIC_ACQ_REL) == 1 && idle_team_exists) return;
    const int count = std::max(2, omp_get_num_procs() - threads + 2);
    if (count > largest_idle_team || idle_team_exists.exchange(true)) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    if (pthread_create(&thread, nullptr, keep_idle_team, reinterpret_cast<void*>(static_cast<std::intptr_t>(count))) == 0)
        pthread_detach(thread);
    else
        idle_team_exists = false;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void allow_spinning() {
    __atomic_store_n(&idle_team_state, 0, __ATOMIC_RELEASE);
    wake_all(&idle_team_state);
}
#else
void stop_spinning(int) {}
void allow_spinning() {}
#endif

void use_one_thread(i64 now, i64 rest, int threads) {
    retry_time = now - resumed_at > success ? least_retry : std::min(2 * retry_time, largest_retry);
    retry_at = now + std::max<i64>(rest, retry_time);
    lost = 0, checks_left = free_checks;
    serial_until = now + rest;
    stop_spinning(threads);
}

}  // namespace

i64 now_in_ns() {
    using std::chrono::nanoseconds, std::chrono::steady_clock;
    return std::chrono::duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

Region begin_region(int parts) {
    if (parts == 1) return {1, 1, 0};
    const int limit = thread_limit.load(std::memory_order_relaxed);
    if (limit == 1) {
        stop_spinning(parts);
        return {parts, 1, 0};
    }
    const int threads = limit ? std::min(parts, limit) : parts;
    const i64 until = serial_until.load(std::memory_order_relaxed), now = now_in_ns();
    if (threads_forced.load(std::memory_order_relaxed)) return {parts, threads, now};
    if (until && now < until) return {parts, 1, now};
    if (until) {
        if (has_free_processors(threads))
            --checks_left;
        else
            checks_left = free_checks;
        serial_until = now + time_between_checks;
        if (checks_left > 0 && now < retry_at) return {parts, 1, now};
        lost = 0, serial_until = 0, resumed_at = now;
        allow_spinning();
    }
    return {parts, threads, now};
}

i64 estimate_serial_time(const ThreadSlot* slots, int threads, int parts) {
    i64 total_work = 0;
    for (int i = 0; i < threads; ++i) {
        if (slots[i].arrivals & 1) return slots[0].busy;  // the caller ran nearly all
        total_work += slots[i].work;
    }
    const auto work_of = [&](int i) { return double(total_work ? slots[i].work : (parts - i + threads - 1) / threads); };
    const double average = double(total_work ? total_work : parts) / threads;
    // A thread that had no processor for a while was busy for longer; without that, the times for the same work differ by a factor
    // of 2 at most. Threads with little work do not count, since most of their time may be for something else.
    double least = 0;  // nanoseconds for a unit of work
    for (int i = 0; i < threads; ++i) {
        if (2 * work_of(i) < average) continue;
        const double time = double(slots[i].busy) / work_of(i);
        if (least == 0 || time < least) least = time;
    }
    double sum = 0;
    for (int i = 0; i < threads; ++i) sum += std::min(double(slots[i].busy), 2 * least * std::max(work_of(i), average));
    return static_cast<i64>(sum);
}

void end_region(const Region& region, i64 serial_estimate) {
    if (region.threads == 1) return;
    threaded_count.fetch_add(1, std::memory_order_relaxed);
    last_threads.store(region.threads, std::memory_order_relaxed);
    last_serial_estimate.store(serial_estimate, std::memory_order_relaxed);
    if (threads_forced.load(std::memory_order_relaxed)) return;
    const i64 now = now_in_ns(), total = lost.load(std::memory_order_relaxed) + (now - region.start) - serial_estimate;
    if (total > tolerated_loss)
        use_one_thread(now, std::min(rest_factor * total, largest_retry), region.parts);
    else
        lost.store(std::max(total, -largest_saved_time), std::memory_order_relaxed);
}

i64 wait_for_thread(ThreadSlot* slots, int other, int barrier, i64 leave_timeout) {
    if (leave_timeout && leave_timeout_of_tests) leave_timeout = leave_timeout_of_tests;
    const i64 start = now_in_ns();
    int* const word = &slots[other].arrivals;
    const auto is_late = [&](int arrivals) { return arrivals >> 1 < barrier; };
    for (int arrivals; is_late(arrivals = __atomic_load_n(word, __ATOMIC_ACQUIRE));) {
        const i64 waited = now_in_ns() - start;
        if (leave_timeout && waited > leave_timeout && !(arrivals & 1)) {
            __atomic_compare_exchange_n(word, &arrivals, arrivals | 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
            continue;
        }
        if (waited < std::max(time_before_sleep, leave_timeout)) {
            std::this_thread::yield();
            continue;
        }
        __atomic_fetch_add(&slots[0].sleepers, 1, __ATOMIC_SEQ_CST);
        arrivals = __atomic_load_n(word, __ATOMIC_SEQ_CST);
        if (is_late(arrivals)) sleep_while(word, arrivals);
        __atomic_fetch_sub(&slots[0].sleepers, 1, __ATOMIC_SEQ_CST);
    }
    return now_in_ns() - start;
}

void wake_sleepers(ThreadSlot* slot) { wake_all(&slot->arrivals); }

void force_threads(bool on) {
    threads_forced = on;
    if (!on) return;
    lost = 0, serial_until = 0;
    allow_spinning();
}

bool threads_are_forced() { return threads_forced.load(std::memory_order_relaxed); }

void set_leave_timeout(i64 nanoseconds) { leave_timeout_of_tests = nanoseconds; }

ThreadedCalls threaded_calls() { return {threaded_count, last_threads, last_serial_estimate}; }

void limit_threads(int processors) {
    thread_limit = processors;
    if (processors != 1 && !is_contended()) allow_spinning();
}

bool is_contended() { return serial_until.load(std::memory_order_relaxed) != 0; }

void reset_contention() {
    lost = 0, serial_until = 0;
#ifdef __linux__
    idle_team_state = 0, idle_team_exists = false;
#endif
}

}  // namespace ohlol
