// Token shift and mixing in one pass: out_g = shifted + factor_g (x - shifted).
//
// Each quarter of the channels (of each head) takes its neighbour's values: from the
// left, the right, above and below; zero outside the grid; further channels stay. Moving
// x once in and the mixtures once out is all that must be done, so a thread takes VEC
// neighbouring channels, all of one quarter, and goes through many tokens with them.
//   ELEMENT as elsewhere; MIXES number of mixtures; VEC channels per thread

struct Mixing {
  const Element* x;
  const Element* factors[6];
  const Element* grads[6];  // of the mixtures
  Element* out[6];          // the mixtures; or the gradient of x
  float* partial;           // (blocks, MIXES, channels)
  int batch, height, width, channels, head, pixels;
  int bounds[4];            // of the quarters, within a head
};

struct Vector {
  float at[VEC];
};

struct alignas(sizeof(Element) * VEC) Packed {
  Element at[VEC];
};

__device__ __forceinline__ Vector read(const Element* from) {
  const Packed packed = *reinterpret_cast<const Packed*>(from);
  Vector vector;
#pragma unroll
  for (int i = 0; i < VEC; ++i) vector.at[i] = widen(packed.at[i]);
  return vector;
}

__device__ __forceinline__ void write(Element* to, const Vector& vector) {
  Packed packed;
#pragma unroll
  for (int i = 0; i < VEC; ++i) packed.at[i] = narrow(vector.at[i]);
  *reinterpret_cast<Packed*>(to) = packed;
}

// Which way a channel looks: rows and columns to its source; none if it stays.
struct Direction {
  int rows, columns;
  bool stays;

  __device__ __forceinline__ Direction(const Mixing& m, int channel) {
    const int inside = channel % m.head;
    rows = columns = 0;
    stays = inside >= m.bounds[3];
    if (inside < m.bounds[0])
      columns = -m.pixels;
    else if (inside < m.bounds[1])
      columns = m.pixels;
    else if (inside < m.bounds[2])
      rows = -m.pixels;
    else if (!stays)
      rows = m.pixels;
  }

  // Offset in tokens from a token to its source (sign 1) or to the token whose source it
  // is (sign -1); `inside` tells whether there is one.
  __device__ __forceinline__ int offset(
      const Mixing& m, int row, int column, int sign, bool& inside) const {
    const int there = row + sign * rows, across = column + sign * columns;
    inside = there >= 0 && there < m.height && across >= 0 && across < m.width;
    return sign * (rows * m.width + columns);
  }
};

// Calls `visit(token, row, column)` for the tokens of this thread.
template <typename Visit>
__device__ __forceinline__ void each_token(const Mixing& m, Visit visit) {
  const int tokens = m.height * m.width;
  const long long all = (long long)m.batch * tokens;
  for (long long token = (long long)blockIdx.x * blockDim.y + threadIdx.y; token < all;
       token += (long long)gridDim.x * blockDim.y) {
    const int place = (int)(token % tokens);
    visit(token, place / m.width, place % m.width);
  }
}

extern "C" __global__ void __launch_bounds__(256) shift_mix(const Mixing m) {
  const int channel = (int)(blockIdx.y * blockDim.x + threadIdx.x) * VEC;
  if (channel >= m.channels) return;
  const Direction direction(m, channel);
  Vector factors[MIXES];
#pragma unroll
  for (int g = 0; g < MIXES; ++g) factors[g] = read(m.factors[g] + channel);
  each_token(m, [&](long long token, int row, int column) {
    const size_t at = (size_t)token * m.channels + channel;
    const Vector x = read(m.x + at);
    Vector shifted = x;
    if (!direction.stays) {
      bool inside;
      const int offset = direction.offset(m, row, column, 1, inside);
      if (inside)
        shifted = read(m.x + at + (long long)offset * m.channels);
      else
#pragma unroll
        for (int i = 0; i < VEC; ++i) shifted.at[i] = 0.0f;
    }
#pragma unroll
    for (int g = 0; g < MIXES; ++g) {
      Vector mixed;
#pragma unroll
      for (int i = 0; i < VEC; ++i)
        mixed.at[i] =
            fmaf(factors[g].at[i], x.at[i] - shifted.at[i], shifted.at[i]);
      write(m.out[g] + at, mixed);
    }
  });
}

extern "C" __global__ void __launch_bounds__(256) shift_mix_backward(const Mixing m) {
  const int channel = (int)(blockIdx.y * blockDim.x + threadIdx.x) * VEC;
  const bool real = channel < m.channels;
  Vector sums[MIXES] = {};
  if (real) {
    const Direction direction(m, channel);
    Vector factors[MIXES];
#pragma unroll
    for (int g = 0; g < MIXES; ++g) factors[g] = read(m.factors[g] + channel);
    each_token(m, [&](long long token, int row, int column) {
      const size_t at = (size_t)token * m.channels + channel;
      const Vector x = read(m.x + at);
      Vector moved = x, gx = {};  // moved: x - shifted
      bool taken = false, takes = false;
      const int source = direction.offset(m, row, column, 1, takes);
      const int target = direction.offset(m, row, column, -1, taken);
      if (direction.stays) {
        moved = {};
      } else if (takes) {
        const Vector shifted = read(m.x + at + (long long)source * m.channels);
#pragma unroll
        for (int i = 0; i < VEC; ++i) moved.at[i] -= shifted.at[i];
      }
#pragma unroll
      for (int g = 0; g < MIXES; ++g) {
        const Vector grad = read(m.grads[g] + at);
        Vector back = {};
        if (direction.stays)
          back = grad;
        else if (taken)
          back = read(m.grads[g] + at + (long long)target * m.channels);
#pragma unroll
        for (int i = 0; i < VEC; ++i) {
          sums[g].at[i] = fmaf(grad.at[i], moved.at[i], sums[g].at[i]);
          gx.at[i] += fmaf(factors[g].at[i], grad.at[i] - back.at[i], back.at[i]);
        }
      }
      write(m.out[0] + at, gx);
    });
  }
  // The block's sums for the factors: over the tokens side by side, in a fixed order.
  __shared__ float shared[256 * VEC];
#pragma unroll
  for (int g = 0; g < MIXES; ++g) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < VEC; ++i)
      shared[(threadIdx.y * VEC + i) * blockDim.x + threadIdx.x] = sums[g].at[i];
    __syncthreads();
    if (threadIdx.y == 0 && real) {
#pragma unroll
      for (int i = 0; i < VEC; ++i) {
        float sum = 0.0f;
        for (int y = 0; y < (int)blockDim.y; ++y)
          sum += shared[(y * VEC + i) * blockDim.x + threadIdx.x];
        m.partial[((size_t)blockIdx.x * MIXES + g) * m.channels + channel + i] = sum;
      }
    }
  }
}
