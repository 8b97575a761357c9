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

// Memory aligned to 64 bytes; throws std::bad_alloc.
inline void* allocate_aligned(std::size_t bytes) { return ::operator new(bytes, std::align_val_t{64}); }
inline void free_aligned(void* p) { ::operator delete(p, std::align_val_t{64}); }

// Calls `function` in each forked child from now on; Windows does not fork.
inline void call_in_forked_child([[maybe_unused]] void (*function)()) {
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, function);
#endif
}

#if defined(OHLOL_X86) && defined(_WIN32)
// __builtin_cpu_supports needs a library of Clang that clang-cl does not link. `features` are bits of register EBX of CPUID
// leaf 7, `saved` those of the register XCR0, which says what registers the operating system saves.
inline bool runs_with_fma(unsigned features, unsigned saved) {
    int leaf[4];
    __cpuid(leaf, 1);
    constexpr int fma_and_osxsave = 1 << 12 | 1 << 27;
    if ((leaf[2] & fma_and_osxsave) != fma_and_osxsave) return false;
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    __cpuidex(leaf, 7, 0);
    return (low & saved) == saved && (static_cast<unsigned>(leaf[1]) & features) == features;
}
inline bool runs_avx2() { return runs_with_fma(1u << 5, 0x06); }
inline bool runs_avx512() { return runs_with_fma(1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, 0xe6); }  // F, DQ, BW, VL
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
