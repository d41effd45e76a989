// A team: the blocks that work on one run. They are one cluster, which meets at the cluster's
// barrier and reads each other's shared memory, or a cooperative grid, which meets at a counter in
// global memory.
#pragma once

#ifdef __CUDACC__
#define DEVICE __device__ __forceinline__
#define ONE_COPY __device__ __noinline__
__device__ __forceinline__ float* shared_memory() {
  extern __shared__ float4 pool[];
  return reinterpret_cast<float*>(pool);
}
#else
#include "host/cuda.h"
#define DEVICE inline
#define ONE_COPY inline
#endif

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

DEVICE int thread() { return static_cast<int>(threadIdx.x); }
DEVICE int lane() { return thread() % 32; }
DEVICE int warp() { return thread() / 32; }

template <bool CLUSTER>
struct Team {
  unsigned* counter;
  unsigned target;

  DEVICE explicit Team(unsigned* counter) : counter(counter), target(0) {}

  DEVICE int rank() const { return static_cast<int>(blockIdx.x); }
  DEVICE int size() const { return static_cast<int>(gridDim.x); }
  // Of all the team's threads.
  DEVICE int member() const { return rank() * THREADS + thread(); }
  DEVICE int members() const { return size() * THREADS; }

  // All threads of all blocks arrive, and then wait: what they wrote before arriving is seen after
  // waiting.
  DEVICE void arrive() {
#ifndef __CUDACC__
    ::team_arrive();
#else
    if (CLUSTER) {
#if __CUDA_ARCH__ >= 900
      asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#endif
    } else {
      target += static_cast<unsigned>(size());
      __syncthreads();
      if (thread() == 0) {
        __threadfence();
        atomicAdd(counter, 1u);
      }
    }
#endif
  }

  DEVICE void wait() {
#ifndef __CUDACC__
    ::team_wait();
#else
    if (CLUSTER) {
#if __CUDA_ARCH__ >= 900
      asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#endif
    } else {
      if (thread() == 0) {
        // Counts may wrap.
        while (static_cast<int>(*static_cast<volatile unsigned*>(counter) - target) < 0) {
        }
        __threadfence();
      }
      __syncthreads();
    }
#endif
  }

  DEVICE void sync() {
    arrive();
    wait();
  }

  // Another block's copy of what is at `own` in this block's shared memory; clusters only.
  DEVICE float* shared_of(float* own, int other) const {
#ifndef __CUDACC__
    return ::team_shared(own, other);
#elif __CUDA_ARCH__ >= 900
    float* there;
    asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(own), "r"(other));
    return there;
#else
    (void)other;
    return own;
#endif
  }
};

// The sum over the lanes of a warp, the same bits in each.
template <class T>
DEVICE T warp_sum(T value) {
  for (int mask = 16; mask > 0; mask /= 2) value += __shfl_xor_sync(ALL_LANES, value, mask);
  return value;
}

// Eight sums over the lanes of a warp with nine shuffles instead of forty: lane i has that of
// `values[i / 4]`.
DEVICE float warp_sums(float (&values)[8]) {
#pragma unroll
  for (int half = 4, mask = 16; half > 0; half /= 2, mask /= 2) {
    bool upper = lane() & mask;
#pragma unroll
    for (int i = 0; i < half; i++) {
      float kept = upper ? values[i + half] : values[i];
      float given = upper ? values[i] : values[i + half];
      values[i] = kept + __shfl_xor_sync(ALL_LANES, given, mask);
    }
  }
  float sum = values[0];
  sum += __shfl_xor_sync(ALL_LANES, sum, 2);
  return sum + __shfl_xor_sync(ALL_LANES, sum, 1);
}
