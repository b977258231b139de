package command

import (
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Question is what the first look at a finding asks of what is stored. All of it
// comes from the finding, its times too: the same rows give the same answer whenever
// it is asked.
type Question struct {
	Finding     string // id: it is not its own past
	Agent       string
	Role        string // with Tenant, whose other agents are its peers; empty: none are known
	Tenant      string
	Tool        string // that was called
	Privilege   string
	Destination string
	Evidence    []string        // ids of events
	Time        event.Timestamp // of the event judged
	Window      time.Duration   // how far back peers and destinations are looked at
}

// A Past is what is stored about the agent of a finding, its peers, and what it met.
type Past struct {
	Findings []Tally // earlier ones of the agent, by detector
	Verdicts []Tally // on earlier incidents with it

	Peers   uint64 // other agents of its role and tenant that did anything
	Alike   uint64 // of these, who did the same: called the tool, for the privilege
	Likened uint64 // how often

	Rests []Stored // the events that the finding rests on, as far as they are stored

	Around Around

	Met        event.Timestamp // when anybody first contacted the destination; 0: nobody did
	MetAgents  uint64
	MetContact uint64
}

// A Tally is how many there are of a name.
type Tally struct {
	Name  string
	Count uint64
}

// A Stored is an event as it is stored, by its names.
type Stored struct {
	ID, Name, Tool, Effect, Destination string
	Time                                event.Timestamp
}

// Around is what an agent did in the ten minutes before the event judged.
type Around struct {
	Events uint64
	Failed uint64
	Tools  []string // the first six by name
}
