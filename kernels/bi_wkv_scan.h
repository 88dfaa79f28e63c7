// Bi-WKV of one channel in double precision and log space: token by token, slow,
// and right for every decay, bonus and key. Serves float64, and in float32 the
// channels whose decay per token or bonus is too steep for the tile kernels.
#pragma once

#include <cmath>
#include <cstddef>
#include <initializer_list>

namespace medurwkv {

// One channel of one sequence; rows are `stride` values apart.
template <typename Real>
struct Channel {
  std::ptrdiff_t tokens;
  std::ptrdiff_t stride;
  double w;
  double u;
  const Real* k;
  const Real* v;
};

constexpr double kNothing = -1e300;  // scale of an empty sum

// Sums of values and weights, and both summed over the steps, at e^scale.
struct ScanState {
  double values = 0, weights = 0, stepped_values = 0, stepped_weights = 0;
  double scale = kNothing;

  void add(double w, double key, double value, double weight) {
    const double faded = scale - w;
    const double top = faded > key ? faded : key;
    const double old = std::exp(faded - top), fresh = std::exp(key - top);
    stepped_values = old * (stepped_values + values);
    stepped_weights = old * (stepped_weights + weights);
    values = old * values + fresh * value;
    weights = old * weights + fresh * weight;
    scale = top;
  }
};

// What token t sees, with all factors at e^top.
struct ScanView {
  double past, future, own, top, numerator, denominator;
};

inline ScanView look(const ScanState& past, const ScanState& future, double own_key,
                     double value) {
  double top = own_key > past.scale ? own_key : past.scale;
  top = top > future.scale ? top : future.scale;
  const double a = std::exp(past.scale - top), b = std::exp(future.scale - top);
  const double c = std::exp(own_key - top);
  return {a,
          b,
          c,
          top,
          a * past.values + b * future.values + c * value,
          a * past.weights + b * future.weights + c};
}

// `states` has room for one state per token.
template <typename Real>
void scan_forward(const Channel<Real>& x, Real* y, ScanState* states) {
  ScanState state;
  for (std::ptrdiff_t t = 0; t < x.tokens; ++t) {
    states[t] = state;
    state.add(x.w, x.k[t * x.stride], x.v[t * x.stride], 1.0);
  }
  state = ScanState();
  for (std::ptrdiff_t t = x.tokens - 1; t >= 0; --t) {
    const double key = x.k[t * x.stride], value = x.v[t * x.stride];
    const ScanView seen = look(states[t], state, x.u + key, value);
    y[t * x.stride] = static_cast<Real>(seen.numerator / seen.denominator);
    state.add(x.w, key, value, 1.0);
  }
}

// The published kernels' variant, whose segments are `segment` tokens long.
template <typename Real>
void scan_segments(const Channel<Real>& x, std::ptrdiff_t segment, Real* y,
                   ScanState* states) {
  ScanState state;
  for (std::ptrdiff_t t = x.tokens - 1; t >= 0; --t) {
    states[t] = state;
    state.add(x.w, x.k[t * x.stride], x.v[t * x.stride], 1.0);
  }
  ScanState past, before, grown;
  const double step = std::exp(-x.w), loss = -std::expm1(-x.w), gain = -std::expm1(x.w);
  for (std::ptrdiff_t t = 0; t < x.tokens; ++t) {
    const double key = x.k[t * x.stride], value = x.v[t * x.stride];
    if (t % segment == 0) {
      before = past;
      grown = ScanState();
    } else {
      before.scale -= x.w;
      grown.add(-x.w, key, value, 1.0);
    }
    const ScanState& future = states[t];
    double top = x.u + key;
    for (const double scale : {past.scale, future.scale, before.scale, grown.scale})
      top = scale > top ? scale : top;
    const double a = std::exp(past.scale - top), b = step * std::exp(future.scale - top);
    const double c = std::exp(x.u + key - top), d = -loss * std::exp(before.scale - top);
    const double e = gain * std::exp(grown.scale - top);
    y[t * x.stride] = static_cast<Real>(
        (a * past.values + b * future.values + c * value + d * before.values +
         e * grown.values) /
        (a * past.weights + b * future.weights + c + d * before.weights +
         e * grown.weights));
    past.add(x.w, key, value, 1.0);
  }
}

template <typename Real>
void scan_backward(const Channel<Real>& x, const Real* grad, Real* gk, Real* gv,
                   double* gw, double* gu, ScanState* states) {
  ScanState state, after;
  for (std::ptrdiff_t t = 0; t < x.tokens; ++t) {
    states[t] = state;
    state.add(x.w, x.k[t * x.stride], x.v[t * x.stride], 1.0);
  }
  state = ScanState();
  double by_decay = 0, by_bonus = 0;
  for (std::ptrdiff_t t = x.tokens - 1; t >= 0; --t) {
    const double key = x.k[t * x.stride], value = x.v[t * x.stride];
    ScanState& past = states[t];
    const ScanView seen = look(past, state, x.u + key, value);
    const double p = grad[t * x.stride] / seen.denominator;
    const double q = p * (seen.numerator / seen.denominator);
    by_decay -=
        p * (seen.past * past.stepped_values + seen.future * state.stepped_values) -
        q * (seen.past * past.stepped_weights + seen.future * state.stepped_weights);
    by_bonus += seen.own * (value * p - q);
    // The state has been used: its place holds p, q, their scale, and what later
    // tokens and the token itself give to its value and its key.
    const double spread = std::exp(key + after.scale);
    const double to_value = spread * after.values + seen.own * p;
    const double to_key = spread * after.weights + seen.own * q;
    after.add(x.w, -seen.top, p, q);
    state.add(x.w, key, value, 1.0);
    past.values = p;
    past.weights = q;
    past.scale = seen.top;
    past.stepped_values = to_value;
    past.stepped_weights = to_key;
  }
  ScanState before;
  for (std::ptrdiff_t t = 0; t < x.tokens; ++t) {
    const double key = x.k[t * x.stride], value = x.v[t * x.stride];
    const ScanState& own = states[t];
    const double spread = std::exp(key + before.scale);
    const double to_value = own.stepped_values + spread * before.values;
    const double to_key = own.stepped_weights + spread * before.weights;
    gv[t * x.stride] = static_cast<Real>(to_value);
    gk[t * x.stride] = static_cast<Real>(value * to_value - to_key);
    before.add(x.w, -own.scale, own.values, own.weights);
  }
  *gw = by_decay;
  *gu = by_bonus;
}

}  // namespace medurwkv
