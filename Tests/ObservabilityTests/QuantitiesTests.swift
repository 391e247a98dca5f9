import Testing

@testable import Observability

@Suite("Numbers for people")
struct QuantitiesTests {
    @Test(
        arguments: [
            (0, "0"), (999, "999"), (1000, "1,000"), (99_999, "99,999"), (100_000, "100 k"), (123_456, "123 k"),
            (999_499, "999 k"), (999_999, "1.00 M"), (1_234_567, "1.23 M"), (12_345_678, "12.3 M"), (-1234, "-1,234"),
            (Int64.max, "9.22 E"),
        ] as [(Int64, String)]
    )
    func counts(value: Int64, text: String) {
        #expect(Quantities.count(value) == text)
    }

    @Test(
        arguments: [
            (0, "0/s"), (0.44, "0.4/s"), (9.94, "9.9/s"), (9.96, "10/s"), (1234.4, "1,234/s"), (250_000, "250 k/s"),
            (.nan, "–"), (.infinity, "–"),
        ] as [(Double, String)]
    )
    func rates(value: Double, text: String) {
        #expect(Quantities.rate(value) == text)
    }

    @Test(
        arguments: [
            (0, "0 B"), (-5, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (512, "512 B"), (1 << 20, "1.00 MiB"),
            (734_003_200, "700 MiB"),
            (1 << 40, "1.00 TiB"), (Int64.max, "8.00 EiB"),
        ] as [(Int64, String)]
    )
    func bytes(value: Int64, text: String) {
        #expect(Quantities.bytes(value) == text)
    }

    @Test(
        arguments: [
            (0, "0 s"), (-7, "0 s"), (59_999_999, "59 s"), (60_000_000, "1 min"), (3_600_000_000, "1 h"),
            (7_800_000_000, "2 h 10 min"), (86_400_000_000, "1 d"), (273_600_000_000, "3 d 4 h"),
            (864_000_000_000, "10 d"), (Int64.max, "106751991 d"),
        ] as [(Int64, String)]
    )
    func ages(microseconds: Int64, text: String) {
        #expect(Quantities.age(microseconds: microseconds) == text)
    }

    @Test(
        arguments: [
            (0, "0 ms"), (0.0004, "0 ms"), (0.25, "250 ms"), (0.9994, "999 ms"), (0.9996, "1.00 s"), (9.99, "9.99 s"),
            (42.25, "42.3 s"), (120, "2 min"), (1e300, "11574074 d"), (.nan, "–"),
        ] as [(Double, String)]
    )
    func seconds(value: Double, text: String) {
        #expect(Quantities.seconds(value) == text)
    }

    @Test(
        arguments: [
            (0, "0 %"), (-1, "0 %"), (0.001, "< 1 %"), (0.5, "50 %"), (0.999, "99 %"), (1, "100 %"), (.nan, "0 %"),
        ] as [(Double, String)]
    )
    func percents(share: Double, text: String) {
        #expect(Quantities.percent(share) == text)
    }
}
