package detect

import "unsafe"

// Prefetch reads what is known of an agent and does nothing with it. With many
// agents it lies in memory and no cache, and to judge an event waits for one
// cache line of it after the other. To read those of several agents before their
// events are judged has them come all at once.
func (e *Engine) Prefetch(agent []byte) {
	a := e.agents.likely(agent)
	if a == nil {
		return
	}
	const line = 64
	b := unsafe.Slice((*byte)(unsafe.Pointer(a)), unsafe.Sizeof(*a))
	read := byte(0)
	for i := 0; i < len(b); i += line {
		read ^= b[i]
	}
	e.read ^= read // so that the compiler does not leave out what nobody wants to know
}
