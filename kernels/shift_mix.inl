// The mix of each token with a neighbour, x * f + shifted(x) * (1 - f), in one pass:
// the tokens are read once and each result is written once. Without factors f, the
// neighbour alone.

#include "bi_wkv_lanes.h"
#include "shift_mix.h"

namespace medurwkv::MEDURWKV_ISA {
namespace {

// The parts of a token's channels and where each comes from.
struct Moves {
  std::ptrdiff_t from[5], to[5];
  std::ptrdiff_t source[5];  // offset of the token it comes from
  bool inside[5];            // whether that token exists
  std::ptrdiff_t target[5];  // offset of the token that takes from this one
  bool taken[5];
};

MEDURWKV_INLINE Moves moves_of(const Grid& grid, std::ptrdiff_t h, std::ptrdiff_t w) {
  const std::ptrdiff_t token = grid.heads * grid.channels, p = grid.pixels;
  const std::ptrdiff_t line = grid.width * token;
  // Pixels are negative where the shift is undone.
  const bool left = w >= p && w - p < grid.width;
  const bool right = w + p >= 0 && w + p < grid.width;
  const bool up = h >= p && h - p < grid.height;
  const bool down = h + p >= 0 && h + p < grid.height;
  Moves m = {{0, grid.bounds[0], grid.bounds[1], grid.bounds[2], grid.bounds[3]},
             {grid.bounds[0], grid.bounds[1], grid.bounds[2], grid.bounds[3],
              grid.channels},
             {-p * token, p * token, -p * line, p * line, 0},
             {left, right, up, down, true},
             {p * token, -p * token, p * line, -p * line, 0},
             {right, left, down, up, true}};
  return m;
}

void shift_mix_forward(const Grid& grid, std::ptrdiff_t row, float* const* out) {
  const std::ptrdiff_t token = grid.heads * grid.channels;
  for (std::ptrdiff_t w = 0; w < grid.width; ++w) {
    const Moves m = moves_of(grid, row % grid.height, w);
    const std::ptrdiff_t at = (row * grid.width + w) * token;
    for (std::ptrdiff_t head = 0; head < token; head += grid.channels) {
      for (int part = 0; part < 5; ++part) {
        const std::ptrdiff_t from = head + m.from[part], to = head + m.to[part];
        const float* x = grid.x + at;
        const float* other = x + m.source[part];
        for (int mix = 0; mix < grid.mixes; ++mix) {
          const float* factor = grid.factor[mix];
          float* y = out[mix] + at;
          std::ptrdiff_t c = from;
          if (factor == nullptr) {
            const auto bytes = static_cast<std::size_t>(to - from) * sizeof(float);
            if (m.inside[part])
              std::memcpy(y + from, other + from, bytes);
            else
              std::memset(y + from, 0, bytes);
          } else if (m.inside[part]) {
            for (; c + kLanes <= to; c += kLanes) {
              const Lanes o = load(other + c);
              store(y + c, o + load(factor + c) * (load(x + c) - o));
            }
            for (; c < to; ++c) y[c] = other[c] + factor[c] * (x[c] - other[c]);
          } else {
            for (; c + kLanes <= to; c += kLanes)
              store(y + c, load(factor + c) * load(x + c));
            for (; c < to; ++c) y[c] = factor[c] * x[c];
          }
        }
      }
    }
  }
}

void shift_mix_backward(const Grid& grid, std::ptrdiff_t row, const float* const* grad,
                        float* gx, double* const* by_factor) {
  const std::ptrdiff_t token = grid.heads * grid.channels;
  for (std::ptrdiff_t w = 0; w < grid.width; ++w) {
    const Moves m = moves_of(grid, row % grid.height, w);
    const std::ptrdiff_t at = (row * grid.width + w) * token;
    for (std::ptrdiff_t head = 0; head < token; head += grid.channels) {
      for (int part = 0; part < 5; ++part) {
        const std::ptrdiff_t from = head + m.from[part], to = head + m.to[part];
        const float* x = grid.x + at;
        const float* other = x + m.source[part];
        for (std::ptrdiff_t c = from; c < to; ++c) gx[at + c] = 0.0f;
        for (int mix = 0; mix < grid.mixes; ++mix) {
          const float* factor = grid.factor[mix];
          const float* g = grad[mix] + at;
          const float* away = g + m.target[part];
          double* sum = by_factor[mix];
          if (m.taken[part]) {
            for (std::ptrdiff_t c = from; c < to; ++c)
              gx[at + c] += factor[c] * g[c] + (1.0f - factor[c]) * away[c];
          } else {
            for (std::ptrdiff_t c = from; c < to; ++c) gx[at + c] += factor[c] * g[c];
          }
          if (m.inside[part]) {
            for (std::ptrdiff_t c = from; c < to; ++c)
              sum[c] += static_cast<double>(g[c] * (x[c] - other[c]));
          } else {
            for (std::ptrdiff_t c = from; c < to; ++c)
              sum[c] += static_cast<double>(g[c] * x[c]);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace medurwkv::MEDURWKV_ISA
