import OPCUACodec
import Testing

@testable import scada_simulator

@Suite struct SeedSQLTests {
    private func sql(seed: UInt64, servers: Int = 2) -> SeedSQL {
        SeedSQL(
            layouts: FieldLayout.split(wells: 120, servers: servers, seed: seed, counters: false),
            rate: 1_200,
            host: "o'field",
            port: 4_840,
            publishingInterval: 500
        )
    }

    private func text(_ sql: SeedSQL) -> String {
        var text = ""
        sql.write { text += $0 }
        return text
    }

    @Test func `ids follow from the seed, are valid and distinct`() throws {
        let sql = sql(seed: 5)
        var ids: Set<String> = []
        for number in 0..<1_200 {
            for kind in [SeedSQL.Kind.connection, .well, .tag] {
                let id = sql.id(kind, number)
                #expect(ids.insert(id).inserted)
                #expect(Guid(id) != nil)
                #expect(Array(id)[14] == "8" && "89ab".contains(Array(id)[19]))
            }
        }
        #expect(self.sql(seed: 5).id(.tag, 7) == sql.id(.tag, 7))
        #expect(self.sql(seed: 6).id(.tag, 7) != sql.id(.tag, 7))
    }

    @Test func `every tag has its row, whatever number of servers`() {
        for servers in [1, 2, 7] {
            let text = text(sql(seed: 5, servers: servers))
            #expect(text.ranges(of: "'Double'").count == 1_200)
            #expect(text.ranges(of: "INSERT INTO scada_connections").count == servers)
            #expect(text.hasPrefix("-- ") && text.hasSuffix("COMMIT;\n"))
            #expect(text.contains("opc.tcp://o''field:4840'"))
        }
    }
}
