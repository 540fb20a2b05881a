//! How this process's allocator shares memory out among threads.
#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "mallopt: nobody wraps it"))]

/// All threads allocate from one heap from now on. glibc gives each its own, up to eight for each CPU, and each keeps what it
/// once had: short-lived threads then cost megabytes that are never used again. For processes whose threads allocate little.
/// Call before there are threads. Other C libraries have one anyway.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers, and changes a setting of the allocator under its own lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
