// What the module asks of the operating system and the processor: aligned memory, forks, instruction sets.
#pragma once

#include <cstddef>
#include <new>

#if defined(_WIN32)
#include <intrin.h>
#else
#include <pthread.h>
#endif

namespace ohlol {

constexpr std::align_val_t cache_line{64};

// Memory aligned to 64 bytes; throws std::bad_alloc.
inline void* allocate_aligned(std::size_t bytes) { return ::operator new(bytes, cache_line); }
inline void free_aligned(void* p) { ::operator delete(p, cache_line); }

// Calls `function` in each forked child from now on; Windows does not fork.
inline void call_in_forked_child([[maybe_unused]] void (*function)()) {
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, function);
#endif
}

#if defined(OHLOL_X86) && defined(_WIN32)
// __builtin_cpu_supports needs a library of Clang that clang-cl does not link. Bits of CPUID leaf 7, register EBX, and of XCR0,
// which says what registers the operating system saves.
inline bool runs_instructions(unsigned leaf_7_ebx, bool needs_fma, unsigned saved) {
    int r[4];
    __cpuid(r, 1);
    const unsigned ecx = static_cast<unsigned>(r[2]);
    constexpr unsigned fma = 1u << 12, osxsave = 1u << 27;
    if (!(ecx & osxsave) || (needs_fma && !(ecx & fma))) return false;
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    __cpuidex(r, 7, 0);
    return (low & saved) == saved && (static_cast<unsigned>(r[1]) & leaf_7_ebx) == leaf_7_ebx;
}
inline bool runs_avx2() { return runs_instructions(1u << 5, true, 0x6); }
inline bool runs_avx512() {
    return runs_instructions(1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, true, 0xe6);  // F, DQ, BW, VL
}
#elif defined(OHLOL_X86)
inline bool runs_avx2() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
inline bool runs_avx512() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

}  // namespace ohlol
