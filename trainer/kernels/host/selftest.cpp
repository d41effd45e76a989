/*
 * What cuda.h promises, each promise by a kernel that would tell if it were broken.
 *
 * c++ -std=c++17 -O2 -Wall -Wextra -ffp-contract=off selftest.cpp -o selftest && ./selftest
 */
#include "cuda.h"

#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <utility>

using emulate::launch;
using emulate::Order;

constexpr unsigned whole = 0xffffffffu;

static void expect(bool condition, const char* message) {
  if (!condition) {
    std::fprintf(stderr, "selftest: %s\n", message);
    std::exit(1);
  }
}

/* Every order, random by two seeds. */
struct Schedule {
  Order order;
  uint64_t seed;
};
static const Schedule schedules[] = {{Order::forward, 0}, {Order::reverse, 0}, {Order::random, 1}, {Order::random, 2}};

/* Index of the running thread in its launch. */
static unsigned self() { return blockIdx.x * blockDim.x + threadIdx.x; }

static void team_barrier() {
  team_arrive();
  team_wait();
}

static void whole_warp() { __syncwarp(); }

static void none() {}

/* Runs the kernel in a child, which must end with status 3 and say `text`. The alarm ends what hangs. */
template <typename F>
static void expect_failure(const char* text, int blocks, int threads, F kernel) {
  for (const Schedule& schedule : schedules) {
    char said[4096];
    size_t length = 0;
    int ends[2], status;

    expect(pipe(ends) == 0, "no pipe");
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      dup2(ends[1], STDERR_FILENO);
      close(ends[0]);
      launch(blocks, threads, 64 * sizeof(float), schedule.order, schedule.seed, kernel);
      std::_Exit(0);
    }
    close(ends[1]);
    for (ssize_t got; (got = read(ends[0], said + length, sizeof said - 1 - length)) > 0;) {
      length += static_cast<size_t>(got);
    }
    close(ends[0]);
    said[length] = '\0';
    expect(waitpid(child, &status, 0) == child, "no child");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 3 || !std::strstr(said, text)) {
      std::fprintf(stderr, "selftest: wanted status 3 and \"%s\", not status %x and:\n%s\n", text, status, said);
      std::exit(1);
    }
  }
}

/* Which threads run, in this order, first before and then after a barrier. */
static std::vector<unsigned> trace(Order order, uint64_t seed, void (*barrier)()) {
  std::vector<unsigned> ran;

  launch(4, 64, 0, order, seed, [&] {
    ran.push_back(self());
    barrier();
    ran.push_back(self());
  });
  return ran;
}

static void orders() {
  const std::vector<unsigned> forward = trace(Order::forward, 0, team_barrier);
  const std::vector<unsigned> reverse = trace(Order::reverse, 0, team_barrier);
  const std::vector<unsigned> random = trace(Order::random, 1, team_barrier);
  unsigned changes = 0;

  expect(forward.size() == 512 && random.size() == 512, "every thread runs once");
  for (unsigned i = 0; i < 512; i++) {
    expect(forward[i] == i % 256, "forward is by block and thread, after a barrier too");
    expect(reverse[i] == 255 - i % 256, "reverse is backward, after a barrier too");
  }
  expect(std::set<unsigned>(random.begin(), random.begin() + 256).size() == 256,
         "nobody passes the team's barrier before all are there");
  for (unsigned i = 1; i < 256; i++) {
    changes += random[i] / 32 != random[i - 1] / 32;
  }
  expect(changes > 128, "random order interleaves blocks and warps");
  expect(random == trace(Order::random, 1, team_barrier), "a seed gives one order");
  expect(random != trace(Order::random, 2, team_barrier), "another seed gives another order");

  /* Blocks are apart: forward, all of the first passes its barriers before the second starts. */
  const std::vector<unsigned> blocks = trace(Order::forward, 0, __syncthreads);
  expect(blocks[64] == 0 && blocks[127] == 63 && blocks[128] == 64, "a block's barrier waits for the block alone");
  const std::vector<unsigned> warps = trace(Order::forward, 0, whole_warp);
  expect(warps[32] == 0 && warps[63] == 31 && warps[64] == 32, "a warp's barrier waits for the warp alone");

  /* Of two warps of one block: in some order the second is in the middle of its operations when the first is, and not only in step. */
  bool ahead = false, within = false;
  for (uint64_t seed = 0; seed < 16; seed++) {
    unsigned done[2] = {0, 0};
    launch(1, 64, 0, Order::random, seed, [&] {
      for (int i = 0; i < 16; i++) {
        __syncwarp();
        if (threadIdx.x % 32 == 0) {
          const unsigned other = done[1 - threadIdx.x / 32];
          const unsigned own = ++done[threadIdx.x / 32];
          within = within || (own > 1 && own < 16 && other > 0 && other < 16);
          ahead = ahead || (own > other + 4 && other > 0);
        }
      }
    });
  }
  expect(within && ahead, "in random order warps overtake each other in the middle of their work");
}

enum class Reach { warp, block, team };

/*
 * Three rounds in which each thread takes its neighbour's number and adds one, with a barrier between reading and writing only where asked
 * for.
 */
template <Reach reach, void (*barrier)()>
static std::vector<float> neighbours(const Schedule& schedule) {
  std::vector<float> numbers(4 * 64);

  launch(4, 64, 64 * sizeof(float), schedule.order, schedule.seed, [&] {
    const unsigned thread = threadIdx.x;
    const unsigned other = reach == Reach::warp    ? thread / 32 * 32 + (thread + 1) % 32
                           : reach == Reach::block ? (thread + 1) % blockDim.x
                                                   : thread;
    float* const own = shared_memory();
    float* const from = reach == Reach::team ? team_shared(own, static_cast<int>((blockIdx.x + 1) % gridDim.x)) : own;

    own[thread] = static_cast<float>(self());
    team_barrier();
    for (int round = 0; round < 3; round++) {
      const float number = from[other];
      barrier();
      own[thread] = number + 1.0f;
      team_barrier();
    }
    numbers[self()] = own[thread];
  });
  return numbers;
}

template <Reach reach, void (*barrier)()>
static void race() {
  std::vector<std::vector<float>> with, without;

  for (const Schedule& schedule : schedules) {
    with.push_back(neighbours<reach, barrier>(schedule));
    without.push_back(neighbours<reach, none>(schedule));
  }
  for (unsigned i = 0; i < 256; i++) {
    const unsigned from = reach == Reach::warp    ? i / 32 * 32 + (i + 3) % 32
                          : reach == Reach::block ? i / 64 * 64 + (i + 3) % 64
                                                  : (i + 3 * 64) % 256;
    expect(with[0][i] == static_cast<float>(from) + 3.0f, "with barriers the numbers are right");
  }
  for (size_t a = 0; a < with.size(); a++) {
    for (size_t b = 0; b < a; b++) {
      expect(with[a] == with[b], "with barriers the order does not matter");
      expect(without[a] != without[b], "without a barrier every order gives other numbers");
    }
  }
}

static void warps(const Schedule& schedule) {
  const auto result = launch(2, 64, 0, schedule.order, schedule.seed, [] {
    const int lane = static_cast<int>(threadIdx.x % 32);
    float sum = static_cast<float>(self());
    double precise = 1.0 + 0x1p-50 * lane;

    /* One operation right after the other: nobody may see values of the next. */
    for (int mask = 16; mask > 0; mask /= 2) {
      sum += __shfl_xor_sync(whole, sum, mask);
    }
    expect(sum == static_cast<float>(32 * (self() / 32 * 32) + 496), "the butterfly sums 32 lanes in each of them");
    for (int source = 0; source < 32; source++) {
      expect(__shfl_sync(whole, -lane, source) == -source, "shuffles of int");
      expect(
          __shfl_sync(whole, 0xfffffff0u + static_cast<unsigned>(lane) % 16, source) % 16 == static_cast<unsigned>(source) % 16,
          "shuffles of unsigned");
    }
    expect(__shfl_sync(whole, precise, (lane + 5) % 32) == 1.0 + 0x1p-50 * ((lane + 5) % 32), "shuffles of double, lane by lane");

    const unsigned ballot = __ballot_sync(whole, lane % 3 == 0 ? 7 : 0);
    expect(ballot == 0x49249249u, "a ballot has one bit per lane");
    expect(__popc(ballot) == 11 && __ffs(static_cast<int>(ballot << 4)) == 5 && __ffs(0) == 0 && __clz(1) == 31 && __clz(0) == 32,
           "bits are counted from the right end");
    expect(__any_sync(whole, lane == 31) && !__any_sync(whole, 0), "any");
    expect(__all_sync(whole, 1) && !__all_sync(whole, lane != 31), "all");
    __syncwarp();
  });
  expect(result.warp_operations == 4 * (5 + 64 + 1 + 1 + 2 + 2 + 1), "operations of warps are counted once");
  expect(result.block_barriers == 0 && result.team_barriers == 0, "and are no barriers");
}

struct __align__(16) Range {
  unsigned half;
};

__device__ __forceinline__ void add_half(float* numbers, Range range) {
  if (threadIdx.x < range.half) {
    numbers[threadIdx.x] += numbers[threadIdx.x + range.half];
  }
}

/* The sum over all threads of a team, as a kernel is written: within the blocks by halves, then each block over all blocks. */
template <int threads>
__global__ void __launch_bounds__(threads, 1) sum_kernel(float* __restrict__ sums) {
  float* const shared = shared_memory();

  shared[threadIdx.x] = static_cast<float>(self());
  __syncthreads();
  for (unsigned half = threads / 2; half > 0; half /= 2) {
    add_half(shared, Range{half});
    __syncthreads();
  }
  team_barrier();
  if (threadIdx.x == 0) {
    float sum = 0.0f;
    for (unsigned rank = 0; rank < gridDim.x; rank++) {
      sum += *team_shared(shared, static_cast<int>(rank));
    }
    shared[threads] = sum;
  }
  /* Nobody leaves while its memory is read. */
  team_barrier();
  if (threadIdx.x == threads - 1) {
    sums[blockIdx.x] = shared[threads];
  }
}

static void reduction(const Schedule& schedule) {
  std::vector<float> sums(4, 0.0f);

  const auto result = launch(4, 256, 257 * sizeof(float), schedule.order, schedule.seed, [&] { sum_kernel<256>(sums.data()); });
  expect(sums == std::vector<float>(4, 1023.0f * 512.0f), "every block has the sum over the team");
  expect(result.block_barriers == 4 * 9 && result.team_barriers == 2, "barriers are counted once for all their threads");
}

/* Half a barrier does not wait, both halves do, and the next phase does not mix with the last. */
static void split(const Schedule& schedule) {
  std::vector<int> written(256, 0), own(256, 0);
  unsigned arrived = 0, alone = 0;

  launch(4, 64, 0, schedule.order, schedule.seed, [&] {
    for (int phase = 1; phase <= 3; phase++) {
      written[self()] = phase;
      arrived++;
      team_arrive();
      alone += arrived % 256 == 1;
      own[self()] += phase;
      team_wait();
      for (const int number : written) {
        expect(number == phase, "after team_wait all that was done before team_arrive is there");
      }
      team_barrier();
    }
  });
  expect(alone == 3, "team_arrive does not wait: in each phase somebody is through before a second arrives");
  expect(own == std::vector<int>(256, 6), "the work between the halves is done");
}

static void memory() {
  std::set<float*> pools;

  launch(3, 32, 100 * sizeof(float), Order::forward, 0, [&] {
    float* const shared = shared_memory();
    const float read = shared[threadIdx.x];

    pools.insert(shared);
    expect(reinterpret_cast<uintptr_t>(shared) % 128 == 0, "shared memory is aligned");
    expect(read != read, "shared memory is NaN before it is written");
    expect(team_shared(shared + 7, static_cast<int>(blockIdx.x)) == shared + 7, "a block's own memory is where it is");
    team_barrier();
    shared[threadIdx.x] = shared[99] = 0.0f;
    __syncthreads();
    if (threadIdx.x < 8) {
      reinterpret_cast<float4*>(shared)[threadIdx.x] = make_float4(1.0f, 2.0f, 3.0f, 4.0f);
    }
    __syncthreads();
    expect(shared[threadIdx.x] == static_cast<float>(threadIdx.x % 4 + 1), "vectors lie over their elements");
  });
  expect(pools.size() == 3, "every block has its own shared memory");
  expect(__float_as_uint(1.0f) == 0x3f800000u && __uint_as_float(0x3f800000u) == 1.0f, "bits of floats");
  expect(sizeof(int4) == 16 && alignof(int4) == 16 && sizeof(uint2) == 8 && alignof(uint2) == 8, "sizes of vectors");
}

/* As many threads as a large device has multiprocessors for. */
static void large() {
  unsigned threads = 0;

  launch(132, 256, 1024, Order::random, 1, [&] {
    threads++;
    team_barrier();
    expect(threads == 132 * 256, "the team's barrier waits for all of a large launch");
  });
}

/* Uses as much stack as a thread has, more than is left of it. */
__attribute__((noinline)) static void overflow() {
  volatile char bytes[emulate::stack_bytes];

  for (volatile char& byte : bytes) {
    byte = 1;
  }
}

static void failures() {
  expect_failure("written 0 bytes behind the end of the shared memory of block 1", 2, 32, [] {
    if (blockIdx.x == 1) {
      shared_memory()[threadIdx.x * 2 + 2] = 0.0f;
    }
  });
  expect_failure("written 4 bytes before the shared memory of block 0", 2, 32, [] {
    if (self() == 9) {
      shared_memory()[-1] = 0.0f;
    }
  });
  expect_failure("which had left the kernel", 2, 32, [] {
    float* const other = team_shared(shared_memory(), static_cast<int>(1 - blockIdx.x));
    __syncthreads();
    team_barrier();
    *other = 1.0f;
  });
  expect_failure("which has left the kernel", 2, 32, [] {
    team_barrier();
    team_shared(shared_memory(), static_cast<int>(1 - blockIdx.x));
  });
  expect_failure("outside the block's shared memory", 2, 32, [] {
    float* const other = team_shared(shared_memory(), static_cast<int>(1 - blockIdx.x));
    team_shared(other, 0);
  });
  expect_failure("team_shared of block 2 in a team of 2", 2, 32, [] { team_shared(shared_memory(), 2); });
  expect_failure("has overflowed", 1, 32, [] {
    __syncthreads();
    overflow();
    __syncthreads();
  });

  expect_failure("1 left the kernel, the first: block 0 thread 7\n  63 wait at __syncthreads, the first: block 0 thread 0", 1, 64,
                 [] {
                   if (threadIdx.x != 7) {
                     __syncthreads();
                   }
                 });
  expect_failure("63 wait at __syncthreads, the first: block 1 thread 0", 2, 64, [] {
    if (self() != 71) {
      __syncthreads();
    }
  });
  expect_failure(
      "32 of them arrived at the team's barrier:\n  32 wait at __syncthreads, the first: block 0 thread 0\n"
      "  32 wait at team_wait, the first: block 0 thread 32",
      1, 64, [] {
        if (threadIdx.x < 32) {
          __syncthreads();
        } else {
          team_barrier();
        }
      });
  expect_failure("31 wait at __shfl_xor_sync", 1, 64, [] {
    if (threadIdx.x != 40) {
      __shfl_xor_sync(whole, 1.0f, 1);
    } else {
      __syncthreads();
    }
  });
  expect_failure("while other lanes of the warp are at", 1, 32, [] {
    if (threadIdx.x % 2 == 0) {
      __syncwarp();
    } else {
      __ballot_sync(whole, 1);
    }
  });
  expect_failure("only whole warps", 1, 32, [] { __syncwarp(0xffffu); });
  expect_failure("__shfl_sync from lane 32", 1, 32, [] { __shfl_sync(whole, 1.0f, 32); });
  expect_failure("team_arrive twice", 2, 32, [] {
    team_arrive();
    team_arrive();
  });
  expect_failure("team_wait without team_arrive", 2, 32, [] { team_wait(); });
  expect_failure("between team_arrive and team_wait", 2, 32, [] { team_arrive(); });
  expect_failure("a launch within a launch", 1, 32, [] { launch(1, 32, 0, Order::forward, 0, none); });
  expect_failure("no launch of 1 blocks of 33 threads", 1, 33, none);
}

int main() {
  orders();
  race<Reach::warp, whole_warp>();
  race<Reach::block, __syncthreads>();
  race<Reach::team, team_barrier>();
  for (const Schedule& schedule : schedules) {
    warps(schedule);
    reduction(schedule);
    split(schedule);
  }
  memory();
  large();
  failures();
  std::puts("selftest: all as promised");
  return 0;
}
