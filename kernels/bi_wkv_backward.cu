// Bi-WKV backward: all four gradients, from k, v and the gradient g of y.
//
// With D the denominator, p = g / D and q = p y, the same symmetric filter bi() gives
//   gv = e (bi(p) + e^u p)          gk = v gv - e (bi(q) + e^u q)
//   gu = sum e^u e (v p - q)
// and w's gradient counts, for every token s, the pairs on both sides of it:
//   gw = -lam sum_s F_s(e v) G_s(p) - F_s(e) G_s(q) + G_s(e v) F_s(p) - G_s(e) F_s(q)
// with F, G the sums of what lies before and behind s. y is recomputed, so that half
// precision's rounding of it does not matter and it need not be read.

// p and q of the thread's tokens, in shared memory; one of them in the gradients' place.
struct Grads {
  Word* grads;
  float* extra;
  int words;

  static constexpr int saved = sizeof(Word) == 4 ? 1 : 0;

  __device__ __forceinline__ float& slot(int token, int n) const {
    float* base = n < saved ? reinterpret_cast<float*>(grads)
                            : extra + (n - saved) * words;
    return base[token * LANES];
  }
};

// p and q of a piece, and their sums.
__device__ __forceinline__ void differentiate(
    const Place& p, const Channel& c, const Grads& grads, int piece, int q,
    const float (&e)[PIECE][VECTOR], const float (&x)[PIECE][VECTOR],
    const float (&g)[PIECE][VECTOR], const float (&behind)[2], float (&past)[2],
    float (&grad_past)[2], float (&grad_piece)[2]) {
  const float decay = c.decay[q], bonus = c.bonus[q];
  float values = behind[0], weights = behind[1], above[PIECE], below[PIECE];
#pragma unroll
  for (int i = PIECE - 1; i >= 0; --i) {
    above[i] = fmaf(bonus, x[i][q], values);
    below[i] = fmaf(bonus, e[i][q], weights);
    values = fmaf(values, decay, x[i][q]);
    weights = fmaf(weights, decay, e[i][q]);
  }
#pragma unroll
  for (int i = 0; i < PIECE; ++i) {
    const int token = piece * PIECE + i;
    const float inverse = reciprocal(below[i] + past[1]);
    const float y = (above[i] + past[0]) * inverse;
    below[i] = token < p.count ? g[i][q] * inverse : 0.0f;
    above[i] = token < p.count ? below[i] * y : 0.0f;
    past[0] = fmaf(past[0], decay, x[i][q]);
    past[1] = fmaf(past[1], decay, e[i][q]);
    grad_past[0] = fmaf(grad_past[0], decay, below[i]);
    grad_past[1] = fmaf(grad_past[1], decay, above[i]);
    grads.slot(token, 2 * q) = below[i];
    grads.slot(token, 2 * q + 1) = above[i];
  }
  grad_piece[0] = grad_piece[1] = 0.0f;
#pragma unroll
  for (int i = PIECE - 1; i >= 0; --i) {
    grad_piece[0] = fmaf(grad_piece[0], decay, below[i]);
    grad_piece[1] = fmaf(grad_piece[1], decay, above[i]);
  }
}

// Gradients of a piece: of v in e's place, of k in x's place; sums for w and u.
__device__ __forceinline__ void collect(
    const Channel& c, const Grads& grads, int piece, int q, float (&e)[PIECE][VECTOR],
    float (&x)[PIECE][VECTOR], const float (&behind)[2], float (&past)[2],
    const float (&grad_behind)[2], float (&grad_past)[2], float& pairs, float& own) {
  const float decay = c.decay[q], bonus = c.bonus[q];
  float f[4] = {behind[0], behind[1], grad_behind[0], grad_behind[1]};
  float after[PIECE][4];  // what lies behind each token: values, weights, p, q
  float p0[PIECE], p1[PIECE];
#pragma unroll
  for (int i = PIECE - 1; i >= 0; --i) {
    p0[i] = grads.slot(piece * PIECE + i, 2 * q);
    p1[i] = grads.slot(piece * PIECE + i, 2 * q + 1);
#pragma unroll
    for (int n = 0; n < 4; ++n) after[i][n] = f[n];
    f[0] = fmaf(f[0], decay, x[i][q]);
    f[1] = fmaf(f[1], decay, e[i][q]);
    f[2] = fmaf(f[2], decay, p0[i]);
    f[3] = fmaf(f[3], decay, p1[i]);
  }
#pragma unroll
  for (int i = 0; i < PIECE; ++i) {
    const float weight = e[i][q], value = x[i][q];
    pairs = fmaf(past[0], after[i][2], fmaf(-past[1], after[i][3], pairs));
    pairs = fmaf(after[i][0], grad_past[0], fmaf(-after[i][1], grad_past[1], pairs));
    own = fmaf(value, p0[i], fmaf(-weight, p1[i], own));
    const float all0 = fmaf(bonus, p0[i], after[i][2] + grad_past[0]);
    const float all1 = fmaf(bonus, p1[i], after[i][3] + grad_past[1]);
    e[i][q] = weight * all0;
    x[i][q] = fmaf(value, all0, -weight * all1);
    past[0] = fmaf(past[0], decay, value);
    past[1] = fmaf(past[1], decay, weight);
    grad_past[0] = fmaf(grad_past[0], decay, p0[i]);
    grad_past[1] = fmaf(grad_past[1], decay, p1[i]);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) CLUSTERED
    bi_wkv_backward(const Arguments a) {
  __shared__ Shared s;
  const Place p(a);
  Channel c;
  Edges edge;
  cluster_arrive();
  const int words = Stage::words(p), word = Stage::word(p.run * RUN) + p.lane;
  Word* keys = reinterpret_cast<Word*>(staged);
  stage_tiles(a, p, {a.k, a.v, a.grad}, keys);
  const bool steep = start(s, a, p, c);
  copies_done();
  __syncthreads();
  if (steep) {
    steep_backward(s, a, p);
    return;
  }
  const Stage stage = {keys + word, keys + words + word};
  blank_tail(p, stage.keys);
  const Grads grads = {keys + 2 * words + word,
                       reinterpret_cast<float*>(keys + (3 * words + 1) / 2 * 2) + word,
                       words};
  sum_runs(s, a, p, stage, c, edge);
  exchange(s, a, p, false);
  finish_edges(s, a, p, c, edge);

  float past[VECTOR][2], grad_past[VECTOR][2], grad_piece[PIECES][VECTOR][2];
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    past[q][0] = edge.past[q][0];
    past[q][1] = edge.past[q][1];
    grad_past[q][0] = grad_past[q][1] = 0.0f;
  }
#pragma unroll
  for (int piece = 0; piece < PIECES; ++piece) {
    float e[PIECE][VECTOR], x[PIECE][VECTOR], g[PIECE][VECTOR];
    weigh(stage, c, piece, e, x);
#pragma unroll
    for (int i = 0; i < PIECE; ++i)
      unpack(grads.grads[(piece * PIECE + i) * LANES], g[i]);
#pragma unroll
    for (int q = 0; q < VECTOR; ++q)
      differentiate(p, c, grads, piece, q, e, x, g, edge.piece[piece][q], past[q],
                    grad_past[q], grad_piece[piece][q]);
  }
  float grad_future[VECTOR][2];
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    grad_future[q][0] = grad_future[q][1] = 0.0f;
#pragma unroll
    for (int piece = PIECES - 1; piece >= 0; --piece)
#pragma unroll
      for (int n = 0; n < 2; ++n)
        grad_future[q][n] = fmaf(grad_future[q][n], c.piece[q], grad_piece[piece][q][n]);
    sum_rows(s, p, q, c.step[q], grad_past[q], grad_future[q]);
  }
  exchange(s, a, p, true);

  float gw[VECTOR], gu[VECTOR];
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    const int column = p.lane * VECTOR + q;
    add_rows(s, p, c, q, grad_past[q], grad_future[q]);
    if (CLUSTER > 1) {
      // Halves, because a factor alone may be too large where its product is not.
      const float gone = (float)(p.run * RUN);
      const float ahead = (float)((p.runs - 1 - p.run) * RUN);
      const float before =
          exp2_fast(0.5f * (s.carry[PAST][2][column] + c.top[q] - c.w2[q] * gone));
      const float behind =
          exp2_fast(0.5f * (s.carry[FUTURE][2][column] + c.top[q] - c.w2[q] * ahead));
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        grad_past[q][n] =
            fmaf(before, before * s.carry[PAST][n][column], grad_past[q][n]);
        grad_future[q][n] =
            fmaf(behind, behind * s.carry[FUTURE][n][column], grad_future[q][n]);
      }
    }
    behind_pieces(grad_piece, grad_future[q], c.piece[q], q);
    gw[q] = gu[q] = 0.0f;
  }
  char* to_v = reinterpret_cast<char*>(a.gv + p.offset);
  char* to_k = reinterpret_cast<char*>(a.gk + p.offset);
  const u32 pitch = a.channels * sizeof(Element);
  const bool full = p.count == RUN;
#pragma unroll
  for (int piece = 0; piece < PIECES; ++piece) {
    float e[PIECE][VECTOR], x[PIECE][VECTOR];
    weigh(stage, c, piece, e, x);
#pragma unroll
    for (int q = 0; q < VECTOR; ++q)
      collect(c, grads, piece, q, e, x, edge.piece[piece][q], edge.past[q],
              grad_piece[piece][q], grad_past[q], gw[q], gu[q]);
    write_piece(to_v, pitch, piece * PIECE, p.count, full, e);
    write_piece(to_k, pitch, piece * PIECE, p.count, full, x);
  }
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    // Behind the sequence's end sums may have grown beyond all bounds.
    gw[q] = p.count > 0 ? gw[q] * -c.decay[q] : 0.0f;
    gu[q] = p.count > 0 ? gu[q] * c.bonus[q] : 0.0f;
  }
  reduce_block(s, a, p, gw, gu);
}
