// C interface of the native WKV6: cuts heads into parts and shares them among threads.

#include <cstddef>
#include <cstdint>

#include "sharing.h"
#include "wkv6.h"

namespace medurwkv {
namespace {

const Wkv6Kernels& kernels_for(int level) {
#ifdef MEDURWKV_X86
  if (level == 2) return kWkv6Avx512;
  if (level == 1) return kWkv6Avx2;
#endif
  (void)level;
  return kWkv6Baseline;
}

struct Sequences {
  std::ptrdiff_t batch, tokens, heads;
  int size;

  std::ptrdiff_t parts() const { return size / kColumns; }
  std::ptrdiff_t tasks() const { return batch * heads * parts(); }
  std::ptrdiff_t stride() const { return heads * size; }
  // Where the head of a task starts, and which of its parts the task is.
  std::ptrdiff_t start(std::ptrdiff_t task) const {
    const std::ptrdiff_t head = task / parts();
    return head / heads * tokens * stride() + head % heads * size;
  }
  int part(std::ptrdiff_t task) const {
    return static_cast<int>(task % parts()) * kColumns;
  }
};

}  // namespace
}  // namespace medurwkv

using medurwkv::Head;

// Arrays are contiguous, (batch, tokens, heads * size) floats; size is a multiple of
// 32. Returns 0, or 1 without memory.
MEDURWKV_EXPORT int medurwkv_wkv6_forward(int level, int threads, std::int64_t batch,
                                          std::int64_t tokens, std::int64_t heads,
                                          int size, const float* r, const float* k,
                                          const float* v, const float* d, float* y) {
  const medurwkv::Sequences x{static_cast<std::ptrdiff_t>(batch),
                              static_cast<std::ptrdiff_t>(tokens),
                              static_cast<std::ptrdiff_t>(heads), size};
  const auto& kernels = medurwkv::kernels_for(level);
  const auto bytes = static_cast<std::size_t>(size) * medurwkv::kColumns * sizeof(float);
  return medurwkv::share(
      x.tasks(), threads, bytes,
      [&](std::ptrdiff_t task, const medurwkv::Workspace& space) {
        const std::ptrdiff_t at = x.start(task);
        const Head head{x.tokens, x.stride(), size, r + at, k + at, v + at, d + at};
        kernels.forward(head, x.part(task), y + at, space.as<float>());
      });
}

// The gradients by r, k and d; see Wkv6Kernels for the one by v.
MEDURWKV_EXPORT int medurwkv_wkv6_backward(int level, int threads, std::int64_t batch,
                                           std::int64_t tokens, std::int64_t heads,
                                           int size, const float* grad, const float* r,
                                           const float* k, const float* v,
                                           const float* d, float* gr, float* gk,
                                           float* gd) {
  const medurwkv::Sequences x{static_cast<std::ptrdiff_t>(batch),
                              static_cast<std::ptrdiff_t>(tokens),
                              static_cast<std::ptrdiff_t>(heads), size};
  const auto& kernels = medurwkv::kernels_for(level);
  const auto states = static_cast<std::size_t>(
      2 + medurwkv::kKept + (tokens + medurwkv::kKept - 1) / medurwkv::kKept);
  const auto bytes =
      states * static_cast<std::size_t>(size) * medurwkv::kColumns * sizeof(float);
  return medurwkv::share(
      x.tasks(), threads, bytes,
      [&](std::ptrdiff_t task, const medurwkv::Workspace& space) {
        const std::ptrdiff_t at = x.start(task);
        const Head head{x.tokens, x.stride(), size, r + at, k + at, v + at, d + at};
        kernels.backward(head, x.part(task), grad + at, gr + at, gk + at, gd + at,
                         space.as<float>());
      });
}
