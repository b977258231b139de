package simulate

// The working days, by hour of local time, in hundredths of the busiest hour.

func office() hours {
	return hours{weekend: 6, hour: [24]int64{1, 1, 1, 1, 1, 2, 6, 25, 65, 100, 100, 95, 60, 90, 100, 95, 80, 50, 22, 10, 6, 4, 2, 1}}
}

func service() hours {
	return hours{weekend: 50, hour: [24]int64{6, 4, 3, 3, 4, 8, 25, 50, 80, 100, 100, 95, 85, 90, 95, 95, 90, 85, 75, 65, 50, 35, 20, 10}}
}

func always() hours {
	return hours{weekend: 75, hour: [24]int64{60, 60, 60, 60, 60, 60, 65, 70, 85, 100, 100, 100, 90, 95, 100, 100, 95, 85, 75, 70, 65, 65, 60, 60}}
}

// odds are the tools that every role was granted and hardly ever uses.
func odds(uses ...use) []use {
	for _, name := range []string{"text.translate", "currency.convert", "maps.route", "pdf.render", "directory.lookup"} {
		uses = append(uses, use{tool: name, class: spare})
	}
	return uses
}

// roles lists what the fleet does. The first eight are the agents that people
// talk to; the workers after them are spawned by the roles that name them.
func roles() []role {
	return []role{
		{name: "support-desk", short: "support", hours: service(), calls: 4, tokens: 2500, daily: true, remember: 20, store: 10, principals: 18,
			uses: odds(use{tool: "tickets.list", weight: 150}, use{tool: "tickets.read", weight: 200}, use{tool: "tickets.attachment", weight: 40}, use{tool: "tickets.update", weight: 140},
				use{tool: "kb.search", weight: 140}, use{tool: "orders.lookup", weight: 120}, use{tool: "orders.refund", weight: 30}, use{tool: "orders.cancel", weight: 30},
				use{tool: "mail.send", weight: 100}, use{tool: "crm.lookup", weight: 50}, use{tool: "crm.export", class: crown}, use{tool: "iam.grant", class: crown}),
			follow: []follow{{"", "tickets.list", 4}, {"tickets.list", "tickets.read", 8}, {"tickets.read", "tickets.update", 7}, {"tickets.read", "kb.search", 3}, {"tickets.read", "orders.lookup", 3}, {"tickets.read", "mail.send", 4},
				{"kb.search", "tickets.update", 4}, {"orders.lookup", "orders.refund", 4}, {"orders.lookup", "orders.cancel", 3}, {"kb.search", "mail.send", 3}}},
		{name: "finance-ops", short: "finance", hours: office(), calls: 4, tokens: 3000, remember: 15, store: 8, principals: 12,
			uses: odds(use{tool: "invoices.list", weight: 160}, use{tool: "invoices.read", weight: 210}, use{tool: "vendors.lookup", weight: 120}, use{tool: "vendors.update", weight: 30},
				use{tool: "ledger.query", weight: 110}, use{tool: "ledger.post", weight: 60}, use{tool: "payments.create", weight: 90}, use{tool: "reports.share", weight: 40},
				use{tool: "mail.search", weight: 60}, use{tool: "mail.read", weight: 80}, use{tool: "mail.send", weight: 40}, use{tool: "payments.approve", class: crown}, use{tool: "payroll.export", class: crown}),
			follow: []follow{{"", "invoices.list", 5}, {"invoices.list", "invoices.read", 8}, {"invoices.read", "vendors.lookup", 4}, {"vendors.lookup", "payments.create", 5}, {"invoices.read", "payments.create", 10},
				{"mail.search", "mail.read", 9}, {"mail.read", "mail.send", 9}, {"ledger.query", "ledger.post", 4}, {"invoices.read", "ledger.post", 10}}},
		{name: "sales-crm", short: "sales", hours: office(), calls: 4, tokens: 2200, daily: true, remember: 30, store: 14, principals: 20,
			uses: odds(use{tool: "mail.search", weight: 90}, use{tool: "mail.read", weight: 120}, use{tool: "mail.send", weight: 110}, use{tool: "crm.lookup", weight: 180}, use{tool: "crm.update", weight: 110},
				use{tool: "crm.delete", weight: 25}, use{tool: "quotes.create", weight: 70}, use{tool: "quotes.send", weight: 50}, use{tool: "web.search", weight: 60}, use{tool: "web.fetch", weight: 40},
				use{tool: "calendar.create", weight: 60}, use{tool: "dashboard.view", weight: 50, open: true}, use{tool: "crm.export", class: crown}, use{tool: "files.publish", class: crown}),
			follow: []follow{{"mail.search", "mail.read", 9}, {"mail.read", "mail.send", 8}, {"mail.read", "crm.update", 8}, {"crm.lookup", "crm.update", 3}, {"crm.lookup", "quotes.create", 3}, {"quotes.create", "quotes.send", 8},
				{"web.search", "web.fetch", 6}, {"", "crm.lookup", 2}, {"", "mail.search", 2}, {"mail.read", "calendar.create", 3}}},
		{name: "coding", short: "coding", hours: always(), calls: 5, tokens: 9000, remember: 12, store: 8, principals: 14, helper: "coding-worker",
			uses: odds(use{tool: "repo.search", weight: 170}, use{tool: "repo.read", weight: 220}, use{tool: "repo.write", weight: 150}, use{tool: "repo.push", weight: 40}, use{tool: "shell.run", weight: 90},
				use{tool: "tests.run", weight: 110}, use{tool: "issues.read", weight: 110}, use{tool: "issues.comment", weight: 60}, use{tool: "web.fetch", weight: 30}, use{tool: "snippets.share", weight: 30},
				use{tool: "packages.install", class: spare}, use{tool: "vault.read", class: crown}, use{tool: "repo.admin", class: crown}),
			follow: []follow{{"", "repo.search", 3}, {"", "issues.read", 5}, {"repo.search", "repo.read", 5}, {"repo.read", "repo.write", 3}, {"repo.write", "tests.run", 5}, {"tests.run", "repo.push", 4}, {"issues.read", "issues.comment", 14}}},
		{name: "research", short: "research", hours: office(), calls: 5, tokens: 12000, remember: 25, store: 16, principals: 10, helper: "research-worker",
			uses: odds(use{tool: "web.search", weight: 170}, use{tool: "web.fetch", weight: 130}, use{tool: "papers.search", weight: 120}, use{tool: "files.read", weight: 170}, use{tool: "files.write", weight: 140},
				use{tool: "files.share", weight: 50}, use{tool: "files.delete", weight: 30}, use{tool: "files.archive", weight: 40}, use{tool: "mail.search", weight: 30}, use{tool: "mail.read", weight: 40}, use{tool: "mail.send", weight: 40},
				use{tool: "datasets.download", class: spare}, use{tool: "files.publish", class: crown}, use{tool: "iam.grant", class: crown}),
			follow: []follow{{"", "web.search", 3}, {"web.search", "web.fetch", 4}, {"web.fetch", "files.write", 12}, {"web.search", "files.write", 2}, {"papers.search", "files.write", 2}, {"files.read", "files.share", 2}, {"mail.search", "mail.read", 9}, {"mail.read", "mail.send", 9}}},
		{name: "hr", short: "hr", hours: office(), calls: 3, tokens: 2400, daily: true, remember: 15, store: 8, principals: 8,
			uses: odds(use{tool: "candidates.list", weight: 150}, use{tool: "cv.read", weight: 150}, use{tool: "candidates.update", weight: 110}, use{tool: "offers.send", weight: 40}, use{tool: "hr.lookup", weight: 170},
				use{tool: "hr.update", weight: 60}, use{tool: "payroll.read", weight: 40}, use{tool: "mail.search", weight: 60}, use{tool: "mail.read", weight: 70}, use{tool: "mail.send", weight: 70}, use{tool: "calendar.create", weight: 70},
				use{tool: "calendar.list", class: spare}, use{tool: "payroll.export", class: crown}, use{tool: "iam.grant", class: crown}),
			follow: []follow{{"", "candidates.list", 3}, {"", "hr.lookup", 2}, {"candidates.list", "cv.read", 5}, {"cv.read", "candidates.update", 8}, {"candidates.update", "offers.send", 3}, {"hr.lookup", "hr.update", 3},
				{"mail.search", "mail.read", 9}, {"mail.read", "mail.send", 9}, {"mail.read", "calendar.create", 3}}},
		{name: "devops", short: "devops", hours: always(), calls: 4, tokens: 4000, remember: 10, store: 6, principals: 10,
			uses: odds(use{tool: "monitor.query", weight: 220}, use{tool: "logs.search", weight: 150}, use{tool: "runbook.read", weight: 90}, use{tool: "deploy.status", weight: 130}, use{tool: "deploy.rollout", weight: 45},
				use{tool: "cluster.scale", weight: 60}, use{tool: "cluster.restart", weight: 50}, use{tool: "config.read", weight: 70}, use{tool: "secrets.rotate", weight: 30}, use{tool: "volumes.delete", weight: 25}, use{tool: "chat.post", weight: 110}, use{tool: "reports.share", weight: 25},
				use{tool: "calendar.list", class: spare}, use{tool: "iam.grant", class: crown}, use{tool: "db.dump", class: crown}),
			follow: []follow{{"", "monitor.query", 4}, {"monitor.query", "logs.search", 3}, {"logs.search", "runbook.read", 3}, {"runbook.read", "cluster.restart", 4}, {"deploy.status", "deploy.rollout", 3}, {"cluster.restart", "chat.post", 4}}},
		{name: "data-analyst", short: "data", hours: office(), calls: 4, tokens: 5000, remember: 18, store: 10, principals: 16, helper: "query-worker",
			uses: odds(use{tool: "sql.query", weight: 280}, use{tool: "sql.people", weight: 40}, use{tool: "notebook.run", weight: 130}, use{tool: "tables.write", weight: 60}, use{tool: "tables.drop", weight: 25},
				use{tool: "dashboard.view", weight: 150, open: true}, use{tool: "dashboard.publish", weight: 80}, use{tool: "exports.csv", weight: 40}, use{tool: "web.search", weight: 30}, use{tool: "web.fetch", weight: 25}, use{tool: "chat.post", weight: 80},
				use{tool: "datasets.download", class: spare}, use{tool: "exports.bulk", class: crown}, use{tool: "iam.grant", class: crown}),
			follow: []follow{{"", "dashboard.view", 2}, {"", "sql.query", 3}, {"sql.query", "notebook.run", 3}, {"notebook.run", "dashboard.publish", 3}, {"sql.query", "chat.post", 2}, {"web.search", "web.fetch", 5}}},

		{name: "coding-worker", short: "coding-worker", hours: always(), calls: 3, tokens: 5000, principals: 1,
			uses: odds(use{tool: "repo.search", weight: 300}, use{tool: "repo.read", weight: 400}, use{tool: "tests.run", weight: 200}, use{tool: "shell.run", weight: 100})},
		{name: "research-worker", short: "research-worker", hours: office(), calls: 3, tokens: 8000, principals: 1,
			uses: odds(use{tool: "web.search", weight: 300}, use{tool: "web.fetch", weight: 200}, use{tool: "papers.search", weight: 300}, use{tool: "files.read", weight: 200})},
		{name: "query-worker", short: "query-worker", hours: office(), calls: 3, tokens: 4000, principals: 1,
			uses: odds(use{tool: "sql.query", weight: 600}, use{tool: "dashboard.view", weight: 200}, use{tool: "notebook.run", weight: 200})},
	}
}

// fronts is how many of the roles are agents that people talk to.
const fronts = 8

// crew is the order in which agents get their roles: every role once, then by its share of the fleet.
func crew() []int { return []int{0, 1, 2, 3, 4, 5, 6, 7, 0, 2, 3, 3, 0, 7, 6, 4} }
