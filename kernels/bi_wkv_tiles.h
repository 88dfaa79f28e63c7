// What the instruction sets' versions of the tile kernels look like from outside.
#pragma once

#include <cstddef>

namespace medurwkv {

// Tokens that share one scale.
constexpr int kChunk = 32;
// Largest decay over a chunk, |w|·tokens in nats, and largest |u|, that tiles take.
constexpr double kSteepestDecay = 24.0, kSteepestBonus = 16.0;

// One sequence of `lanes` neighbouring channels. Row t of k starts at k + t * stride.
struct Tile {
  // Tokens of a segment in the published kernels' variant; 0 for the definition.
  std::ptrdiff_t segment;
  std::ptrdiff_t tokens;
  std::ptrdiff_t stride;
  const float* w;
  const float* u;
  const float* k;
  const float* v;
  float* y;
  float* scratch;
  // Backward only.
  const float* grad;
  float* gk;
  float* gv;
  double* gw;
  double* gu;
};

struct TileKernels {
  int lanes;
  // Floats of scratch memory that one tile of so many tokens takes.
  std::size_t (*forward_scratch)(std::ptrdiff_t tokens);
  std::size_t (*backward_scratch)(std::ptrdiff_t tokens);
  // Return false, with the results unfinished, where the keys are too extreme.
  bool (*forward)(const Tile&);
  bool (*backward)(const Tile&);
};

extern const TileKernels kTilesBaseline;
#ifdef MEDURWKV_X86
extern const TileKernels kTilesAvx2;
extern const TileKernels kTilesAvx512;
#endif

}  // namespace medurwkv
