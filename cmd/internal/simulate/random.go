package simulate

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"sort"
)

// A stream is one thread of chance. Every agent, session and injection has a
// stream of its own, seeded by what it is and not by when it came about, so a
// fleet with one more agent or threat leaves all others as they were.
type stream struct{ pcg rand.PCG }

// streamOf returns the stream of the thing that a and b name.
func streamOf(a, b uint64) stream {
	var s stream
	s.pcg.Seed(mix(a, b), mix(b, ^a))
	return s
}

// below returns a number from 0 to n-1; the bias of the multiplication is below
// 2^-40 for every n in use here.
func (s *stream) below(n int) int {
	hi, _ := bits.Mul64(s.pcg.Uint64(), uint64(n))
	return int(hi)
}

// between returns a number from lo to hi, both included.
func (s *stream) between(lo, hi int64) int64 {
	span, _ := bits.Mul64(s.pcg.Uint64(), uint64(hi-lo)+1)
	return lo + int64(span)
}

// percent is true p times out of a hundred.
func (s *stream) percent(p int) bool { return s.below(100) < p }

// mix hashes two words into one (the finaliser of splitmix64 over both).
func mix(a, b uint64) uint64 {
	x := a + 0x9e3779b97f4a7c15*(b|1) + b
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// nameKey hashes a name (FNV-1a), for streams and hashes that belong to it.
func nameKey(name string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return mix(h, 0)
}

const (
	quantiles = 1024
	maxPool   = 512 // largest pool that zipf may draw from
)

// shapes holds quantiles as integers. Integers, because the last bit of a
// floating-point logarithm depends on the processor and the output must not.
type shapes struct {
	exp  [quantiles + 1]int64 // exponential with mean 1, in 1/65536
	wide [quantiles]int64     // log-normal with median 1 and sigma 0.6, in 1/1024
	zipf [maxPool]int64       // running sum of 1/k
}

func newShapes() *shapes {
	s := new(shapes)
	for i := range s.exp {
		u := (float64(i) + 0.25) / (quantiles + 0.5)
		s.exp[i] = int64(math.Round(-math.Log1p(-u) * 65536))
	}
	for i := range s.wide {
		u := (float64(i) + 0.5) / quantiles
		s.wide[i] = int64(math.Round(math.Exp(0.6*math.Sqrt2*math.Erfinv(2*u-1)) * 1024))
	}
	sum := int64(0)
	for k := range s.zipf {
		sum += 1 << 20 / int64(k+1)
		s.zipf[k] = sum
	}
	return s
}

// wait returns an exponential waiting time with mean 1, in 1/65536.
func (s *shapes) wait(r *stream) int64 {
	u := r.pcg.Uint64()
	i, part := u>>54, int64(u>>38&0xffff)
	return s.exp[i] + (s.exp[i+1]-s.exp[i])*part>>16
}

// around returns a positive number whose median is v, log-normal with sigma 0.6.
func (s *shapes) around(r *stream, v int64) int64 {
	u := r.pcg.Uint64()
	i, part := u>>54, int64(u>>44&0x3ff)
	lo, hi := s.wide[i], s.wide[min(i+1, quantiles-1)]
	return max(v*(lo<<10+(hi-lo)*part)>>20, 1)
}

// rank returns a rank from 0 to n-1, the k-th with a weight of 1/(k+1).
func (s *shapes) rank(r *stream, n int) int {
	n = min(n, maxPool)
	u := r.between(0, s.zipf[n-1]-1)
	return sort.Search(n, func(k int) bool { return s.zipf[k] > u })
}

// gamma draws from a gamma distribution with the given shape and scale 1 (Marsaglia and Tsang).
func gamma(r *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gamma(r, shape+1) * math.Pow(1-r.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := r.NormFloat64()
		v := 1 + float64(c*x)
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-r.Float64()) < float64(0.5*x*x)+d-float64(d*v)+float64(d*math.Log(v)) {
			return d * v
		}
	}
}
