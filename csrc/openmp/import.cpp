// The functions of OpenMP that compiled kernels may call, in the place of the library that torch ships on macOS (libomp.dylib)
// and Windows (libiomp5md.dll). The linker reads their names from it; it is not installed, and nothing here ever runs.
#if defined(_WIN32)
#define OHLOL_NAME(name) extern "C" __declspec(dllexport) void name() {}
#else
#define OHLOL_NAME(name) extern "C" void name() {}
#endif

// parallel regions
OHLOL_NAME(__kmpc_fork_call)
OHLOL_NAME(__kmpc_global_thread_num)
OHLOL_NAME(__kmpc_push_num_threads)
OHLOL_NAME(__kmpc_serialized_parallel)
OHLOL_NAME(__kmpc_end_serialized_parallel)
OHLOL_NAME(omp_get_num_threads)
OHLOL_NAME(omp_get_thread_num)
// barrier, master, reduction
OHLOL_NAME(__kmpc_barrier)
OHLOL_NAME(__kmpc_master)
OHLOL_NAME(__kmpc_end_master)
OHLOL_NAME(__kmpc_reduce)
OHLOL_NAME(__kmpc_end_reduce)
OHLOL_NAME(__kmpc_reduce_nowait)
OHLOL_NAME(__kmpc_end_reduce_nowait)
