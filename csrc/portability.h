// What differs between GCC, Clang and clang-cl, and between operating systems. Microsoft's own compiler has no vector
// extension (simd.h), so on Windows the kernels are compiled with clang-cl.
#pragma once

#include <cstddef>

#define OHLOL_INLINE inline __attribute__((always_inline))

// Unroll the loop that follows, up to n times: OHLOL_UNROLL(1) keeps it a loop. The loops have few iterations, known to the
// compiler, and Clang unrolls them as a whole.
#define OHLOL_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define OHLOL_UNROLL(n) OHLOL_PRAGMA(clang loop unroll(full))
#define OHLOL_KEEP_LOOP OHLOL_PRAGMA(clang loop unroll(disable))
#else
#define OHLOL_UNROLL(n) OHLOL_PRAGMA(GCC unroll n)
#define OHLOL_KEEP_LOOP OHLOL_PRAGMA(GCC unroll 1)
#endif
