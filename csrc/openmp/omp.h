/* The functions of OpenMP that the kernels call, where the compiler comes without this header (macOS and Windows). */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif
int omp_get_thread_num(void);
int omp_get_num_threads(void);
#ifdef __cplusplus
}
#endif
