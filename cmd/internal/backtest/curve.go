package backtest

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
)

// Fold is one half of the evaluation. The curve is over successful attacks
// against benign sessions, each with the largest evidence in it for its score.
type Fold struct {
	Classes map[string]Class
	AUC     float64
	TPR     map[string]float64 // by the rate of false positives
}

// MarshalJSON puts the classes beside the curve.
func (f Fold) MarshalJSON() ([]byte, error) {
	all := map[string]any{"auc": f.AUC, "tpr_at_fpr": f.TPR}
	for name, c := range f.Classes {
		all[name] = c
	}
	return json.Marshal(all)
}

// rates of false positives at which the curve is read.
var rates = []float64{0.01, 0.05, 0.10}

// curves gathers the sessions of a fleet, or of a peer group, by fold.
type curves map[string]*sample

// sample is the sessions of one fold, by class.
type sample struct {
	classes map[string]Class
	scores  map[string][]float64
}

func (c curves) add(fold, class string, s *session) {
	to := c[fold]
	if to == nil {
		to = &sample{map[string]Class{}, map[string][]float64{}}
		c[fold] = to
	}
	to.classes[class] = to.classes[class].plus(s)
	to.scores[class] = append(to.scores[class], s.evidence)
}

func (c curves) folds() map[string]Fold {
	folds := map[string]Fold{}
	for name, s := range c {
		good, bad := s.scores[benign], s.scores[success]
		slices.Sort(good)
		f := Fold{Classes: s.classes, AUC: auc(good, bad), TPR: map[string]float64{}}
		for _, q := range rates {
			f.TPR[strconv.FormatFloat(q, 'f', 2, 64)] = tpr(good, bad, q)
		}
		folds[name] = f
	}
	return folds
}

// auc is the chance that a bad session scores above a good one, ties counting
// half; 0 where there are none of either. good is sorted.
func auc(good, bad []float64) float64 {
	if len(good) == 0 || len(bad) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range bad {
		below, _ := slices.BinarySearch(good, v)
		above, _ := slices.BinarySearchFunc(good, v, func(g, v float64) int {
			if g <= v {
				return -1
			}
			return 1
		})
		sum += float64(below) + float64(above-below)/2
	}
	return sum / float64(len(good)) / float64(len(bad))
}

// tpr is the share of bad sessions above the lowest score that at most a share q of the good ones exceed.
func tpr(good, bad []float64, q float64) float64 {
	if len(good) == 0 || len(bad) == 0 {
		return 0
	}
	bar := good[max(int(math.Ceil(float64(len(good))*(1-q)))-1, 0)]
	n := 0
	for _, v := range bad {
		if v > bar {
			n++
		}
	}
	return float64(n) / float64(len(bad))
}
