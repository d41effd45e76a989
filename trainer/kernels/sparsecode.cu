// The kernels as the driver knows them. One launch does some batches of one run.
#include "step.cuh"

// The team is a cluster: the whole grid.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    sparsecode_cluster(float* arena, const __grid_constant__ Run run, int first, int count) {
#if __CUDA_ARCH__ >= 900
  Step<true>(run, arena).go(first, count);
#endif
}

// The team is a cooperative grid.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    sparsecode_grid(float* arena, const __grid_constant__ Run run, int first, int count) {
  Step<false>(run, arena).go(first, count);
}
