import Testing

@testable import Observability

@Suite("JSON")
struct JSONWriterTests {
    func text(_ body: (inout JSONWriter) -> Void) -> String {
        var json = JSONWriter()
        body(&json)
        return String(decoding: json.bytes, as: UTF8.self)
    }

    @Test func nesting() {
        let result = text { json in
            json.object { json in
                json.key("a")
                json.array { json in
                    json.number(1)
                    json.object { _ in }
                    json.array { _ in }
                    json.null()
                }
                json.key("b")
                json.bool(true)
                json.key("c")
                json.object { json in
                    json.key("d")
                    json.string("e")
                }
            }
        }
        #expect(result == #"{"a":[1,{},[],null],"b":true,"c":{"d":"e"}}"#)
    }

    @Test(arguments: [
        ("", #""""#),
        ("a\"b\\c/", #""a\"b\\c/""#),
        ("\n\r\t\u{8}\u{0}\u{1F}", #""\n\r\t\u0008\u0000\u001f""#),
        ("\u{7F}\u{85}\u{9B}", #""\u007f\u0085\u009b""#),
        ("\u{2028}\u{2029}", #""\u2028\u2029""#),
        ("é€😀", "\"é€😀\""),
    ])
    func strings(value: String, expected: String) {
        #expect(text { $0.string(value) } == expected)
    }

    @Test(arguments: [
        ("abcd", 4, "\"abcd\""), ("abcde", 4, "\"abcd…\""), ("aé", 2, "\"a…\""), ("aé", 3, "\"aé\""),
    ])
    func cuts(value: String, limit: Int, expected: String) {
        #expect(text { $0.string(value, limit: limit) } == expected)
    }

    @Test(
        arguments: [
            (0.1, "0.1"), (3, "3"), (-0.0, "0"), (1e15, "1000000000000000.0"), (2.5e-7, "2.5e-07"), (1e300, "1e+300"),
            (.nan, "null"),
            (.infinity, "null"),
        ] as [(Double, String)]
    )
    func doubles(value: Double, expected: String) {
        #expect(text { $0.number(value) } == expected)
    }

    @Test func integers() {
        #expect(text { $0.number(UInt64.max) } == "18446744073709551615")
        #expect(text { $0.number(Int64.min) } == "-9223372036854775808")
    }
}
