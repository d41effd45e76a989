/*
 * CUDA on the host: what the kernels use of it, for a plain C++17 compiler, so that their
 * arithmetic and their synchronisation are tested without a GPU.
 *
 * `emulate::launch` runs one launch of a team of blocks. Each thread is a fiber with its own stack;
 * all fibers of all blocks are alive at once, and one thread of the system runs them. A fiber runs
 * until it waits at a barrier (or an operation of its warp) that is not complete; then the ready
 * fiber that is first in the order of the launch goes on. A kernel without a race gives the same
 * results to the last bit in every order; one that lacks a barrier does not.
 *
 * Every misuse that is noticed, a deadlock among them, is described on stderr and ends the program
 * with status 3.
 *
 * Compile with `-ffp-contract=off`: products and sums are fused where the kernel says `fmaf`, and
 * nowhere else.
 */
#ifndef EMULATE_CUDA_H
#define EMULATE_CUDA_H

#include <math.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cmath>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <queue>
#include <string>
#include <vector>

/*
 * `__shared__` is not among them: a static variable would be one for all blocks. Kernels take from
 * `shared_memory()`.
 */
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

/*
 * Vectors may lie over arrays of their elements, or of others, as kernels load them; hence
 * `may_alias`.
 */
#define EMULATE_VECTORS(element, name)                                                       \
  struct __attribute__((aligned(2 * sizeof(element)), may_alias)) name##2 { element x, y; }; \
  struct __attribute__((aligned(16), may_alias)) name##4 { element x, y, z, w; };            \
  inline name##2 make_##name##2(element x, element y) { return {x, y}; }                     \
  inline name##4 make_##name##4(element x, element y, element z, element w) { return {x, y, z, w}; }
EMULATE_VECTORS(float, float)
EMULATE_VECTORS(int, int)
EMULATE_VECTORS(unsigned, uint)
#undef EMULATE_VECTORS

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

/* Of the running fiber. */
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulate {

/* Which of the ready fibers goes on: the first, the last, or the one that chance has put first. */
enum class Order { forward, reverse, random };

/*
 * What a launch did. The barriers and operations of a kernel without a race are as many in every
 * order.
 */
struct Result {
  uint64_t block_barriers = 0;
  uint64_t team_barriers = 0;
  uint64_t warp_operations = 0;
  uint64_t switches = 0;
};

constexpr unsigned warp_lanes = 32;
/*
 * The stacks lie next to each other; what the last few bytes add to 64 KiB spreads their tops over
 * the sets of a cache.
 */
constexpr size_t stack_bytes = 64 * 1024 + 320;
constexpr size_t canary_bytes = 64;
constexpr int canary = 0x5c;
/* Shared memory starts at a multiple of this, with a guard before it and one behind. */
constexpr size_t shared_alignment = 128;
constexpr size_t guard_bytes = 4096;
/*
 * Both are quiet NaNs: what is read before it is written, or outside the pool, spoils the results.
 */
constexpr uint32_t unwritten_word = 0x7fffffff;
constexpr uint32_t guard_word = 0x7ffff00d;

struct Fiber {
  ucontext_t context;
  unsigned char* stack; /* its lowest byte, where the canary sits */
  unsigned block, thread;
  uint32_t rank;               /* among the ready fibers the lowest goes on */
  const char* waits = nullptr; /* at what, for reports */
  bool left = false;           /* the kernel */
  bool arrived = false;        /* at the team's barrier, without having waited since */
  uint64_t arrived_phase = 0;
};

/* Fibers, by index, that wait for the rest of their group. */
using Waiting = std::vector<uint32_t>;

struct Warp {
  Waiting waiting;
  const char* operation = nullptr;
  /*
   * Used in turn: who is ahead writes the values of the next operation while others still read
   * those of the last.
   */
  uint64_t values[2][warp_lanes];
  unsigned turn = 0;
};

struct Block {
  Waiting waiting;
  unsigned char* shared = nullptr;
  unsigned left = 0;
};

struct Launch {
  unsigned blocks, threads;
  size_t shared_bytes;
  Order order;
  uint64_t random;
  const std::function<void()>& kernel;

  std::vector<Fiber> fibers = {};
  std::vector<Warp> warp = {};
  std::vector<Block> block = {};
  Waiting team_waiting = {};
  size_t team_arrived = 0;
  uint64_t team_phase = 0;

  /* Rank in the high half, index in the low. */
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<uint64_t>> ready = {};
  Fiber* current = nullptr;
  ucontext_t home = {};
  Result result = {};
};

inline Launch* running = nullptr;

[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...) {
  std::va_list arguments;

  va_start(arguments, format);
  std::fprintf(stderr, "emulate: ");
  if (running && running->current) {
    std::fprintf(stderr, "block %u thread %u: ", running->current->block, running->current->thread);
  }
  std::vfprintf(stderr, format, arguments);
  std::fprintf(stderr, "\n");
  va_end(arguments);
  std::fflush(nullptr);
  /* Not `exit`: destructors have no business on the stack of a fiber. */
  std::_Exit(3);
}

/* SplitMix64. */
inline uint64_t draw(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;

  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

inline uint32_t current_index() { return static_cast<uint32_t>(running->current - running->fibers.data()); }

inline void make_ready(uint32_t index) { running->ready.push(uint64_t{running->fibers[index].rank} << 32 | index); }

/*
 * Completes a barrier. In random order the ranks of its fibers are drawn anew one time in four: a
 * warp or a block thus runs ahead of the others for a while, in the middle of its work, and falls
 * back; ranks drawn every time would keep all at about the same place.
 */
inline void release(Waiting& waiting) {
  const bool anew = running->order == Order::random && draw(running->random) % 4 == 0;

  for (const uint32_t index : waiting) {
    if (anew) {
      running->fibers[index].rank = static_cast<uint32_t>(draw(running->random));
    }
    make_ready(index);
  }
  waiting.clear();
}

/* Takes the first of the ready fibers and makes it the running one. */
inline ucontext_t* next() {
  Fiber& fiber = running->fibers[static_cast<uint32_t>(running->ready.top())];

  running->ready.pop();
  running->current = &fiber;
  threadIdx.x = fiber.thread;
  blockIdx.x = fiber.block;
  return &fiber.context;
}

/*
 * Leaves the processor to the next ready fiber, or to `launch` where there is none, and comes back
 * when this one is next.
 */
inline void rest(const char* waits) {
  Launch& launch = *running;
  Fiber& self = *launch.current;

  for (size_t i = 0; i < canary_bytes; i++) {
    if (self.stack[i] != canary) {
      fail("the stack of %zu bytes has overflowed", stack_bytes);
    }
  }
  self.waits = waits;
  if (launch.ready.empty()) {
    launch.current = nullptr;
    swapcontext(&self.context, &launch.home);
    return;
  }
  ucontext_t* const other = next();
  if (other != &self.context) {
    launch.result.switches++;
    swapcontext(&self.context, other);
  }
}

/*
 * Waits for all `members` of a group. The last to come takes its place in the order like the
 * others.
 */
inline void meet(Waiting& waiting, size_t members, uint64_t& completed, const char* what) {
  waiting.push_back(current_index());
  if (waiting.size() == members) {
    completed++;
    release(waiting);
  }
  rest(what);
}

/* Gives each lane the values of all lanes of its warp, valid until the lane's next operation. */
inline const uint64_t* exchange(const char* operation, unsigned mask, uint64_t value) {
  const Fiber& self = *running->current;
  Warp& warp = running->warp[(self.block * running->threads + self.thread) / warp_lanes];
  uint64_t* values = warp.values[warp.turn];

  if (mask != 0xffffffffu) {
    fail("%s of some lanes (mask %08x): only whole warps are supported", operation, mask);
  }
  if (warp.waiting.empty()) {
    warp.operation = operation;
  } else if (std::strcmp(warp.operation, operation) != 0) {
    fail("%s, while other lanes of the warp are at %s", operation, warp.operation);
  }
  values[self.thread % warp_lanes] = value;
  if (warp.waiting.size() + 1 == warp_lanes) {
    warp.turn ^= 1;
  }
  meet(warp.waiting, warp_lanes, running->result.warp_operations, operation);
  return values;
}

template <typename T>
T shuffle(const char* operation, unsigned mask, T value, unsigned lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "one value of a lane");
  uint64_t word = 0;

  if (lane >= warp_lanes) {
    fail("%s from lane %u", operation, lane);
  }
  std::memcpy(&word, &value, sizeof value);
  word = exchange(operation, mask, word)[lane];
  std::memcpy(&value, &word, sizeof value);
  return value;
}

inline void fill(unsigned char* memory, size_t bytes, uint32_t word) {
  for (size_t at = 0; at < bytes; at += sizeof word) {
    std::memcpy(memory + at, &word, sizeof word);
  }
}

/*
 * Where the first word is that is no longer the one filled in, in bytes; `bytes` where there is
 * none.
 */
inline size_t first_change(const unsigned char* memory, size_t bytes, uint32_t word) {
  size_t at = 0;

  while (at < bytes && std::memcmp(memory + at, &word, sizeof word) == 0) {
    at += sizeof word;
  }
  return at;
}

/*
 * Fails if somebody has written where nobody may: around the pool of a block, or into it when the
 * block has left.
 */
inline void check_shared(const Launch& launch, unsigned b, size_t behind) {
  const unsigned char* const shared = launch.block[b].shared;
  const size_t before_change = first_change(shared - guard_bytes, guard_bytes, guard_word);
  const size_t change = first_change(shared, launch.shared_bytes, unwritten_word);
  const size_t behind_change = first_change(shared + launch.shared_bytes, behind, guard_word);

  if (before_change != guard_bytes) {
    fail("written %zu bytes before the shared memory of block %u", guard_bytes - before_change, b);
  }
  if (change != launch.shared_bytes) {
    fail("written at byte %zu of the shared memory of block %u, which had left the kernel", change, b);
  }
  if (behind_change != behind) {
    fail("written %zu bytes behind the end of the shared memory of block %u, %zu bytes large", behind_change, b,
         launch.shared_bytes);
  }
}

/* The life of a fiber. */
inline void run() noexcept {
  running->kernel();

  Fiber& self = *running->current;
  Block& block = running->block[self.block];
  if (self.arrived) {
    fail("left the kernel between team_arrive and team_wait");
  }
  self.left = true;
  block.left++;
  if (block.left == running->threads) {
    /* Shared memory dies with its block: who reads or writes it later has lacked a barrier. */
    fill(block.shared, running->shared_bytes, unwritten_word);
  }
  rest("the end");
}

inline void prepare(Fiber& fiber) {
  std::memset(fiber.stack, canary, canary_bytes);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = stack_bytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, run, 0);
}

[[noreturn]] inline void report_deadlock(const Launch& launch) {
  struct Group {
    size_t fibers = 0;
    const Fiber* first = nullptr;
  };
  std::map<std::string, Group> groups;
  std::string text;

  for (const Fiber& fiber : launch.fibers) {
    Group& group = groups[fiber.left ? "left the kernel" : std::string("wait at ") + fiber.waits];
    group.first = group.fibers++ == 0 ? &fiber : group.first;
  }
  for (const auto& [what, group] : groups) {
    text += "\n  " + std::to_string(group.fibers) + " " + what + ", the first: block " + std::to_string(group.first->block) +
            " thread " + std::to_string(group.first->thread);
  }
  fail("deadlock of %zu threads in %u blocks, %zu of them arrived at the team's barrier:%s", launch.fibers.size(), launch.blocks,
       launch.team_arrived, text.c_str());
}

/*
 * Runs `kernel` once by every thread of `blocks` blocks. Each block has `shared_bytes` of shared
 * memory, filled with NaN; `seed` matters in random order only, where the same seed gives the same
 * order.
 */
inline Result launch(int blocks, int threads, size_t shared_bytes, Order order, uint64_t seed,
                     const std::function<void()>& kernel) {
  if (running) {
    fail("a launch within a launch");
  }
  if (blocks < 1 || threads < 1 || threads > 1024 || threads % static_cast<int>(warp_lanes) != 0 || shared_bytes % 4 != 0) {
    fail("no launch of %d blocks of %d threads with %zu bytes: whole warps and words, 1024 threads at most", blocks, threads,
         shared_bytes);
  }

  Launch launch{static_cast<unsigned>(blocks), static_cast<unsigned>(threads), shared_bytes, order, seed, kernel};
  const size_t count = size_t{launch.blocks} * launch.threads;
  launch.fibers.resize(count);
  launch.warp.resize(count / warp_lanes);
  launch.block.resize(launch.blocks);
  running = &launch;
  blockDim.x = launch.threads;
  gridDim.x = launch.blocks;

  /*
   * Guard, pool, guard; the pool ends where it was planned to, not at the next multiple of the
   * alignment.
   */
  const size_t padded = (shared_bytes + shared_alignment - 1) / shared_alignment * shared_alignment;
  const size_t stride = guard_bytes + padded + guard_bytes;
  auto* const pools = static_cast<unsigned char*>(std::aligned_alloc(shared_alignment, stride * launch.blocks));
  /* One stack's room before the first, so that its overflow too is found by its canary. */
  const size_t stacks_bytes = stack_bytes * (count + 1);
  /*
   * Only the pages that fibers touch are ever there, so that 132 blocks of 256 threads fit; huge
   * pages would undo that.
   */
  void* const stacks = mmap(nullptr, stacks_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (!pools || stacks == MAP_FAILED) {
    fail("no memory for %zu threads", count);
  }
#ifdef MADV_NOHUGEPAGE
  madvise(stacks, stacks_bytes, MADV_NOHUGEPAGE);
#endif

  fill(pools, stride * launch.blocks, guard_word);
  for (unsigned b = 0; b < launch.blocks; b++) {
    launch.block[b].shared = pools + b * stride + guard_bytes;
    fill(launch.block[b].shared, shared_bytes, unwritten_word);
  }
  for (uint32_t i = 0; i < count; i++) {
    Fiber& fiber = launch.fibers[i];

    fiber.block = i / launch.threads;
    fiber.thread = i % launch.threads;
    fiber.rank = order == Order::forward   ? i
                 : order == Order::reverse ? static_cast<uint32_t>(count) - 1 - i
                                           : static_cast<uint32_t>(draw(launch.random));
    fiber.stack = static_cast<unsigned char*>(stacks) + (i + 1) * stack_bytes;
    prepare(fiber);
    make_ready(i);
  }

  swapcontext(&launch.home, next());

  for (const Fiber& fiber : launch.fibers) {
    if (!fiber.left) {
      report_deadlock(launch);
    }
  }
  for (unsigned b = 0; b < launch.blocks; b++) {
    check_shared(launch, b, guard_bytes + padded - shared_bytes);
  }

  munmap(stacks, stacks_bytes);
  std::free(pools);
  running = nullptr;
  return launch.result;
}

} /* namespace emulate */

/* The running block's shared memory. */
inline float* shared_memory() {
  return reinterpret_cast<float*>(emulate::running->block[emulate::running->current->block].shared);
}

/* The place in block `rank`'s shared memory that `own` is in the running block's. */
inline float* team_shared(float* own, int rank) {
  const emulate::Launch& launch = *emulate::running;
  const ptrdiff_t offset = reinterpret_cast<unsigned char*>(own) - reinterpret_cast<unsigned char*>(shared_memory());

  if (offset < 0 || static_cast<size_t>(offset) > launch.shared_bytes) {
    emulate::fail("team_shared of a pointer outside the block's shared memory");
  }
  if (rank < 0 || static_cast<unsigned>(rank) >= launch.blocks) {
    emulate::fail("team_shared of block %d in a team of %u", rank, launch.blocks);
  }
  if (launch.block[rank].left == launch.threads) {
    emulate::fail("team_shared of block %d, which has left the kernel", rank);
  }
  return reinterpret_cast<float*>(launch.block[rank].shared + offset);
}

/* The team's barrier in two halves, between which a thread may work on what is its own. */
inline void team_arrive() {
  emulate::Launch& launch = *emulate::running;

  if (launch.current->arrived) {
    emulate::fail("team_arrive twice without team_wait");
  }
  launch.current->arrived = true;
  launch.current->arrived_phase = launch.team_phase;
  launch.team_arrived++;
  if (launch.team_arrived == launch.fibers.size()) {
    launch.team_arrived = 0;
    launch.team_phase++;
    launch.result.team_barriers++;
    emulate::release(launch.team_waiting);
  }
}

inline void team_wait() {
  emulate::Launch& launch = *emulate::running;

  if (!launch.current->arrived) {
    emulate::fail("team_wait without team_arrive");
  }
  launch.current->arrived = false;
  if (launch.current->arrived_phase == launch.team_phase) {
    launch.team_waiting.push_back(emulate::current_index());
  } else {
    /* Takes its place in the order like those that had to wait. */
    emulate::make_ready(emulate::current_index());
  }
  emulate::rest("team_wait");
}

inline void __syncthreads() {
  emulate::Launch& launch = *emulate::running;

  emulate::meet(launch.block[launch.current->block].waiting, launch.threads, launch.result.block_barriers, "__syncthreads");
}

inline void __syncwarp(unsigned mask = 0xffffffffu) { emulate::exchange("__syncwarp", mask, 0); }

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane) {
  return emulate::shuffle("__shfl_sync", mask, value, static_cast<unsigned>(lane));
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask) {
  return emulate::shuffle("__shfl_xor_sync", mask, value, threadIdx.x % emulate::warp_lanes ^ static_cast<unsigned>(lane_mask));
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const uint64_t* const values = emulate::exchange("__ballot_sync", mask, predicate != 0);
  unsigned ballot = 0;

  for (unsigned lane = 0; lane < emulate::warp_lanes; lane++) {
    ballot |= static_cast<unsigned>(values[lane]) << lane;
  }
  return ballot;
}

inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }

inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == 0xffffffffu; }

inline int __popc(unsigned word) { return __builtin_popcount(word); }

inline int __ffs(int word) { return __builtin_ffs(word); }

inline int __clz(int word) { return word == 0 ? 32 : __builtin_clz(static_cast<unsigned>(word)); }

/* Roundings to nearest, which nvcc never fuses. */
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }

namespace emulate {

template <typename To, typename From>
To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;

  std::memcpy(&to, &from, sizeof to);
  return to;
}

} /* namespace emulate */

inline unsigned __float_as_uint(float value) { return emulate::bits<unsigned>(value); }
inline float __uint_as_float(unsigned word) { return emulate::bits<float>(word); }
inline int __float_as_int(float value) { return emulate::bits<int>(value); }
inline float __int_as_float(int word) { return emulate::bits<float>(word); }

/* Of integers alone: for floats `fminf` and `fmaxf` say what becomes of NaN. */
inline int min(int a, int b) { return b < a ? b : a; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }

/* Loads through the read-only cache. */
template <typename T>
T __ldg(const T* address) {
  return *address;
}

#endif
