package simulate

import "time"

// beatShare is the share of heartbeats among an agent's events.
const beatShare = 0.05

// burst is how many sessions out of a hundred bring another one along at once.
const burst = 10

// zone returns how far east of Greenwich a tenant works.
func zone(tenant int) time.Duration {
	return [...]time.Duration{time.Hour, -5 * time.Hour, 8 * time.Hour}[tenant%3]
}

// next returns when the agent's next session after t begins.
func (r *run) next(a *agent, s *stream, t int64) int64 {
	if s.percent(burst) {
		return t + s.between(int64(3*time.Second), int64(3*time.Minute))
	}
	return r.arrive(a, s, t, a.perDay*(100-burst)/100)
}

// arrive returns the first arrival after t of a Poisson process of so many a day, thinned
// and thickened over the hours as the agent's role works. It is exact: an exponential
// amount of work is used up hour by hour.
func (r *run) arrive(a *agent, s *stream, t int64, perDay float64) int64 {
	const hour = int64(time.Hour)
	h := &a.kit.hours
	unit := perDay * 7 / float64(h.week())
	left := float64(r.fleet.shapes.wait(s)) / 65536
	shift := a.group.zone + int64(r.fleet.cfg.Clock)
	for {
		local := t + shift
		rest := hour - local%hour
		rate := float64(unit * float64(h.at(local)))
		work := float64(rate * float64(rest) / float64(hour))
		if work >= left {
			return t + int64(left/rate*float64(hour)) + 1
		}
		left -= work
		t += rest
	}
}

// at returns how busy the hour of the local time is.
func (h *hours) at(local int64) int64 {
	hours := local / int64(time.Hour)
	busy := h.hour[hours%24] * 100
	if d := (hours/24 + 4) % 7; d == 0 || d == 6 { // the epoch was a Thursday
		return busy * h.weekend / 100
	}
	return busy
}

// week returns the sum of at over a week.
func (h *hours) week() int64 {
	sum := int64(0)
	for _, v := range h.hour {
		sum += v
	}
	return sum*5*100 + sum*2*h.weekend
}

// interval returns how far apart the heartbeats of an agent are.
func (r *run) interval() int64 {
	return int64(float64(day) / (r.fleet.cfg.Rate * beatShare))
}
