// For people: sections of names and values.

extension ConnectionFindings {
    var text: String {
        var lines: [String] = []
        let how = "\(securityPolicy), \(securityMode), \(identity)"
        if let failure {
            lines.append("FAIL  \(url) (\(how))")
            lines.append("      step   \(failure.step)")
            lines.append("      why    \(failure.message)\(failure.status.map { ": \($0)" } ?? "")")
            if let cure = failure.cure { lines.append("      cure   \(cure)") }
        } else {
            lines.append("ok    \(url) (\(how))")
        }
        section("Steps", stepRows, &lines)
        if let server { section("Server", server.rows, &lines) }
        if !endpoints.isEmpty {
            lines += ["", "Endpoints"]
            for endpoint in endpoints { lines += endpoint.lines }
        }
        for (number, certificate) in certificates.enumerated() {
            let title = certificates.count == 1 ? "Certificate" : "Certificate \(number + 1)"
            section(title, certificate.rows, &lines)
        }
        if let limits { section("Limits", limits.rows, &lines) }
        if !namespaces.isEmpty {
            section("Namespaces", namespaces.enumerated().map { ("\($0.offset)", $0.element) }, &lines)
        }
        return lines.map { Self.printable($0) }.joined(separator: "\n")
    }

    /// Servers' own texts must not move the cursor of a terminal.
    static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 })
        )
    }

    private func section(_ title: String, _ rows: [(String, String)], _ lines: inout [String]) {
        guard !rows.isEmpty else { return }
        lines += ["", title]
        let width = rows.map(\.0.count).max() ?? 0
        for (name, value) in rows {
            lines.append("  \(name.padded(to: width))  \(Console.oneLine(value))")
        }
    }

    private var stepRows: [(String, String)] {
        steps.map { ($0.name, Self.milliseconds($0.microseconds) + ($0.succeeded ? "" : "  FAILED")) }
    }

    static func milliseconds(_ microseconds: Int64) -> String {
        let tenths = (microseconds + 50) / 100
        return "\(tenths / 10).\(tenths % 10) ms"
    }
}

extension ConnectionFindings.Endpoint {
    var lines: [String] {
        let mark = isUsed ? "*" : " "
        let notes = isSupported ? "" : "  (not usable from here)"
        let users = userTokens.map { $0.securityPolicy == "None" ? $0.type : "\($0.type) (\($0.securityPolicy))" }
        let unique = users.reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        return [
            "\(mark) \(securityPolicy.padded(to: 22)) \(securityMode.padded(to: 15)) level \(securityLevel)\(notes)",
            "    url    \(url)",
            "    users  \(unique.isEmpty ? "none listed" : unique.joined(separator: ", "))",
        ]
    }
}

extension ConnectionFindings.Server {
    var rows: [(String, String)] {
        var rows: [(String, String)] = []
        func add(_ name: String, _ value: String?) { if let value, !value.isEmpty { rows.append((name, value)) } }
        add("application", applicationName)
        add("application URI", applicationUri)
        add("product", productName)
        add("product URI", productUri)
        add("manufacturer", manufacturer)
        add("version", [softwareVersion, buildNumber].filter { !$0.isEmpty }.joined(separator: ", build "))
        add("state", state)
        add("started", startedAt)
        add("service level", serviceLevel.map { "\($0)\($0 >= 200 ? " (healthy)" : "")" })
        add(
            "clock",
            clockOffsetMs.map { offset in
                let size = ConnectionFindings.milliseconds(Int64((offset.magnitude * 1_000).rounded()))
                let uncertain = ConnectionFindings.milliseconds(Int64((clockUncertaintyMs * 1_000).rounded()))
                return
                    "\(size) \(offset < 0 ? "behind" : "ahead of") this machine's, ± \(uncertain) and the server's own step"
            }
        )
        add("history", keepsHistory.map { $0 ? "kept" : "not kept" })
        return rows
    }
}

extension ConnectionFindings.Limits {
    var rows: [(String, String)] {
        var rows: [(String, String)] = []
        func add(_ name: String, _ value: (some BinaryInteger)?) {
            rows.append((name, value.map { $0 == 0 ? "none" : "\($0)" } ?? "not told"))
        }
        add("nodes per Read", nodesPerRead)
        add("nodes per Browse", nodesPerBrowse)
        add("nodes per HistoryRead", nodesPerHistoryRead)
        add("items per CreateMonitoredItems", monitoredItemsPerCall)
        add("items per subscription", monitoredItemsPerSubscription)
        add("items", monitoredItems)
        add("queue size of an item", monitoredItemQueueSize)
        add("subscriptions per session", subscriptionsPerSession)
        add("subscriptions", subscriptions)
        add("sessions", sessions)
        add("browse continuation points", browseContinuationPoints)
        rows.append(("fastest sampling", minimumSamplingIntervalMs.map { "\($0) ms" } ?? "not told"))
        rows.append(("session timeout", sessionTimeoutMs.map { "\($0) ms" } ?? "not told"))
        add("request bytes", messageBytes)
        add("request chunks", chunks)
        add("chunk bytes", chunkBytes)
        return rows
    }
}

extension CertificateFindings {
    var rows: [(String, String)] {
        var rows: [(String, String)] = []
        func add(_ name: String, _ value: String) { if !value.isEmpty { rows.append((name, value)) } }
        add("subject", subject)
        add("issuer", isSelfSigned ? "itself" : issuer)
        add("application URI", applicationUris.joined(separator: ", "))
        add("hosts", hosts.joined(separator: ", "))
        add("valid", notBefore.isEmpty ? "" : "\(notBefore) to \(notAfter)")
        add("key", keyBits == 0 ? "" : "RSA, \(keyBits) bits")
        add("SHA-1", thumbprint)
        add("SHA-256", sha256)
        switch isTrusted {
        case true?: add("trusted", "yes")
        case false?: add("trusted", "NO: \(problem ?? "")")
        case nil: add("trusted", "cannot be told: \(problem ?? "")")
        }
        add("cure", cure ?? "")
        for warning in warnings { add("tolerated", warning) }
        return rows
    }
}

extension String {
    /// With blanks up to a number of characters; longer text stays as it is.
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
