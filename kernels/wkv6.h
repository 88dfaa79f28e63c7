// What the instruction sets' versions of WKV6 look like from outside.
#pragma once

#include <cstddef>

namespace medurwkv {

// Columns of a head's state that one piece of work takes.
constexpr int kColumns = 32;

// One head of one sequence: token t of each array starts at t * stride.
struct Head {
  std::ptrdiff_t tokens;
  std::ptrdiff_t stride;
  int size;  // channels of the head
  const float* r;
  const float* k;
  const float* v;
  const float* d;  // decays, between 0 and 1
};

struct Wkv6Kernels {
  // y of 32 columns of the state, both directions, without the bonus.
  void (*forward)(const Head& head, int column, float* y, float* scratch);
  // Gradients by r, k and d of 32 rows of the state; the gradient by v is a forward
  // pass with r, k, v replaced by k, r, grad.
  void (*backward)(const Head& head, int row, const float* grad, float* gr, float* gk,
                   float* gd, float* scratch);
};

// Tokens between which the backward pass keeps whole states.
constexpr int kKept = 32;

extern const Wkv6Kernels kWkv6Baseline;
#ifdef MEDURWKV_X86
extern const Wkv6Kernels kWkv6Avx2;
extern const Wkv6Kernels kWkv6Avx512;
#endif

}  // namespace medurwkv
