// What differs between GCC, Clang and clang-cl. Microsoft's own compiler has no vector extension (simd.h), so on Windows the
// kernels are compiled with clang-cl.
#pragma once

#define OHLOL_INLINE inline __attribute__((always_inline))

// Before a loop: unroll it, which has at most n iterations, all known to the compiler; or do not.
#define OHLOL_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define OHLOL_UNROLL(n) OHLOL_PRAGMA(clang loop unroll(full))
#define OHLOL_KEEP_LOOP OHLOL_PRAGMA(clang loop unroll(disable))
#else
#define OHLOL_UNROLL(n) OHLOL_PRAGMA(GCC unroll n)
#define OHLOL_KEEP_LOOP OHLOL_PRAGMA(GCC unroll 1)
#endif
