/// A step did not do what is counted.
struct StepError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
