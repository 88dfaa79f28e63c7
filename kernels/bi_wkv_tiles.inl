// Bi-WKV of one tile of channels, forward and backward; see docs/kernels.md.
//
// The sequence is cut into chunks of 32 tokens over which the decay stays within
// e^24. A chunk's weights e^k are kept relative to a power of two of their
// own, its scale. What comes in from the left and the right, the carries, are
// mantissas with a whole binary exponent each. If no carry exceeds a chunk's scale
// by more than kHeadroom bits, everything in the chunk is computed at that scale
// (the usual case); otherwise at the largest of the three.

#include "bi_wkv_carry.h"
#include "bi_wkv_lanes.h"
#include "bi_wkv_tiles.h"

namespace medurwkv::MEDURWKV_ISA {
namespace {

constexpr float kHeadroom = 16.0f;
constexpr std::ptrdiff_t kTerm = 2 * kLanes;  // weight and weighted value of a token
constexpr std::ptrdiff_t kCarry2 = 3 * kLanes;
constexpr std::ptrdiff_t kCarry4 = 5 * kLanes;

MEDURWKV_INLINE std::ptrdiff_t chunk_count(std::ptrdiff_t tokens) {
  return (tokens + kChunk - 1) / kChunk;
}

MEDURWKV_INLINE std::ptrdiff_t chunk_end(const Tile& tile, std::ptrdiff_t start) {
  const std::ptrdiff_t end = start + kChunk;
  return end < tile.tokens ? end : tile.tokens;
}

// One chunk from right to left: writes e^k and e^k v at the chunk's scale to `terms`,
// side by side (in the tensors, rows lie so far apart that a few lines of the cache
// would hold them all), and keeps its scale and the carry that comes in from its right. Returns false where all
// keys of the chunk are too large or too small to be split.
template <int N>
MEDURWKV_INLINE bool weigh_chunk(const Tile& tile, const Decay& decay, std::ptrdiff_t c,
                                 float* terms, float* scales, float* carries,
                                 Carry<N>& carry) {
  const std::ptrdiff_t stride = tile.stride;
  const std::ptrdiff_t start = c * kChunk, end = chunk_end(tile, start);
  Lanes largest = load(tile.k + start * stride);
  for (std::ptrdiff_t t = start + 1; t < end; ++t)
    largest = larger(largest, load(tile.k + t * stride));
  if (any_below(largest, splat(-kKeyLimit)) || any_below(splat(kKeyLimit), largest))
    return false;
  const Lanes scale = binary_exponent(largest);
  store(scales + c * kLanes, scale);
  carry.save(carries + c * (N + 1) * kLanes);
  Lanes sum[N];
  for (int i = 0; i < N; ++i) sum[i] = splat(0.0f);
  const std::ptrdiff_t ahead = start > 0 ? kChunk * stride : 0;
  for (std::ptrdiff_t t = end - 1; t >= start; --t) {
    fetch(tile.k + t * stride - ahead);
    fetch(tile.v + t * stride - ahead);
    const Lanes weight = exponential(load(tile.k + t * stride), scale);
    const Lanes value = weight * load(tile.v + t * stride);
    store(terms + t * kTerm, weight);
    store(terms + t * kTerm + kLanes, value);
    if constexpr (N == 4) {
      sum[2] = decay.step * sum[2] + sum[0];
      sum[3] = decay.step * sum[3] + sum[1];
    }
    sum[0] = decay.step * sum[0] + value;
    sum[1] = decay.step * sum[1] + weight;
  }
  carry.pass(sum, scale, decay);
  return true;
}

// What the published variant carries beside the past: the past at the segment's start,
// faded since, and the additional term that grows; all at 2^exponent.
struct Segment {
  Lanes before[2], grown[2];
  Lanes exponent;

  MEDURWKV_INLINE void clear() {
    for (int i = 0; i < 2; ++i) before[i] = grown[i] = splat(0.0f);
    exponent = splat(kNoTerms);
  }
};

// One chunk of the forward pass; `past` is taken at the chunk's left end and left
// at its right end.
template <bool Rescaled, bool Segmented>
MEDURWKV_INLINE void forward_chunk(const Tile& tile, const Decay& decay,
                                   const float* terms, std::ptrdiff_t start,
                                   std::ptrdiff_t end, Lanes scale, Lanes top,
                                   const Carry<2>& future, Carry<2>& past, float* after,
                                   Segment& segment) {
  const std::ptrdiff_t stride = tile.stride;
  const Lanes factor = power_of_two(scale - top);
  const Lanes future_factor = power_of_two(future.exponent - top);
  const Lanes past_factor = power_of_two(past.exponent - top);
  Lanes values = future.sum[0] * future_factor;
  Lanes weights = future.sum[1] * future_factor;
  for (std::ptrdiff_t t = end - 1; t >= start; --t) {
    Lanes weight = load(terms + t * kTerm), value = load(terms + t * kTerm + kLanes);
    if constexpr (Rescaled) {
      weight = weight * factor;
      value = value * factor;
    }
    float* row = after + (t - start) * 2 * kLanes;
    claim(tile.y + t * stride);
    store(row, values);
    store(row + kLanes, weights);
    values = decay.step * values + value;
    weights = decay.step * weights + weight;
  }
  Lanes run[2] = {past.sum[0] * past_factor, past.sum[1] * past_factor};
  Lanes local[2] = {splat(0.0f), splat(0.0f)};
  Lanes before[2], grown[2];
  std::ptrdiff_t inside = 0;  // tokens since the segment's start
  if constexpr (Segmented) {
    const Lanes old = power_of_two(segment.exponent - top);
    for (int i = 0; i < 2; ++i) {
      before[i] = segment.before[i] * old;
      grown[i] = segment.grown[i] * old;
    }
    inside = start % tile.segment;
  }
  for (std::ptrdiff_t t = start; t < end; ++t) {
    Lanes weight = load(terms + t * kTerm), value = load(terms + t * kTerm + kLanes);
    local[0] = decay.step * local[0] + value;
    local[1] = decay.step * local[1] + weight;
    if constexpr (Rescaled) {
      weight = weight * factor;
      value = value * factor;
    }
    const float* row = after + (t - start) * 2 * kLanes;
    if constexpr (Segmented) {
      if (inside == 0) {
        for (int i = 0; i < 2; ++i) {
          before[i] = run[i];
          grown[i] = splat(0.0f);
        }
      } else {
        grown[0] = decay.growth * grown[0] + decay.gain * value;
        grown[1] = decay.growth * grown[1] + decay.gain * weight;
      }
      const Lanes numerator = decay.bonus * value + (run[0] - decay.loss * before[0]) +
                              (decay.step * load(row) + grown[0]);
      const Lanes denominator = decay.bonus * weight + (run[1] - decay.loss * before[1]) +
                                (decay.step * load(row + kLanes) + grown[1]);
      store(tile.y + t * stride, divided(numerator, denominator));
      for (int i = 0; i < 2; ++i) before[i] = decay.step * before[i];
      if (++inside == tile.segment) inside = 0;
    } else {
      const Lanes numerator = decay.bonus * value + (run[0] + load(row));
      const Lanes denominator = decay.bonus * weight + (run[1] + load(row + kLanes));
      store(tile.y + t * stride, divided(numerator, denominator));
    }
    run[0] = decay.step * run[0] + value;
    run[1] = decay.step * run[1] + weight;
  }
  if constexpr (Segmented) {
    for (int i = 0; i < 2; ++i) {
      segment.before[i] = before[i];
      segment.grown[i] = grown[i];
    }
    segment.exponent = top;
  }
  past.pass(local, scale, decay);
}

std::size_t forward_scratch(std::ptrdiff_t tokens) {
  return static_cast<std::size_t>(chunk_count(tokens) * (kLanes + kCarry2) +
                                  2 * kChunk * kLanes + tokens * kTerm);
}

template <bool Segmented>
MEDURWKV_INLINE bool forward_tile(const Tile& tile) {
  const Decay decay = make_decay(tile.w, tile.u);
  const std::ptrdiff_t chunks = chunk_count(tile.tokens);
  float* scales = tile.scratch;
  float* carries = scales + chunks * kLanes;
  float* after = carries + chunks * kCarry2;
  float* terms = after + 2 * kChunk * kLanes;
  Carry<2> carry;
  carry.clear();
  for (std::ptrdiff_t c = chunks - 1; c >= 0; --c) {
    if (!weigh_chunk<2>(tile, decay, c, terms, scales, carries, carry)) return false;
  }
  Segment segment;
  segment.clear();
  carry.clear();
  for (std::ptrdiff_t c = 0; c < chunks; ++c) {
    const std::ptrdiff_t start = c * kChunk, end = chunk_end(tile, start);
    const Lanes scale = load(scales + c * kLanes);
    Carry<2> future;
    future.restore(carries + c * kCarry2);
    const Lanes highest = larger(carry.exponent, future.exponent);
    if (any_below(scale + splat(kHeadroom), highest))
      forward_chunk<true, Segmented>(tile, decay, terms, start, end, scale,
                                     larger(scale, highest), future, carry, after,
                                     segment);
    else
      forward_chunk<false, Segmented>(tile, decay, terms, start, end, scale, scale,
                                      future, carry, after, segment);
  }
  return true;
}

bool forward(const Tile& tile) {
  return tile.segment > 0 ? forward_tile<true>(tile) : forward_tile<false>(tile);
}

// One chunk of the backward pass from left to right. Writes p = grad / denominator and
// q = p y, at scale 2^-top, to `quotients`, and adds to the gradients of w and u.
template <bool Rescaled>
MEDURWKV_INLINE void divide_chunk(const Tile& tile, const Decay& decay,
                                  const float* terms, float* quotients,
                                  std::ptrdiff_t start, std::ptrdiff_t end, Lanes scale,
                                  Lanes top, const Carry<4>& future, Carry<4>& past,
                                  Carry<2>& grads, float* after) {
  const std::ptrdiff_t stride = tile.stride;
  const Lanes factor = power_of_two(scale - top);
  const Lanes future_factor = power_of_two(future.exponent - top);
  const Lanes past_factor = power_of_two(past.exponent - top);
  Lanes sum[4], run[4], local[4];
  for (int i = 0; i < 4; ++i) {
    sum[i] = future.sum[i] * future_factor;
    run[i] = past.sum[i] * past_factor;
    local[i] = splat(0.0f);
  }
  for (std::ptrdiff_t t = end - 1; t >= start; --t) {
    Lanes weight = load(terms + t * kTerm), value = load(terms + t * kTerm + kLanes);
    if constexpr (Rescaled) {
      weight = weight * factor;
      value = value * factor;
    }
    float* row = after + (t - start) * 4 * kLanes;
    for (int i = 0; i < 4; ++i) store(row + i * kLanes, sum[i]);
    sum[2] = decay.step * sum[2] + sum[0];
    sum[3] = decay.step * sum[3] + sum[1];
    sum[0] = decay.step * sum[0] + value;
    sum[1] = decay.step * sum[1] + weight;
  }
  Lanes p_sum = splat(0.0f), q_sum = splat(0.0f);
  Lanes by_decay = splat(0.0f), by_bonus = splat(0.0f);
  for (std::ptrdiff_t t = start; t < end; ++t) {
    Lanes weight = load(terms + t * kTerm), value = load(terms + t * kTerm + kLanes);
    local[2] = decay.step * local[2] + local[0];
    local[3] = decay.step * local[3] + local[1];
    local[0] = decay.step * local[0] + value;
    local[1] = decay.step * local[1] + weight;
    if constexpr (Rescaled) {
      weight = weight * factor;
      value = value * factor;
    }
    const float* row = after + (t - start) * 4 * kLanes;
    const Lanes numerator = decay.bonus * value + (run[0] + load(row));
    const Lanes denominator = decay.bonus * weight + (run[1] + load(row + kLanes));
    const Lanes inverse = divided(splat(1.0f), denominator);
    const Lanes p = load(tile.grad + t * stride) * inverse;
    const Lanes q = p * (numerator * inverse);
    store(quotients + t * kTerm, p);
    store(quotients + t * kTerm + kLanes, q);
    by_bonus = by_bonus + (value * p - weight * q);
    by_decay = by_decay + (p * (run[2] + load(row + 2 * kLanes)) -
                           q * (run[3] + load(row + 3 * kLanes)));
    p_sum = decay.step * p_sum + p;
    q_sum = decay.step * q_sum + q;
    run[2] = decay.step * run[2] + run[0];
    run[3] = decay.step * run[3] + run[1];
    run[0] = decay.step * run[0] + value;
    run[1] = decay.step * run[1] + weight;
  }
  past.pass(local, scale, decay);
  const Lanes grads_local[2] = {p_sum, q_sum};
  grads.pass(grads_local, splat(0.0f) - top, decay);
  float part[kLanes];
  store(part, by_decay * decay.step);
  for (int i = 0; i < kLanes; ++i) tile.gw[i] -= static_cast<double>(part[i]);
  store(part, by_bonus * decay.bonus);
  for (int i = 0; i < kLanes; ++i) tile.gu[i] += static_cast<double>(part[i]);
}

// One chunk of the backward pass from right to left: p is spread back to keys and
// values. All of p is at 2^-top; the result is formed at 2^level.
template <bool Rescaled>
MEDURWKV_INLINE void spread_chunk(const Tile& tile, const Decay& decay,
                                  const float* terms, const float* quotients,
                                  std::ptrdiff_t start, std::ptrdiff_t end, Lanes scale,
                                  Lanes top, Lanes level, const Carry<2>& past,
                                  Carry<2>& future, float* before) {
  const std::ptrdiff_t stride = tile.stride;
  const Lanes factor = power_of_two(splat(0.0f) - top - level);
  const Lanes past_factor = power_of_two(past.exponent - level);
  const Lanes future_factor = power_of_two(future.exponent - level);
  const Lanes headroom = splat(126.0f);
  const Lanes exponent = scale + level;
  const Lanes out_factor =
      power_of_two(where_below(headroom, exponent, headroom, exponent));
  Lanes p_sum = past.sum[0] * past_factor, q_sum = past.sum[1] * past_factor;
  for (std::ptrdiff_t t = start; t < end; ++t) {
    Lanes p = load(quotients + t * kTerm), q = load(quotients + t * kTerm + kLanes);
    if constexpr (Rescaled) {
      p = p * factor;
      q = q * factor;
    }
    float* row = before + (t - start) * 2 * kLanes;
    claim(tile.gv + t * stride);
    claim(tile.gk + t * stride);
    store(row, p_sum);
    store(row + kLanes, q_sum);
    p_sum = decay.step * p_sum + p;
    q_sum = decay.step * q_sum + q;
  }
  Lanes run[2] = {future.sum[0] * future_factor, future.sum[1] * future_factor};
  Lanes local[2] = {splat(0.0f), splat(0.0f)};
  for (std::ptrdiff_t t = end - 1; t >= start; --t) {
    Lanes p = load(quotients + t * kTerm), q = load(quotients + t * kTerm + kLanes);
    local[0] = decay.step * local[0] + p;
    local[1] = decay.step * local[1] + q;
    if constexpr (Rescaled) {
      p = p * factor;
      q = q * factor;
    }
    const float* row = before + (t - start) * 2 * kLanes;
    const Lanes by_value = out_factor * (decay.bonus * p + (run[0] + load(row)));
    const Lanes by_weight =
        out_factor * (decay.bonus * q + (run[1] + load(row + kLanes)));
    const Lanes weight = load(terms + t * kTerm), value = load(terms + t * kTerm + kLanes);
    store(tile.gv + t * stride, weight * by_value);
    store(tile.gk + t * stride, value * by_value - weight * by_weight);
    run[0] = decay.step * run[0] + p;
    run[1] = decay.step * run[1] + q;
  }
  future.pass(local, splat(0.0f) - top, decay);
}

std::size_t backward_scratch(std::ptrdiff_t tokens) {
  return static_cast<std::size_t>(
      chunk_count(tokens) * (2 * kLanes + kCarry4 + kCarry2) + 4 * kChunk * kLanes +
      tokens * 2 * kTerm);
}

bool backward(const Tile& tile) {
  const Decay decay = make_decay(tile.w, tile.u);
  const std::ptrdiff_t chunks = chunk_count(tile.tokens);
  float* scales = tile.scratch;
  float* tops = scales + chunks * kLanes;
  float* carries = tops + chunks * kLanes;
  float* grad_carries = carries + chunks * kCarry4;
  float* states = grad_carries + chunks * kCarry2;
  float* terms = states + 4 * kChunk * kLanes;
  float* quotients = terms + tile.tokens * kTerm;
  Carry<4> carry;
  carry.clear();
  for (std::ptrdiff_t c = chunks - 1; c >= 0; --c) {
    if (!weigh_chunk<4>(tile, decay, c, terms, scales, carries, carry)) return false;
  }

  for (int lane = 0; lane < kLanes; ++lane) tile.gw[lane] = tile.gu[lane] = 0.0;
  Carry<2> grads;
  carry.clear();
  grads.clear();
  for (std::ptrdiff_t c = 0; c < chunks; ++c) {
    const std::ptrdiff_t start = c * kChunk, end = chunk_end(tile, start);
    const Lanes scale = load(scales + c * kLanes);
    Carry<4> future;
    future.restore(carries + c * kCarry4);
    grads.save(grad_carries + c * kCarry2);
    const Lanes highest = larger(carry.exponent, future.exponent);
    if (any_below(scale + splat(kHeadroom), highest)) {
      const Lanes top = larger(scale, highest);
      store(tops + c * kLanes, top);
      divide_chunk<true>(tile, decay, terms, quotients, start, end, scale, top, future,
                         carry, grads, states);
    } else {
      store(tops + c * kLanes, scale);
      divide_chunk<false>(tile, decay, terms, quotients, start, end, scale, scale,
                          future, carry, grads, states);
    }
  }

  Carry<2> later;
  later.clear();
  for (std::ptrdiff_t c = chunks - 1; c >= 0; --c) {
    const std::ptrdiff_t start = c * kChunk, end = chunk_end(tile, start);
    const Lanes scale = load(scales + c * kLanes), top = load(tops + c * kLanes);
    Carry<2> before;
    before.restore(grad_carries + c * kCarry2);
    const Lanes own = splat(0.0f) - top;
    const Lanes highest = larger(before.exponent, later.exponent);
    if (any_below(own + splat(kHeadroom), highest))
      spread_chunk<true>(tile, decay, terms, quotients, start, end, scale, top,
                         larger(own, highest), before, later, states);
    else
      spread_chunk<false>(tile, decay, terms, quotients, start, end, scale, top, own,
                          before, later, states);
  }
  return true;
}

}  // namespace
}  // namespace medurwkv::MEDURWKV_ISA
