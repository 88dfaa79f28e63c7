// What the instruction sets' versions of the shifted mix look like from outside.
#pragma once

#include <cstddef>

namespace medurwkv {

constexpr int kMostMixes = 8;

// A grid of tokens, (batch, height, width, heads * channels) floats. Within each head
// the channels up to bounds[0] come from the left, up to bounds[1] from the right, up
// to bounds[2] from above, up to bounds[3] from below; the rest stays.
struct Grid {
  std::ptrdiff_t height, width, heads, channels;
  std::ptrdiff_t bounds[4];
  std::ptrdiff_t pixels;
  int mixes;
  const float* x;
  const float* factor[kMostMixes];
};

struct ShiftMixKernels {
  // Row `row` of all images' rows, counted through.
  void (*forward)(const Grid& grid, std::ptrdiff_t row, float* const* out);
  void (*backward)(const Grid& grid, std::ptrdiff_t row, const float* const* grad,
                   float* gx, double* const* by_factor);
};

extern const ShiftMixKernels kShiftMixBaseline;
#ifdef MEDURWKV_X86
extern const ShiftMixKernels kShiftMixAvx2;
extern const ShiftMixKernels kShiftMixAvx512;
#endif

}  // namespace medurwkv
