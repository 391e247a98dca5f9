import CAllocator

/// Settings of the C library's memory allocator, for a process that runs for years.
enum Allocator {
    /// Call early, before threads that allocate.
    ///
    /// glibc gives every thread an arena of its own, up to eight a processor, and raises its thresholds with the largest
    /// block that was ever freed, so that what a burst needed stays resident. The hot path allocates nothing per reading, so
    /// that sharing two arenas costs nothing, and blocks of 128 KiB and more go back to the system when they are freed.
    /// MALLOC_ARENA_MAX and the like in the environment are overridden.
    static func tune() { callocator_tune(2, 128 * 1024, 128 * 1024) }

    /// Gives back to the system what a start, a change of many tags or a long backlog needed for a moment: free memory between
    /// blocks that stay, and the pages of code that ran. Any thread.
    static func trim() {
        callocator_trim()
        callocator_release_code()
    }
}
