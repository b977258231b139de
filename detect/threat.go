package detect

// The rows of the threat table that a finding can name.
const (
	PrivilegeDrift  = "privilege-drift"
	ConfusedDeputy  = "confused-deputy"
	PromptInjection = "indirect-prompt-injection"
	MemoryPoisoning = "memory-poisoning"

	UnscopedInheritance  = "unscoped-inheritance"
	CredentialEscalation = "credential-escalation"
	ToolPoisoning        = "tool-poisoning"
	Supply               = "supply-chain"
	TelemetryTampering   = "telemetry-tampering"

	DataExfiltration  = "exfiltration"
	LoopAmplification = "loop-amplification"
)

// Threats lists them.
func Threats() []string {
	return []string{PrivilegeDrift, ConfusedDeputy, PromptInjection, MemoryPoisoning, UnscopedInheritance, CredentialEscalation, ToolPoisoning, Supply,
		TelemetryTampering, DataExfiltration, LoopAmplification}
}
