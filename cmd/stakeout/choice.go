package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// choice is a flag that takes one of some names: a name that there is not would choose
// nothing, and look like an answer.
type choice[T ~string] struct {
	to *T
	of []T
}

// String implements pflag.Value.
func (c choice[T]) String() string {
	if c.to == nil {
		return ""
	}
	return string(*c.to)
}

// Type implements pflag.Value.
func (c choice[T]) Type() string { return "name" }

// Set implements pflag.Value.
func (c choice[T]) Set(s string) error {
	if !slices.Contains(c.of, T(s)) {
		return fmt.Errorf("want one of %s", strings.Join(names(c.of), ", "))
	}
	*c.to = T(s)
	return nil
}

func names[T ~string](of []T) (all []string) {
	for _, x := range of {
		all = append(all, string(x))
	}
	return all
}

func addChoice[T ~string](cmd *cobra.Command, to *T, name, usage string, of []T) {
	cmd.Flags().Var(choice[T]{to, of}, name, usage)
	mustSucceed(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(names(of), cobra.ShellCompDirectiveNoFileComp)))
}

// most is a flag that bounds how much is shown.
type most struct{ to *int }

// mostRows is what is shown at most: more is for a query of one's own.
const mostRows = 10_000

// String implements pflag.Value.
func (m most) String() string {
	if m.to == nil {
		return ""
	}
	return strconv.Itoa(*m.to)
}

// Type implements pflag.Value.
func (m most) Type() string { return "int" }

// Set implements pflag.Value.
func (m most) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > mostRows {
		return fmt.Errorf("want a number from 1 to %d", mostRows)
	}
	*m.to = n
	return nil
}

func addMost(cmd *cobra.Command, to *int, name string, n int) {
	*to = n
	cmd.Flags().Var(most{to}, name, "at most so many")
}

// age is a flag that says how old what is shown may be.
type age struct{ to *time.Duration }

// String implements pflag.Value.
func (a age) String() string {
	if a.to == nil || *a.to == 0 {
		return ""
	}
	return a.to.String()
}

// Type implements pflag.Value.
func (a age) Type() string { return "duration" }

// Set implements pflag.Value.
func (a age) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return errors.New("want a time such as 24h")
	}
	*a.to = d
	return nil
}

func addSince(cmd *cobra.Command, to *time.Duration, usage string) {
	cmd.Flags().Var(age{to}, "since", usage)
}

func addWhy(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "why", "", "reason, kept with the decision")
}
