//! How glibc's allocator gets memory for a mount.
//!
//! Inflated frames come and go, each some MiB long. Left to itself, the allocator keeps areas for
//! some threads alone, and puts frames among what is smaller: the gaps took much of the working
//! set. So there are few areas, and what is large gets pages of its own, which go back to the
//! system with it (mallopt(3); setting a threshold keeps it from growing).

/// Sets it up, for the whole process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn set_up() {
    const AREAS: libc::c_int = 2;
    const LARGE: libc::c_int = 128 << 10;
    #[expect(unsafe_code, reason = "sets two numbers, before other threads are there")]
    // SAFETY: it takes any numbers, and refuses those that make no sense.
    let taken = unsafe {
        (libc::mallopt(libc::M_ARENA_MAX, AREAS), libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE))
    };
    if taken != (1, 1) {
        log::debug!("the allocator goes its own way: {taken:?}");
    }
}

/// Other allocators know better.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn set_up() {}
