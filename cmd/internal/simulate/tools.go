package simulate

import "github.com/stakeout-project/stakeout/ingest/event"

// The catalogue's shorthand: an argument is a name and the origins of its values with their weights.

func takes(name string, flows ...flow) arg { return arg{name: name, flows: flows} }

func user(weight int) flow   { return flow{origin: event.FromUser, weight: weight} }
func system(weight int) flow { return flow{origin: event.FromSystem, weight: weight} }
func model(weight int) flow  { return flow{origin: event.FromModel, weight: weight} }
func memory(weight int) flow { return flow{origin: event.FromMemory, weight: weight} }

func from(source string, weight int) flow { return flow{source: source, weight: weight} }

// toolbox lists every tool of the fleet.
func toolbox() []tool {
	const (
		public, internal, confidential, restricted = event.Public, event.Internal, event.Confidential, event.Restricted
	)
	return []tool{
		// Mail, chat, calendar.
		{name: "mail.search", server: "mail", effect: event.Read, privilege: "mail:search", resource: "mailbox", resources: 6, sensitivity: internal, in: 3000, latency: 300,
			args: []arg{takes("query", user(5), model(3), memory(1))}},
		{name: "mail.read", server: "mail", effect: event.Read, privilege: "mail:read", resource: "message", resources: 400, sensitivity: internal, taint: 65, in: 5000, latency: 200,
			args: []arg{takes("message_id", from("mail.search", 6), user(2))}},
		{name: "mail.send", server: "mail", effect: event.Send, privilege: "mail:send", resource: "mailbox", resources: 6, sensitivity: internal, out: 2500, latency: 500, place: address, reach: 300, target: "to",
			args: []arg{takes("to", user(3), from("mail.read", 6), from("tickets.read", 6), from("crm.lookup", 2), memory(1)), takes("subject", model(4), user(1)),
				takes("body", model(6), from("mail.read", 2), from("tickets.read", 2), from("kb.search", 1))}},
		{name: "chat.post", server: "chat", effect: event.Send, privilege: "chat:post", resource: "channel", resources: 8, sensitivity: internal, out: 700, latency: 150, place: host, reach: 4, target: "channel",
			args: []arg{takes("channel", user(2), system(4)), takes("text", model(6), from("monitor.query", 2), from("sql.query", 2))}},
		{name: "calendar.create", server: "calendar", effect: event.Write, privilege: "calendar:write", resource: "calendar", resources: 8, sensitivity: internal, in: 300, latency: 200,
			args: []arg{takes("attendees", user(3), from("mail.read", 4), memory(1)), takes("title", model(1))}},
		{name: "calendar.list", server: "calendar", effect: event.Read, privilege: "calendar:read", resource: "calendar", resources: 8, sensitivity: internal, in: 1500, latency: 150,
			args: []arg{takes("range", user(2), model(1))}},

		// Tickets and orders.
		{name: "tickets.list", server: "desk", effect: event.Read, privilege: "tickets:list", resource: "queue", resources: 5, sensitivity: internal, in: 4000, latency: 200,
			args: []arg{takes("queue", system(3), user(1))}},
		{name: "tickets.read", server: "desk", effect: event.Read, privilege: "tickets:read", resource: "ticket", resources: 400, sensitivity: internal, taint: 55, in: 3500, latency: 150,
			args: []arg{takes("ticket_id", from("tickets.list", 5), user(3))}},
		{name: "tickets.attachment", server: "desk", effect: event.Read, privilege: "tickets:attachment", resource: "attachment", resources: 400, sensitivity: internal, taint: 60, in: 40000, latency: 400,
			args: []arg{takes("ticket_id", from("tickets.read", 5), user(2))}},
		{name: "tickets.update", server: "desk", effect: event.Write, privilege: "tickets:write", resource: "ticket", resources: 400, sensitivity: internal, in: 200, latency: 200,
			args: []arg{takes("ticket_id", from("tickets.list", 2), from("tickets.read", 5), user(1)), takes("note", model(6), from("tickets.read", 1))}},
		{name: "kb.search", server: "kb", effect: event.Read, privilege: "kb:read", resource: "article", resources: 120, sensitivity: public, in: 6000, latency: 250,
			args: []arg{takes("query", user(2), model(4))}},
		{name: "orders.lookup", server: "orders", effect: event.Read, privilege: "orders:read", resource: "order", resources: 400, sensitivity: confidential, in: 1800, latency: 150,
			args: []arg{takes("order_id", user(4), from("tickets.read", 4))}},
		{name: "orders.refund", server: "orders", effect: event.Money, privilege: "orders:refund", resource: "order", resources: 400, sensitivity: confidential, in: 300, latency: 600, place: account, reach: 300, target: "order_id",
			args: []arg{takes("order_id", from("orders.lookup", 6), user(2)), takes("amount", from("orders.lookup", 3), model(2), user(2))}},
		{name: "orders.cancel", server: "orders", effect: event.Delete, privilege: "orders:cancel", resource: "order", resources: 400, sensitivity: confidential, in: 200, latency: 300, target: "order_id",
			args: []arg{takes("order_id", from("orders.lookup", 5), user(3))}},

		// Customers and quotes.
		{name: "crm.lookup", server: "crm", effect: event.Read, privilege: "crm:read", resource: "contact", resources: 300, sensitivity: confidential, in: 1500, latency: 150,
			args: []arg{takes("name", user(4), from("mail.read", 3), memory(1))}},
		{name: "crm.update", server: "crm", effect: event.Write, privilege: "crm:write", resource: "contact", resources: 300, sensitivity: confidential, in: 200, latency: 200,
			args: []arg{takes("account", from("crm.lookup", 5), memory(2), user(1)), takes("fields", model(3), user(2), from("mail.read", 5))}},
		{name: "crm.delete", server: "crm", effect: event.Delete, privilege: "crm:delete", resource: "contact", resources: 300, sensitivity: confidential, in: 100, latency: 200, target: "account",
			args: []arg{takes("account", from("crm.lookup", 4), user(3))}},
		{name: "crm.export", server: "crm", effect: event.Share, privilege: "crm:export", resource: "contacts", resources: 3, sensitivity: restricted, out: 900000, latency: 4000, place: host, reach: 3, target: "target",
			args: []arg{takes("segment", user(3), model(1)), takes("target", user(3), system(1))}},
		{name: "quotes.create", server: "quotes", effect: event.Write, privilege: "quotes:write", resource: "quote", resources: 200, sensitivity: internal, in: 900, latency: 300,
			args: []arg{takes("account", from("crm.lookup", 5), user(2)), takes("items", user(4), from("mail.read", 3))}},
		{name: "quotes.send", server: "quotes", effect: event.Send, privilege: "quotes:send", resource: "quote", resources: 200, sensitivity: confidential, out: 30000, latency: 500, place: address, reach: 150, target: "to",
			args: []arg{takes("to", from("crm.lookup", 5), user(2), memory(1)), takes("quote", from("quotes.create", 5), user(1))}},

		// The web and papers.
		{name: "web.search", server: "web", effect: event.Fetch, privilege: "web:search", resource: "index", resources: 3, sensitivity: public, taint: 12, in: 8000, latency: 700,
			args: []arg{takes("query", user(3), model(5))}},
		{name: "web.fetch", server: "web", effect: event.Fetch, privilege: "web:fetch", resource: "page", resources: 400, sensitivity: public, taint: 65, in: 60000, latency: 900, place: host, reach: 350, target: "url",
			args: []arg{takes("url", from("web.search", 6), user(2))}},
		{name: "papers.search", server: "papers", effect: event.Fetch, privilege: "papers:search", resource: "index", resources: 2, sensitivity: public, in: 12000, latency: 800,
			args: []arg{takes("query", user(2), model(4))}},
		{name: "datasets.download", server: "papers", effect: event.Fetch, privilege: "datasets:download", resource: "dataset", resources: 40, sensitivity: public, in: 2000000, latency: 6000,
			args: []arg{takes("name", user(3), from("papers.search", 2))}},

		// Files and reports.
		{name: "files.read", server: "files", effect: event.Read, privilege: "files:read", resource: "file", resources: 300, sensitivity: internal, taint: 8, in: 20000, latency: 200,
			args: []arg{takes("path", user(4), memory(1), model(1))}},
		{name: "files.archive", server: "files", effect: event.Read, privilege: "files:archive", resource: "file", resources: 300, sensitivity: confidential, in: 30000, latency: 400,
			args: []arg{takes("path", user(3), memory(1))}},
		{name: "files.write", server: "files", effect: event.Write, privilege: "files:write", resource: "file", resources: 300, sensitivity: internal, in: 200, latency: 200,
			args: []arg{takes("path", user(3), model(2), memory(1)), takes("content", model(4), from("web.fetch", 7), from("papers.search", 1))}},
		{name: "files.share", server: "files", effect: event.Share, privilege: "files:share", resource: "file", resources: 300, sensitivity: confidential, out: 50000, latency: 400, place: address, reach: 30, target: "with",
			args: []arg{takes("with", user(5), memory(1)), takes("path", user(3), from("files.read", 3))}},
		{name: "files.delete", server: "files", effect: event.Delete, privilege: "files:delete", resource: "file", resources: 300, sensitivity: confidential, in: 100, latency: 200, target: "path",
			args: []arg{takes("path", user(5), from("files.read", 2))}},
		{name: "files.publish", server: "files", effect: event.Share, privilege: "files:publish", resource: "file", resources: 300, sensitivity: restricted, out: 80000, latency: 400, place: host, reach: 3, target: "target",
			args: []arg{takes("path", user(3)), takes("target", user(2), system(1))}},
		{name: "reports.share", server: "reports", effect: event.Share, privilege: "reports:share", resource: "report", resources: 30, sensitivity: confidential, out: 60000, latency: 500, place: address, reach: 20, target: "with",
			args: []arg{takes("with", user(4), system(2)), takes("report", user(3), model(1))}},

		// Money.
		{name: "invoices.list", server: "erp", effect: event.Read, privilege: "invoices:list", resource: "ledger", resources: 4, sensitivity: internal, in: 4000, latency: 300,
			args: []arg{takes("period", user(3), system(1))}},
		{name: "invoices.read", server: "erp", effect: event.Read, privilege: "invoices:read", resource: "invoice", resources: 300, sensitivity: confidential, taint: 32, in: 9000, latency: 250,
			args: []arg{takes("invoice_id", from("invoices.list", 5), from("mail.read", 1), user(2))}},
		{name: "vendors.lookup", server: "erp", effect: event.Read, privilege: "vendors:read", resource: "vendor", resources: 80, sensitivity: confidential, in: 1200, latency: 150,
			args: []arg{takes("vendor", from("invoices.read", 4), user(2))}},
		{name: "vendors.update", server: "erp", effect: event.Write, privilege: "vendors:write", resource: "vendor", resources: 80, sensitivity: confidential, in: 200, latency: 200,
			args: []arg{takes("vendor", from("vendors.lookup", 5), user(2)), takes("fields", user(4), from("mail.read", 1))}},
		{name: "ledger.query", server: "erp", effect: event.Read, privilege: "ledger:read", resource: "ledger", resources: 4, sensitivity: restricted, in: 12000, latency: 500,
			args: []arg{takes("account", user(3), memory(1)), takes("period", user(2), model(1))}},
		{name: "ledger.post", server: "erp", effect: event.Write, privilege: "ledger:write", resource: "ledger", resources: 4, sensitivity: restricted, in: 200, latency: 400,
			args: []arg{takes("account", from("ledger.query", 3), user(3)), takes("amount", from("invoices.read", 9), user(2))}},
		{name: "payments.create", server: "bank", effect: event.Money, privilege: "payments:create", resource: "payment", resources: 300, sensitivity: restricted, in: 300, latency: 900, place: account, reach: 40, target: "iban",
			args: []arg{takes("iban", from("vendors.lookup", 8), user(1)), takes("amount", from("invoices.read", 9), user(2)), takes("reference", from("invoices.read", 4), model(2))}},
		{name: "payments.approve", server: "bank", effect: event.Money, privilege: "payments:approve", resource: "payment", resources: 300, sensitivity: restricted, in: 200, latency: 900,
			args: []arg{takes("payment", user(3), system(1))}},

		// Code.
		{name: "repo.search", server: "forge", effect: event.Read, privilege: "repo:search", resource: "repo", resources: 12, sensitivity: internal, in: 5000, latency: 150,
			args: []arg{takes("pattern", model(5), user(1))}},
		{name: "repo.read", server: "forge", effect: event.Read, privilege: "repo:read", resource: "repo", resources: 12, sensitivity: confidential, in: 15000, latency: 80,
			args: []arg{takes("path", from("repo.search", 5), model(2), user(1))}},
		{name: "repo.write", server: "forge", effect: event.Write, privilege: "repo:write", resource: "repo", resources: 12, sensitivity: internal, in: 200, latency: 100,
			args: []arg{takes("path", from("repo.search", 3), model(2)), takes("patch", model(6), from("web.fetch", 1))}},
		{name: "repo.push", server: "forge", effect: event.Write, privilege: "repo:push", resource: "repo", resources: 12, sensitivity: confidential, in: 400, latency: 1500,
			args: []arg{takes("branch", user(3), model(2))}},
		{name: "repo.admin", server: "forge", effect: event.Auth, privilege: "repo:admin", resource: "repo", resources: 12, sensitivity: restricted, in: 200, latency: 300,
			args: []arg{takes("setting", user(3))}},
		{name: "shell.run", server: "sandbox", effect: event.Execute, privilege: "shell:run", resource: "sandbox", resources: 4, sensitivity: internal, in: 3000, latency: 2500,
			args: []arg{takes("command", model(6), from("issues.read", 1))}},
		{name: "tests.run", server: "sandbox", effect: event.Execute, privilege: "tests:run", resource: "sandbox", resources: 4, sensitivity: internal, in: 9000, latency: 5000,
			args: []arg{takes("target", model(3), user(1))}},
		{name: "packages.install", server: "sandbox", effect: event.Execute, privilege: "packages:install", resource: "sandbox", resources: 4, sensitivity: internal, in: 2000, latency: 4000,
			args: []arg{takes("name", model(2), user(2))}},
		{name: "issues.read", server: "forge", effect: event.Read, privilege: "issues:read", resource: "issue", resources: 300, sensitivity: public, taint: 70, in: 4000, latency: 150,
			args: []arg{takes("issue_id", user(4))}},
		{name: "issues.comment", server: "forge", effect: event.Send, privilege: "issues:comment", resource: "issue", resources: 300, sensitivity: public, out: 900, latency: 200, place: host, reach: 3, target: "issue_id",
			args: []arg{takes("issue_id", from("issues.read", 6), user(1)), takes("body", model(5), from("issues.read", 2))}},
		{name: "snippets.share", server: "forge", effect: event.Share, privilege: "snippets:share", resource: "snippet", resources: 50, sensitivity: confidential, out: 6000, latency: 300, place: address, reach: 12, target: "with",
			args: []arg{takes("with", user(4)), takes("content", from("repo.read", 4), model(2))}},
		{name: "vault.read", server: "vault", effect: event.Read, privilege: "vault:read", resource: "secret", resources: 20, sensitivity: restricted, in: 300, latency: 100,
			args: []arg{takes("name", user(3), system(1))}},

		// People.
		{name: "hr.lookup", server: "hris", effect: event.Read, privilege: "hr:read", resource: "employee", resources: 300, sensitivity: restricted, in: 2500, latency: 200,
			args: []arg{takes("name", user(5), from("mail.read", 1))}},
		{name: "hr.update", server: "hris", effect: event.Write, privilege: "hr:write", resource: "employee", resources: 300, sensitivity: restricted, in: 200, latency: 300,
			args: []arg{takes("employee", from("hr.lookup", 5), user(1)), takes("fields", user(5))}},
		{name: "candidates.list", server: "hris", effect: event.Read, privilege: "candidates:list", resource: "position", resources: 30, sensitivity: internal, in: 3000, latency: 200,
			args: []arg{takes("position", user(3))}},
		{name: "candidates.update", server: "hris", effect: event.Write, privilege: "candidates:write", resource: "candidate", resources: 300, sensitivity: internal, in: 200, latency: 200,
			args: []arg{takes("candidate", from("candidates.list", 2), from("cv.read", 5)), takes("notes", model(3), from("cv.read", 4))}},
		{name: "cv.read", server: "hris", effect: event.Read, privilege: "cv:read", resource: "candidate", resources: 300, sensitivity: confidential, taint: 60, in: 12000, latency: 300,
			args: []arg{takes("candidate", from("candidates.list", 5), user(1))}},
		{name: "offers.send", server: "hris", effect: event.Send, privilege: "offers:send", resource: "candidate", resources: 300, sensitivity: confidential, out: 20000, latency: 500, place: address, reach: 150, target: "to",
			args: []arg{takes("to", from("candidates.list", 4), user(3)), takes("terms", user(4))}},
		{name: "payroll.read", server: "payroll", effect: event.Read, privilege: "payroll:read", resource: "payroll", resources: 12, sensitivity: restricted, in: 9000, latency: 300,
			args: []arg{takes("period", user(3))}},
		{name: "payroll.export", server: "payroll", effect: event.Share, privilege: "payroll:export", resource: "payroll", resources: 12, sensitivity: restricted, out: 400000, latency: 3000, place: host, reach: 2, target: "target",
			args: []arg{takes("period", user(3)), takes("target", user(2), system(2))}},

		// Operations.
		{name: "monitor.query", server: "monitor", effect: event.Read, privilege: "monitor:read", resource: "dashboard", resources: 40, sensitivity: internal, in: 6000, latency: 300,
			args: []arg{takes("query", model(4), system(3))}},
		{name: "logs.search", server: "logs", effect: event.Read, privilege: "logs:read", resource: "index", resources: 20, sensitivity: internal, taint: 9, in: 20000, latency: 800,
			args: []arg{takes("query", model(4), from("monitor.query", 3))}},
		{name: "runbook.read", server: "kb", effect: event.Read, privilege: "runbook:read", resource: "article", resources: 60, sensitivity: internal, in: 5000, latency: 150,
			args: []arg{takes("name", model(3), system(2))}},
		{name: "deploy.status", server: "deploy", effect: event.Read, privilege: "deploy:read", resource: "service", resources: 40, sensitivity: internal, in: 1200, latency: 200,
			args: []arg{takes("service", user(2), from("monitor.query", 4), memory(1))}},
		{name: "deploy.rollout", server: "deploy", effect: event.Execute, privilege: "deploy:rollout", resource: "service", resources: 40, sensitivity: confidential, in: 800, latency: 8000,
			args: []arg{takes("service", user(3), from("deploy.status", 4)), takes("version", user(3), from("deploy.status", 2))}},
		{name: "cluster.scale", server: "cluster", effect: event.Execute, privilege: "cluster:scale", resource: "service", resources: 40, sensitivity: internal, in: 300, latency: 1200,
			args: []arg{takes("service", from("monitor.query", 5), user(1)), takes("replicas", model(3))}},
		{name: "cluster.restart", server: "cluster", effect: event.Execute, privilege: "cluster:restart", resource: "service", resources: 40, sensitivity: internal, in: 300, latency: 2500,
			args: []arg{takes("service", from("monitor.query", 4), from("logs.search", 1), user(1))}},
		{name: "secrets.rotate", server: "vault", effect: event.Auth, privilege: "secrets:rotate", resource: "secret", resources: 20, sensitivity: restricted, in: 200, latency: 700,
			args: []arg{takes("name", user(2), system(3))}},
		{name: "config.read", server: "cluster", effect: event.Read, privilege: "config:read", resource: "service", resources: 40, sensitivity: confidential, in: 4000, latency: 150,
			args: []arg{takes("service", model(2), from("deploy.status", 3))}},
		{name: "volumes.delete", server: "cluster", effect: event.Delete, privilege: "volumes:delete", resource: "volume", resources: 40, sensitivity: confidential, in: 200, latency: 1500, target: "volume",
			args: []arg{takes("volume", from("deploy.status", 3), user(3))}},
		{name: "iam.grant", server: "iam", effect: event.Auth, privilege: "iam:grant", resource: "identity", resources: 20, sensitivity: restricted, in: 200, latency: 400,
			args: []arg{takes("identity", user(3)), takes("grant", user(3))}},
		{name: "db.dump", server: "db", effect: event.Read, privilege: "db:dump", resource: "database", resources: 8, sensitivity: restricted, in: 5000000, latency: 20000,
			args: []arg{takes("database", user(3))}},

		// Data.
		{name: "sql.query", server: "warehouse", effect: event.Read, privilege: "sql:read", resource: "table", resources: 80, sensitivity: confidential, in: 15000, latency: 1500,
			args: []arg{takes("statement", model(6), memory(1))}},
		{name: "sql.people", server: "warehouse", effect: event.Read, privilege: "sql:read_personal", resource: "table", resources: 20, sensitivity: restricted, in: 15000, latency: 1500,
			args: []arg{takes("statement", model(6))}},
		{name: "tables.write", server: "warehouse", effect: event.Write, privilege: "sql:write", resource: "table", resources: 40, sensitivity: confidential, in: 200, latency: 2000,
			args: []arg{takes("table", user(3), memory(1)), takes("rows", from("sql.query", 4), from("notebook.run", 3))}},
		{name: "tables.drop", server: "warehouse", effect: event.Delete, privilege: "sql:drop", resource: "table", resources: 40, sensitivity: confidential, in: 100, latency: 800, target: "table",
			args: []arg{takes("table", user(5), from("sql.query", 1))}},
		{name: "notebook.run", server: "sandbox", effect: event.Execute, privilege: "notebook:run", resource: "sandbox", resources: 4, sensitivity: internal, in: 5000, latency: 4000,
			args: []arg{takes("code", model(6))}},
		{name: "dashboard.view", server: "bi", effect: event.Read, privilege: "dashboard:read", resource: "dashboard", resources: 40, sensitivity: internal, in: 4000, latency: 300,
			args: []arg{takes("dashboard", user(3), system(2))}},
		{name: "dashboard.publish", server: "bi", effect: event.Write, privilege: "dashboard:write", resource: "dashboard", resources: 40, sensitivity: internal, in: 300, latency: 500,
			args: []arg{takes("dashboard", user(3)), takes("data", from("sql.query", 5))}},
		{name: "exports.csv", server: "bi", effect: event.Share, privilege: "exports:csv", resource: "export", resources: 60, sensitivity: confidential, out: 120000, latency: 1500, place: address, reach: 25, target: "with",
			args: []arg{takes("with", user(5)), takes("rows", from("sql.query", 5))}},
		{name: "exports.bulk", server: "bi", effect: event.Share, privilege: "exports:bulk", resource: "export", resources: 60, sensitivity: restricted, out: 3000000, latency: 9000, place: host, reach: 2, target: "target",
			args: []arg{takes("table", user(3)), takes("target", user(3))}},

		// Harmless odds and ends that every agent was granted.
		{name: "text.translate", server: "assist", effect: event.Read, privilege: "text:translate", resource: "text", resources: 1, sensitivity: public, in: 2000, latency: 600, args: []arg{takes("text", model(1))}},
		{name: "currency.convert", server: "assist", effect: event.Read, privilege: "currency:read", resource: "rate", resources: 10, sensitivity: public, in: 200, latency: 100, args: []arg{takes("amount", user(1), model(1))}},
		{name: "maps.route", server: "assist", effect: event.Fetch, privilege: "maps:read", resource: "route", resources: 20, sensitivity: public, in: 3000, latency: 500, args: []arg{takes("to", user(1))}},
		{name: "pdf.render", server: "assist", effect: event.Write, privilege: "pdf:write", resource: "file", resources: 30, sensitivity: internal, in: 90000, latency: 1500, args: []arg{takes("content", model(1))}},
		{name: "directory.lookup", server: "iam", effect: event.Read, privilege: "directory:read", resource: "person", resources: 100, sensitivity: internal, in: 800, latency: 100, args: []arg{takes("name", user(1))}},
	}
}
