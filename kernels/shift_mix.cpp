// C interface of the shifted mix: shares the rows of the token grids among threads.

#include "shift_mix.h"

#include <cstddef>
#include <cstdint>

#include "sharing.h"

namespace medurwkv {
namespace {

const ShiftMixKernels& kernels_for(int level) {
#ifdef MEDURWKV_X86
  if (level == 2) return kShiftMixAvx512;
  if (level == 1) return kShiftMixAvx2;
#endif
  (void)level;
  return kShiftMixBaseline;
}

constexpr std::ptrdiff_t kWorthSharing = 32768;  // values; below, one thread is faster
constexpr std::ptrdiff_t kPieces = 64;  // of the rows; fixed, so that sums are too

// sizes: batch, height, width, heads, channels of a head, four bounds, pixels.
Grid grid_of(const std::int64_t* sizes, int mixes, const float* x,
             const float* const* factors) {
  Grid grid{};
  const auto size = [&](int i) { return static_cast<std::ptrdiff_t>(sizes[i]); };
  grid.height = size(1);
  grid.width = size(2);
  grid.heads = size(3);
  grid.channels = size(4);
  for (int i = 0; i < 4; ++i) grid.bounds[i] = size(5 + i);
  grid.pixels = size(9);
  grid.mixes = mixes;
  grid.x = x;
  for (int i = 0; i < mixes; ++i) grid.factor[i] = factors[i];
  return grid;
}

// Runs `work(first row, last row, piece)` over pieces of all images' rows.
template <typename Work>
int share_rows(const Grid& grid, std::ptrdiff_t rows, int threads, const Work& work) {
  const std::ptrdiff_t pieces = rows < kPieces ? rows : kPieces;
  if (rows * grid.width * grid.heads * grid.channels < kWorthSharing) threads = 1;
  return share(pieces, threads, 0, [&](std::ptrdiff_t piece, const Workspace&) {
    work(rows * piece / pieces, rows * (piece + 1) / pieces, piece);
  });
}

}  // namespace
}  // namespace medurwkv

// How many rows of partial sums medurwkv_shift_mix_backward writes.
MEDURWKV_EXPORT std::int64_t medurwkv_shift_mix_pieces(std::int64_t rows) {
  return rows < medurwkv::kPieces ? rows : medurwkv::kPieces;
}

MEDURWKV_EXPORT int medurwkv_shift_mix_forward(int level, int threads,
                                               const std::int64_t* sizes, int mixes,
                                               const float* x,
                                               const float* const* factors,
                                               float* const* out) {
  const medurwkv::Grid grid = medurwkv::grid_of(sizes, mixes, x, factors);
  const auto& kernels = medurwkv::kernels_for(level);
  return medurwkv::share_rows(
      grid, static_cast<std::ptrdiff_t>(sizes[0] * sizes[1]), threads,
      [&](std::ptrdiff_t row, std::ptrdiff_t end, std::ptrdiff_t) {
        for (; row < end; ++row) kernels.forward(grid, row, out);
      });
}

// sums: (mixes, pieces, heads * channels) doubles, zero on entry.
MEDURWKV_EXPORT int medurwkv_shift_mix_backward(int level, int threads,
                                                const std::int64_t* sizes, int mixes,
                                                const float* x,
                                                const float* const* factors,
                                                const float* const* grads, float* gx,
                                                double* sums) {
  const medurwkv::Grid grid = medurwkv::grid_of(sizes, mixes, x, factors);
  const auto& kernels = medurwkv::kernels_for(level);
  const auto rows = static_cast<std::ptrdiff_t>(sizes[0] * sizes[1]);
  const std::ptrdiff_t pieces = rows < medurwkv::kPieces ? rows : medurwkv::kPieces;
  const std::ptrdiff_t token = grid.heads * grid.channels;
  return medurwkv::share_rows(
      grid, rows, threads,
      [&](std::ptrdiff_t row, std::ptrdiff_t end, std::ptrdiff_t piece) {
        double* own[medurwkv::kMostMixes];
        for (int i = 0; i < mixes; ++i) own[i] = sums + (i * pieces + piece) * token;
        for (; row < end; ++row) kernels.backward(grid, row, grads, gx, own);
      });
}
