// Bi-WKV backward: all four gradients, from k, v and the gradient g of y.
//
// With D the denominator, p = g / D and q = p y, the same symmetric filter bi() gives
//   gv = e (bi(p) + e^u p)          gk = v gv - e (bi(q) + e^u q)
//   gu = sum e^u e (v p - q)
// and w's gradient counts, for every token s, the pairs on both sides of it:
//   gw = -lam sum_s F_s(e v) G_s(p) - F_s(e) G_s(q) + G_s(e v) F_s(p) - G_s(e) F_s(q)
// with F, G the sums of what lies before and behind s. y is recomputed, so that half
// precision's rounding of it does not matter and it need not be read.

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) CLUSTERED
    bi_wkv_backward(const Arguments a) {
  __shared__ Shared s;
  const Place p(a);
  Channel c;
  Run run;
  cluster_arrive();
  load_run(a, p, run.e, run.x);
  float gp[RUN][VECTOR], gq[RUN][VECTOR];  // g, then p; q
#pragma unroll
  for (int i = 0; i < RUN; ++i) {
    if (i < p.count) {
      load(a.grad + p.offset + (size_t)i * a.channels, gp[i]);
    } else {
#pragma unroll
      for (int q = 0; q < VECTOR; ++q) gp[i][q] = 0.0f;
    }
  }
  if (start(s, a, p, c)) {
    steep_backward(s, a, p);
    return;
  }
  sum_runs(s, a, p, c, run);
  exchange(s, a, p, false);
  const Edges edge = edges(s, a, p, c, run);
  // Sums before (f) and behind (b) every token, of values (0) and weights (1).
  float f0[RUN][VECTOR], f1[RUN][VECTOR], b0[RUN][VECTOR], b1[RUN][VECTOR];
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    const float decay = c.decay[q], bonus = c.bonus[q];
    float values = edge.future[q][0], weights = edge.future[q][1];
#pragma unroll
    for (int i = RUN - 1; i >= 0; --i) {
      b0[i][q] = values;
      b1[i][q] = weights;
      values = fmaf(values, decay, run.x[i][q]);
      weights = fmaf(weights, decay, run.e[i][q]);
    }
    values = edge.past[q][0];
    weights = edge.past[q][1];
    float past[2] = {}, future[2] = {};
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
      const float e = run.e[i][q], x = run.x[i][q];
      f0[i][q] = values;
      f1[i][q] = weights;
      const float inverse = reciprocal(fmaf(bonus, e, weights + b1[i][q]));
      const float y = fmaf(bonus, x, values + b0[i][q]) * inverse;
      gp[i][q] = i < p.count ? gp[i][q] * inverse : 0.0f;
      gq[i][q] = i < p.count ? gp[i][q] * y : 0.0f;
      values = fmaf(values, decay, x);
      weights = fmaf(weights, decay, e);
      past[0] = fmaf(past[0], decay, gp[i][q]);
      past[1] = fmaf(past[1], decay, gq[i][q]);
    }
#pragma unroll
    for (int i = RUN - 1; i >= 0; --i) {
      future[0] = fmaf(future[0], decay, gp[i][q]);
      future[1] = fmaf(future[1], decay, gq[i][q]);
    }
    const int column = p.lane * VECTOR + q;
    s.part[2 * PAST][p.run][column] = past[0];
    s.part[2 * PAST + 1][p.run][column] = past[1];
    s.part[2 * FUTURE][p.run][column] = future[0];
    s.part[2 * FUTURE + 1][p.run][column] = future[1];
  }
  if (!exchange(s, a, p, true)) return;
  float gw[VECTOR], gu[VECTOR];
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    const int column = p.lane * VECTOR + q;
    float past[2], future[2];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      past[n] = s.part[2 * PAST + n][p.run][column];
      future[n] = s.part[2 * FUTURE + n][p.run][column];
    }
    if (CLUSTER > 1 || MODE != 0) {
      // Halves, because a factor alone may be too large where its product is not.
      const float gone = (float)(p.run * RUN);
      const float ahead = (float)((p.runs - 1 - p.run) * RUN);
      const float before =
          exp2_fast(0.5f * (s.carry[PAST][2][column] + c.top[q] - c.w2[q] * gone));
      const float behind =
          exp2_fast(0.5f * (s.carry[FUTURE][2][column] + c.top[q] - c.w2[q] * ahead));
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        past[n] = fmaf(before, before * s.carry[PAST][n][column], past[n]);
        future[n] = fmaf(behind, behind * s.carry[FUTURE][n][column], future[n]);
      }
    }
    const float decay = c.decay[q], bonus = c.bonus[q];
    float pairs = 0.0f, own = 0.0f;
#pragma unroll
    for (int i = RUN - 1; i >= 0; --i) {
      const float p0 = gp[i][q], p1 = gq[i][q];
      pairs = fmaf(f0[i][q], future[0], fmaf(-f1[i][q], future[1], pairs));
      f0[i][q] = fmaf(bonus, p0, future[0]);
      f1[i][q] = fmaf(bonus, p1, future[1]);
      future[0] = fmaf(future[0], decay, p0);
      future[1] = fmaf(future[1], decay, p1);
    }
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
      const float e = run.e[i][q], x = run.x[i][q], p0 = gp[i][q], p1 = gq[i][q];
      pairs = fmaf(b0[i][q], past[0], fmaf(-b1[i][q], past[1], pairs));
      own = fmaf(x, p0, fmaf(-e, p1, own));
      f0[i][q] += past[0];
      f1[i][q] += past[1];
      b0[i][q] = e * f0[i][q];                        // gv
      b1[i][q] = fmaf(x, f0[i][q], -e * f1[i][q]);    // gk
      past[0] = fmaf(past[0], decay, p0);
      past[1] = fmaf(past[1], decay, p1);
    }
    gw[q] = -decay * pairs;
    gu[q] = bonus * own;
  }
#pragma unroll
  for (int i = 0; i < RUN; ++i) {
    if (i < p.count) {
      store(a.gv + p.offset + (size_t)i * a.channels, b0[i]);
      store(a.gk + p.offset + (size_t)i * a.channels, b1[i]);
    }
  }
  reduce_block(s, a, p, gw, gu);
}
