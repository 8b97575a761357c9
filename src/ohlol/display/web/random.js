// The random numbers of torch on a CPU: the generator of `torch.manual_seed` and the draws of `uniform_`, bit for bit.

const STATE_SIZE = 624;
const SHIFT_SIZE = 397;

// the Mersenne Twister MT19937 of Matsumoto and Nishimura (1998)
class Generator {
  constructor(seed) {
    this.state = new Uint32Array(STATE_SIZE);
    this.state[0] = seed;
    for (let i = 1; i < STATE_SIZE; i++) {
      const before = this.state[i - 1];
      this.state[i] = Math.imul(1812433253, before ^ (before >>> 30)) + i;
    }
    this.position = STATE_SIZE;
  }

  // the next 32 bits, as a whole number
  next() {
    if (this.position === STATE_SIZE) this.renew();
    let bits = this.state[this.position++];
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  }

  renew() {
    const { state } = this;
    for (let i = 0; i < STATE_SIZE; i++) {
      const bits = (state[i] & 0x80000000) | (state[(i + 1) % STATE_SIZE] & 0x7fffffff);
      state[i] = state[(i + SHIFT_SIZE) % STATE_SIZE] ^ (bits >>> 1) ^ (bits & 1 ? 0x9908b0df : 0);
    }
    this.position = 0;
  }

  // a number in [0, 1) with 24 random bits, as many as a float32 number has
  uniform() {
    return (this.next() & 0xffffff) / 2 ** 24;
  }

  // float32 numbers between two bounds, in float64, as `torch.nn.init.uniform_` draws them
  uniformBetween(low, high, count) {
    const first = Math.fround(low);
    const width = Math.fround(Math.fround(high) - first);
    return Float64Array.from({ length: count }, () => Math.fround(this.uniform() * width + first));
  }
}
