// C interface of the native Bi-WKV: picks the instruction set, cuts the work into
// tiles of channels and shares them among threads. Every tile is computed by one
// thread in one order, so that results do not depend on the number of threads.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "bi_wkv_scan.h"
#include "bi_wkv_tiles.h"
#include "sharing.h"

namespace medurwkv {
namespace {

constexpr std::ptrdiff_t kWorthSharing = 16384;  // values; below, one thread is faster

template <typename Real>
struct Problem {
  std::ptrdiff_t batch, tokens, channels;
  std::ptrdiff_t segment;  // tokens of a segment; 0 for the definition
  const Real *w, *u, *k, *v;
  Real* y;
  const Real* grad;  // null in the forward pass
  Real *gk, *gv;
  double *gw, *gu;  // (batch, channels)
};

template <typename Real>
void set_sizes(Problem<Real>& x, std::int64_t batch, std::int64_t tokens,
               std::int64_t channels, std::int64_t segment) {
  x.batch = static_cast<std::ptrdiff_t>(batch);
  x.tokens = static_cast<std::ptrdiff_t>(tokens);
  x.channels = static_cast<std::ptrdiff_t>(channels);
  x.segment = static_cast<std::ptrdiff_t>(segment);
}

const TileKernels& kernels_for(int level) {
#ifdef MEDURWKV_X86
  if (level == 2) return kTilesAvx512;
  if (level == 1) return kTilesAvx2;
#endif
  (void)level;
  return kTilesBaseline;
}

template <typename Real>
void scan_channels(const Problem<Real>& x, std::ptrdiff_t b, std::ptrdiff_t from,
                   std::ptrdiff_t to, ScanState* states) {
  for (std::ptrdiff_t c = from; c < to; ++c) {
    const std::ptrdiff_t at = b * x.tokens * x.channels + c;
    const Channel<Real> channel{
        x.tokens, x.channels, static_cast<double>(x.w[c]), static_cast<double>(x.u[c]),
        x.k + at, x.v + at};
    if (x.grad != nullptr) {
      const std::ptrdiff_t place = b * x.channels + c;
      scan_backward(channel, x.grad + at, x.gk + at, x.gv + at, x.gw + place,
                    x.gu + place, states);
    } else if (x.segment > 0) {
      scan_segments(channel, x.segment, x.y + at, states);
    } else {
      scan_forward(channel, x.y + at, states);
    }
  }
}

// Whether these channels' decay and bonus are moderate enough for the tile kernels.
bool moderate(const float* w, const float* u, std::ptrdiff_t count,
              std::ptrdiff_t tokens, std::ptrdiff_t segment) {
  const std::ptrdiff_t length = segment > kChunk ? segment : kChunk;
  const auto reach = static_cast<double>(tokens < length ? tokens : length);
  for (std::ptrdiff_t c = 0; c < count; ++c) {
    if (!(std::fabs(u[c]) <= kSteepestBonus)) return false;
    if (!(std::fabs(w[c]) * reach <= kSteepestDecay)) return false;
  }
  return true;
}

void gather(const float* from, std::ptrdiff_t tokens, std::ptrdiff_t stride,
            std::ptrdiff_t count, std::ptrdiff_t lanes, float* to) {
  for (std::ptrdiff_t t = 0; t < tokens; ++t)
    std::memcpy(to + t * lanes, from + t * stride,
                static_cast<std::size_t>(count) * sizeof(float));
}

void scatter(const float* from, std::ptrdiff_t tokens, std::ptrdiff_t stride,
             std::ptrdiff_t count, std::ptrdiff_t lanes, float* to) {
  for (std::ptrdiff_t t = 0; t < tokens; ++t)
    std::memcpy(to + t * stride, from + t * lanes,
                static_cast<std::size_t>(count) * sizeof(float));
}

constexpr std::ptrdiff_t kMostLanes = 16;

// The last channels, too few to fill a tile: computed on a padded copy. Like
// full_tile, returns false where the keys are too extreme for a tile.
bool narrow_tile(const Problem<float>& x, const TileKernels& kernels, std::ptrdiff_t b,
                 std::ptrdiff_t from, float* space) {
  const std::ptrdiff_t lanes = kernels.lanes, count = x.channels - from;
  const std::ptrdiff_t at = b * x.tokens * x.channels + from, size = x.tokens * lanes;
  float w[kMostLanes] = {}, u[kMostLanes] = {};
  double gw[kMostLanes], gu[kMostLanes];
  for (std::ptrdiff_t c = 0; c < count; ++c) {
    w[c] = x.w[from + c];
    u[c] = x.u[from + c];
  }
  const bool back = x.grad != nullptr;
  const std::ptrdiff_t copies = back ? 6 : 3;
  std::memset(space, 0, static_cast<std::size_t>(copies * size) * sizeof(float));
  float *k = space, *v = k + size, *y = v + size, *grad = y + size;
  float *gk = grad + size, *gv = gk + size;
  gather(x.k + at, x.tokens, x.channels, count, lanes, k);
  gather(x.v + at, x.tokens, x.channels, count, lanes, v);
  if (back) {
    gather(x.grad + at, x.tokens, x.channels, count, lanes, grad);
    const Tile tile{0, x.tokens, lanes, w,  u,  k,  v, y, space + copies * size,
                    grad,        gk,    gv, gw, gu};
    if (!kernels.backward(tile)) return false;
    scatter(gk, x.tokens, x.channels, count, lanes, x.gk + at);
    scatter(gv, x.tokens, x.channels, count, lanes, x.gv + at);
    for (std::ptrdiff_t c = 0; c < count; ++c) {
      x.gw[b * x.channels + from + c] = gw[c];
      x.gu[b * x.channels + from + c] = gu[c];
    }
  } else {
    const Tile tile{
        x.segment, x.tokens, lanes,   w,       u,       k,       v, y, space + copies * size,
        nullptr,  nullptr, nullptr, nullptr, nullptr};
    if (!kernels.forward(tile)) return false;
    scatter(y, x.tokens, x.channels, count, lanes, x.y + at);
  }
  return true;
}

bool full_tile(const Problem<float>& x, const TileKernels& kernels, std::ptrdiff_t b,
               std::ptrdiff_t from, float* space) {
  const std::ptrdiff_t at = b * x.tokens * x.channels + from;
  const std::ptrdiff_t place = b * x.channels + from;
  Tile tile{x.segment, x.tokens, x.channels, x.w + from, x.u + from, x.k + at, x.v + at,
            x.y + at,  space,    nullptr,    nullptr,    nullptr,    nullptr,  nullptr};
  if (x.grad == nullptr) return kernels.forward(tile);
  tile.grad = x.grad + at;
  tile.gk = x.gk + at;
  tile.gv = x.gv + at;
  tile.gw = x.gw + place;
  tile.gu = x.gu + place;
  return kernels.backward(tile);
}

int solve(const Problem<float>& x, int level, int threads) {
  const TileKernels& kernels = kernels_for(level);
  const std::ptrdiff_t lanes = kernels.lanes;
  const bool back = x.grad != nullptr, narrow = x.channels % lanes != 0;
  if (x.batch * x.tokens * x.channels < kWorthSharing || threads < 1) threads = 1;
  const std::ptrdiff_t tiles = x.channels / lanes + (narrow ? 1 : 0);
  const std::size_t scratch =
      back ? kernels.backward_scratch(x.tokens) : kernels.forward_scratch(x.tokens);
  const std::size_t copies =
      narrow ? (back ? 6 : 3) * static_cast<std::size_t>(x.tokens * lanes) : 0;
  const std::size_t tile_bytes = sizeof(float) * (scratch + copies);
  const std::size_t scan_bytes = sizeof(ScanState) * static_cast<std::size_t>(x.tokens);
  return share(
      x.batch * tiles, threads, tile_bytes > scan_bytes ? tile_bytes : scan_bytes,
      [&](std::ptrdiff_t task, const Workspace& space) {
        const std::ptrdiff_t b = task / tiles, c = task % tiles * lanes;
        const std::ptrdiff_t left = x.channels - c, some = left < lanes ? left : lanes;
        auto* floats = space.as<float>();
        const bool done = moderate(x.w + c, x.u + c, some, x.tokens, x.segment) &&
                          (some < lanes ? narrow_tile(x, kernels, b, c, floats)
                                        : full_tile(x, kernels, b, c, floats));
        if (!done) scan_channels(x, b, c, c + some, space.as<ScanState>());
      });
}

int solve(const Problem<double>& x, int, int threads) {
  return share(x.batch * x.channels, threads,
               sizeof(ScanState) * static_cast<std::size_t>(x.tokens),
               [&](std::ptrdiff_t task, const Workspace& space) {
                 const std::ptrdiff_t c = task % x.channels;
                 scan_channels(x, task / x.channels, c, c + 1, space.as<ScanState>());
               });
}

}  // namespace
}  // namespace medurwkv

// Counted up whenever a function here changes; _native.py asks for its own number.
MEDURWKV_EXPORT int medurwkv_interface() { return 3; }

// The best instruction set of this processor: 0 baseline, 1 AVX2, 2 AVX-512.
MEDURWKV_EXPORT int medurwkv_best_level() {
#ifdef MEDURWKV_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("fma"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}

// Whether the library was built to use more than one thread.
MEDURWKV_EXPORT int medurwkv_has_threads() {
#ifdef _OPENMP
  return 1;
#else
  return 0;
#endif
}

// All arrays are contiguous: w, u (channels); k, v, y, grad, gk, gv (batch, tokens,
// channels); gw, gu (batch, channels), always in double. A segment of 0 tokens is the
// definition. Levels are those of
// medurwkv_best_level and must not exceed it. Returns 0, or 1 without memory.
#define MEDURWKV_DEFINE(REAL, SUFFIX)                                                \
  MEDURWKV_EXPORT int medurwkv_bi_wkv_forward_##SUFFIX(                              \
      int level, int threads, std::int64_t batch, std::int64_t tokens,               \
      std::int64_t channels, std::int64_t segment, const REAL* w, const REAL* u,     \
      const REAL* k, const REAL* v, REAL* y) {                                       \
    medurwkv::Problem<REAL> x{};                                                     \
    medurwkv::set_sizes(x, batch, tokens, channels, segment);                        \
    x.w = w, x.u = u, x.k = k, x.v = v, x.y = y;                                     \
    return medurwkv::solve(x, level, threads);                                       \
  }                                                                                  \
  MEDURWKV_EXPORT int medurwkv_bi_wkv_backward_##SUFFIX(                             \
      int level, int threads, std::int64_t batch, std::int64_t tokens,               \
      std::int64_t channels, const REAL* grad, const REAL* w, const REAL* u,         \
      const REAL* k, const REAL* v, const REAL* y, double* gw, double* gu, REAL* gk, \
      REAL* gv) {                                                                    \
    medurwkv::Problem<REAL> x{};                                                     \
    medurwkv::set_sizes(x, batch, tokens, channels, 0);                              \
    x.w = w, x.u = u, x.k = k, x.v = v, x.y = const_cast<REAL*>(y);                  \
    x.grad = grad, x.gk = gk, x.gv = gv, x.gw = gw, x.gu = gu;                       \
    return medurwkv::solve(x, level, threads);                                       \
  }

MEDURWKV_DEFINE(float, f32)
MEDURWKV_DEFINE(double, f64)
