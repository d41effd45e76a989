// The kernels as a program: a device in a process, for tests without a GPU. It does what it is told on standard input, and answers
// on standard output. Numbers are little-endian, 64 bits wide.
//
//   A bytes                                   takes that much memory, zeroed
//   W place bytes, the bytes                  writes
//   R place bytes                             reads: answers the bytes
//   L is_cluster blocks shared_bytes order seed first count bytes, the run    launches: answers one byte, 0
#include <memory>

#include "../step.cuh"

static void take(void* to, size_t bytes) {
  if (fread(to, 1, bytes, stdin) != bytes) {
    fprintf(stderr, "emulate: standard input ended in the middle of a command\n");
    exit(2);
  }
}

static uint64_t number() {
  uint64_t value;
  take(&value, sizeof value);
  return value;
}

static void answer(const void* from, size_t bytes) {
  if (fwrite(from, 1, bytes, stdout) != bytes || fflush(stdout) != 0) exit(2);
}

int main() {
  std::unique_ptr<float4[]> memory;
  char* arena = nullptr;
  for (int command; (command = getchar()) != EOF;) {
    if (command == 'A') {
      memory = std::make_unique<float4[]>(number() / sizeof(float4) + 1);
      arena = reinterpret_cast<char*>(memory.get());
    } else if (command == 'W') {
      const uint64_t place = number(), bytes = number();
      take(arena + place, bytes);
    } else if (command == 'R') {
      const uint64_t place = number(), bytes = number();
      answer(arena + place, bytes);
    } else if (command == 'L') {
      const bool is_cluster = number();
      const int blocks = static_cast<int>(number());
      const uint64_t shared_bytes = number();
      const auto order = static_cast<emulate::Order>(number());
      const uint64_t seed = number();
      const int first = static_cast<int>(number()), count = static_cast<int>(number());
      Run run;
      if (number() != sizeof run) {
        fprintf(stderr, "emulate: a run of another size than %zu bytes\n", sizeof run);
        return 2;
      }
      take(&run, sizeof run);
      float* const floats = reinterpret_cast<float*>(arena);
      emulate::launch(blocks, THREADS, shared_bytes, order, seed, [&] {
        if (is_cluster) {
          Step<true>(run, floats).go(first, count);
        } else {
          Step<false>(run, floats).go(first, count);
        }
      });
      answer("", 1);
    } else {
      fprintf(stderr, "emulate: no command '%c'\n", command);
      return 2;
    }
  }
}
