// Bi-WKV of sequences that no cluster holds: what the launches of bi_wkv_stream.cu and
// bi_wkv_stream_backward.cu share.
//
// A thread sums a run of tokens, all of which it holds in registers; a tile is the runs
// of a block. Sums travel through memory: one launch writes what lies before and behind
// each run within its tile, and each tile's totals; a small one turns the totals into
// what enters each tile; the last reads tokens again and needs no other thread.
//
// Six floats stand for a run or a tile and channel: past, then future.

#define ROWS (THREADS / LANES)
#define TILE (ROWS * RUN)

enum { PAST, FUTURE };

struct Arguments {
  const float *w, *u;
  const Element *k, *v, *grad;
  Element *y, *gk, *gv;
  float *runs, *tiles, *carries;                 // of weights and weighted values
  float *grad_runs, *grad_tiles, *grad_carries;  // of p and q
  float* partial;
  int tokens, channels;
};

struct Place {
  int lane, row, first, count, channel;
  size_t tile, offset;  // offset: of the thread's first token

  __device__ __forceinline__ Place(const Arguments& a, int number) {
    lane = threadIdx.x % LANES;
    row = threadIdx.x / LANES;
    first = number * TILE + row * RUN;
    channel = ((int)blockIdx.x * LANES + lane) * VECTOR;
    count = channel < a.channels ? max(0, min(RUN, a.tokens - first)) : 0;
    tile = (size_t)blockIdx.z * gridDim.y + number;
    offset = ((size_t)blockIdx.z * a.tokens + first) * a.channels + channel;
  }
};

struct Channel {  // per channel of a thread
  float w2[VECTOR], decay[VECTOR], bonus[VECTOR], top[VECTOR];
  float piece[VECTOR];  // decay over a piece

  // True if they are too steep for one scale per run.
  __device__ __forceinline__ bool start(const Arguments& a, const Place& p) {
    bool steep = false;
#pragma unroll
    for (int q = 0; q < VECTOR; ++q) {
      const bool real = p.channel < a.channels;
      const float w = real ? a.w[p.channel + q] : 0.0f;
      const float u = real ? a.u[p.channel + q] : 0.0f;
      w2[q] = w * LOG2E;
      decay[q] = power(w, 1);
      piece[q] = decay[q];
#pragma unroll
      for (int reach = 1; reach < PIECE; reach *= 2) piece[q] *= piece[q];
      bonus[q] = exp2_fast(u * LOG2E);
      steep |= fabsf(w) * (float)RUN > STEEPEST || fabsf(u) > BONUS_LIMIT;
#if BACKWARD
      // Where weights grow with distance, a token may count only far away, where
      // denominators are on quite another scale than around it.
      steep |= -w * (float)a.tokens > STEEPEST;
#endif
    }
    return steep;
  }
};

// A run's words; those behind the sequence's end are `blank`.
__device__ __forceinline__ void fetch(
    const Arguments& a, const Place& p, const Element* from, Word blank,
    Word (&to)[RUN]) {
  const char* at = reinterpret_cast<const char*>(from + p.offset);
  const u32 pitch = a.channels * sizeof(Element);
  if (p.count == RUN) {
#pragma unroll
    for (int i = 0; i < RUN; ++i)
      to[i] = *reinterpret_cast<const Word*>(at + (unsigned long long)pitch * i);
  } else {
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
      to[i] = blank;
      if (i < p.count)
        to[i] = *reinterpret_cast<const Word*>(at + (unsigned long long)pitch * i);
    }
  }
}

// Scale of the run: the power of 2 above its largest weight.
__device__ __forceinline__ void find_top(const Word (&keys)[RUN], Channel& c) {
  Word largest = keys[0];
#pragma unroll
  for (int i = 1; i < RUN; ++i) largest = larger(largest, keys[i]);
  unpack(largest, c.top);
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) c.top[q] = fmaxf(ceilf(c.top[q] * LOG2E), EMPTY);
}

// Weights and weighted values of a piece.
__device__ __forceinline__ void weigh(
    const Channel& c, const Word (&keys)[RUN], const Word (&values)[RUN], int piece,
    float (&e)[PIECE][VECTOR], float (&x)[PIECE][VECTOR]) {
#pragma unroll
  for (int i = 0; i < PIECE; ++i) {
    unpack(keys[piece * PIECE + i], e[i]);
    unpack(values[piece * PIECE + i], x[i]);
#pragma unroll
    for (int q = 0; q < VECTOR; ++q) {
      e[i][q] = exp2_fast(fmaf(e[i][q], LOG2E, -c.top[q]));
      x[i][q] *= e[i][q];
    }
  }
}

// A piece's sum as seen from its first token.
__device__ __forceinline__ void sum_back(
    const Channel& c, int q, const float (&x)[PIECE][VECTOR],
    const float (&e)[PIECE][VECTOR], float (&sum)[2]) {
  sum[0] = sum[1] = 0.0f;
#pragma unroll
  for (int i = PIECE - 1; i >= 0; --i) {
    sum[0] = fmaf(sum[0], c.decay[q], x[i][q]);
    sum[1] = fmaf(sum[1], c.decay[q], e[i][q]);
  }
}

// Turn the pieces' sums into what lies behind each piece; `behind` becomes the run's sum.
__device__ __forceinline__ void behind_pieces(
    const Channel& c, int q, float (&sums)[PIECES][VECTOR][2], float (&behind)[2]) {
#pragma unroll
  for (int piece = PIECES - 1; piece >= 0; --piece) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float own = sums[piece][q][n];
      sums[piece][q][n] = behind[n];
      behind[n] = fmaf(behind[n], c.piece[q], own);
    }
  }
}

// Six floats of a run or a tile.
__device__ __forceinline__ float* place_of(
    float* sums, size_t number, int kind, const Arguments& a, const Place& p) {
  return sums + (number * 6 + 3 * kind) * a.channels + p.channel;
}

__device__ __forceinline__ void keep(
    float* to, const Arguments& a, const Place& p, int q, Sum sum) {
  if (p.channel >= a.channels) return;
  to[q] = sum.values;
  to[q + a.channels] = sum.weights;
  to[q + 2 * (size_t)a.channels] = sum.scale;
}

__device__ __forceinline__ Sum take(
    const float* from, const Arguments& a, const Place& p, int q) {
  if (p.channel >= a.channels) return no_sum();
  return {from[q], from[q + a.channels], from[q + 2 * (size_t)a.channels]};
}

// What enters a run: from its tile's other runs and from the other tiles.
__device__ __forceinline__ Sum entering(
    float* runs, float* carries, int kind, const Arguments& a, const Place& p,
    const Channel& c, int q) {
  const int rows = kind == PAST ? p.row : ROWS - 1 - p.row;
  const Sum carry = take(place_of(carries, p.tile, kind, a, p), a, p, q);
  const Sum inside = take(place_of(runs, p.tile * ROWS + p.row, kind, a, p), a, p, q);
  return joined(aged(carry, Step(c.w2[q] * (float)(rows * RUN))), inside);
}

typedef Sum Parts[2][ROWS][COLUMNS];

// Hand out the runs' sums: what lies before and behind each within its tile, and the
// tile's. Has a barrier.
__device__ __forceinline__ void hand_out(
    Parts& parts, float* runs, float* tiles, const Arguments& a, const Place& p,
    const Channel& c, const Sum (&own)[2][VECTOR]) {
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    parts[PAST][p.row][p.lane * VECTOR + q] = own[PAST][q];
    parts[FUTURE][p.row][p.lane * VECTOR + q] = own[FUTURE][q];
  }
  __syncthreads();
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    const int column = p.lane * VECTOR + q;
    const Step step(c.w2[q] * (float)RUN);
    Sum past = no_sum(), future = no_sum();
    for (int row = 0; row < p.row; ++row)
      past = joined(aged(past, step), parts[PAST][row][column]);
    for (int row = ROWS - 1; row > p.row; --row)
      future = joined(aged(future, step), parts[FUTURE][row][column]);
    const size_t run = p.tile * ROWS + p.row;
    keep(place_of(runs, run, PAST, a, p), a, p, q, past);
    keep(place_of(runs, run, FUTURE, a, p), a, p, q, future);
    if (p.row == ROWS - 1)
      keep(place_of(tiles, p.tile, PAST, a, p), a, p, q,
           joined(aged(past, step), own[PAST][q]));
    if (p.row == 0)
      keep(place_of(tiles, p.tile, FUTURE, a, p), a, p, q,
           joined(aged(future, step), own[FUTURE][q]));
  }
}

// Steep channels, token by token from memory; `values` and `weights` of a token.
__device__ __forceinline__ Steep term(const Arguments& a, size_t at) {
  return {widen(a.v[at]), 1.0f, (double)widen(a.k[at]) * 1.4426950408889634};
}

__device__ __forceinline__ Steep widened(Sum a) {
  return {a.values, a.weights, (double)a.scale};
}

__device__ __noinline__ void steep_sums(
    const Arguments a, const Place p, Sum (&own)[2][VECTOR]) {
#pragma unroll 1
  for (int q = 0; q < VECTOR; ++q) {
    const double w2 =
        p.count > 0 ? (double)a.w[p.channel + q] * 1.4426950408889634 : 0.0;
    Steep past = nothing(), future = nothing();
#pragma unroll 1
    for (int i = 0; i < RUN; ++i) {
      past.scale -= w2;
      if (i < p.count)
        past = joined(past, term(a, p.offset + (size_t)i * a.channels + q));
    }
#pragma unroll 1
    for (int i = p.count - 1; i >= 0; --i)
      future =
          joined(aged(future, w2), term(a, p.offset + (size_t)i * a.channels + q));
    own[PAST][q] = rounded(past);
    own[FUTURE][q] = rounded(future);
  }
}

// First: the runs' sums, in their tiles, and the tiles'.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    bi_wkv_sums(const Arguments a) {
  __shared__ Parts parts;
  const Place p(a, blockIdx.y);
  Word keys[RUN], values[RUN];
  fetch(a, p, a.k, NO_KEY, keys);
  fetch(a, p, a.v, 0, values);
  Channel c;
  const bool steep = c.start(a, p);
  Sum own[2][VECTOR];
  if (steep) {
    steep_sums(a, p, own);
  } else {
    find_top(keys, c);
    float past[VECTOR][2] = {}, sums[PIECES][VECTOR][2];
#pragma unroll
    for (int piece = 0; piece < PIECES; ++piece) {
      float e[PIECE][VECTOR], x[PIECE][VECTOR];
      weigh(c, keys, values, piece, e, x);
#pragma unroll
      for (int q = 0; q < VECTOR; ++q) {
#pragma unroll
        for (int i = 0; i < PIECE; ++i) {
          past[q][0] = fmaf(past[q][0], c.decay[q], x[i][q]);
          past[q][1] = fmaf(past[q][1], c.decay[q], e[i][q]);
        }
        sum_back(c, q, x, e, sums[piece][q]);
      }
    }
#pragma unroll
    for (int q = 0; q < VECTOR; ++q) {
      float future[2] = {};
      behind_pieces(c, q, sums, future);
      own[PAST][q] = {past[q][0], past[q][1], c.top[q]};
      own[FUTURE][q] = {future[0], future[1], c.top[q]};
    }
  }
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    normalise(own[PAST][q]);
    normalise(own[FUTURE][q]);
  }
  hand_out(parts, a.runs, a.tiles, a, p, c, own);
}

// Second: what enters each tile from the others. Blocks along y: past, future. Threads of
// a column share its tiles; groups' sums meet in shared memory.
#define GROUPS 32

extern "C" __global__ void __launch_bounds__(32 * GROUPS)
    bi_wkv_join(const Arguments a) {
  __shared__ Sum parts[GROUPS][32];
  const int lane = threadIdx.x % 32, group = threadIdx.x / 32, kind = blockIdx.y;
  const int channel = (int)blockIdx.x * 32 + lane;
  const int tiles = (a.tokens + TILE - 1) / TILE, each = (tiles + GROUPS - 1) / GROUPS;
  const bool real = channel < a.channels;
  const float decay = real ? a.w[channel] * LOG2E * (float)TILE : 0.0f;
  const Step step(decay), leap(decay * (float)each);
  const int first = min(group * each, tiles), end = real ? min(first + each, tiles) : first;
  const size_t stride = a.channels;
  // Tiles in the order of summation, which for the future begins at the end.
  const size_t begin = (size_t)blockIdx.z * tiles + (kind == PAST ? 0 : tiles - 1);
  const size_t pitch = 6 * stride, base = (begin * 6 + 3 * kind) * stride + channel;
  const long long turn = kind == PAST ? (long long)pitch : -(long long)pitch;
  Sum sum = no_sum();
#pragma unroll 4
  for (int i = first; i < end; ++i) {
    const float* from = a.tiles + ((long long)base + i * turn);
    sum = joined(aged(sum, step), Sum{from[0], from[stride], from[2 * stride]});
  }
  parts[group][lane] = sum;
  __syncthreads();
  sum = no_sum();
#pragma unroll 4
  for (int i = 0; i < group; ++i)
    sum = joined(aged(sum, leap), parts[i][lane]);
#pragma unroll 4
  for (int i = first; i < end; ++i) {
    const float* from = a.tiles + ((long long)base + i * turn);
    float* to = a.carries + ((long long)base + i * turn);
    to[0] = sum.values;
    to[stride] = sum.weights;
    to[2 * stride] = sum.scale;
    sum = joined(aged(sum, step), Sum{from[0], from[stride], from[2 * stride]});
  }
}

// What lies before the run (past) and behind each of its pieces (sums), on a scale common
// to the run and what enters it, `top`.
__device__ __forceinline__ void find_edges(
    const Arguments& a, const Place& p, Channel& c, const Word (&keys)[RUN],
    const Word (&values)[RUN], float (&past)[VECTOR][2],
    float (&sums)[PIECES][VECTOR][2]) {
  float future[VECTOR][2];
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    const Sum before = entering(a.runs, a.carries, PAST, a, p, c, q);
    const Sum behind = entering(a.runs, a.carries, FUTURE, a, p, c, q);
    // Sums far above the run's own scale raise it.
    c.top[q] = fmaxf(c.top[q], fmaxf(before.scale, behind.scale) - HEADROOM);
    const float left = exp2_fast(before.scale - c.top[q]);
    const float right = exp2_fast(behind.scale - c.top[q]);
    past[q][0] = left * before.values;
    past[q][1] = left * before.weights;
    future[q][0] = right * behind.values;
    future[q][1] = right * behind.weights;
  }
#pragma unroll
  for (int piece = 0; piece < PIECES; ++piece) {
    float e[PIECE][VECTOR], x[PIECE][VECTOR];
    weigh(c, keys, values, piece, e, x);
#pragma unroll
    for (int q = 0; q < VECTOR; ++q) sum_back(c, q, x, e, sums[piece][q]);
  }
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) behind_pieces(c, q, sums, future[q]);
}
