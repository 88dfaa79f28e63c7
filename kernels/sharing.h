// How the C++ sources share work among threads and what they export. Every piece of
// work is computed by one thread in one order, so that results do not depend on the
// number of threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#ifdef MEDURWKV_X86
#include <xmmintrin.h>
#endif

#if defined(_WIN32)
#define MEDURWKV_EXPORT extern "C" __declspec(dllexport)
#else
#define MEDURWKV_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace medurwkv {
namespace {

enum Status : int { kDone = 0, kOutOfMemory = 1 };

// Numbers too small for the normal format count as zero meanwhile: they cost a
// hundred times as much, and here they are always beside much larger ones.
class FlushSmallNumbers {
 public:
#ifdef MEDURWKV_X86
  FlushSmallNumbers() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }
  ~FlushSmallNumbers() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#endif
};

// Memory on a cache line's boundary that one thread works in.
class Workspace {
 public:
  explicit Workspace(std::size_t bytes) : memory_(std::malloc(bytes + 64)) {}
  ~Workspace() { std::free(memory_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  bool ready() const { return memory_ != nullptr; }
  template <typename T>
  T* as() const {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_);
    return reinterpret_cast<T*>((address + 63) / 64 * 64);
  }

 private:
  void* memory_;
};

// Runs `work(task, workspace)` for all tasks.
template <typename Work>
int share(std::ptrdiff_t tasks, int threads, std::size_t bytes, const Work& work) {
  std::atomic<std::ptrdiff_t> next{0};
  std::atomic<int> status{kDone};
  const auto run = [&] {
    const FlushSmallNumbers flush;
    (void)flush;
    const Workspace space(bytes);
    if (!space.ready()) {
      status = kOutOfMemory;
      return;
    }
    for (std::ptrdiff_t task; (task = next.fetch_add(1)) < tasks;) work(task, space);
  };
  if (threads > tasks) threads = static_cast<int>(tasks);
#ifdef _OPENMP
  if (threads > 1) {
#pragma omp parallel num_threads(threads)
    run();
    return status;
  }
#endif
  run();
  return status;
}

}  // namespace
}  // namespace medurwkv
