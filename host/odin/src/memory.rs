//! The allocator, and how what it keeps is given back.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives memory that this thread has freed back to the system. The allocator does so by itself only while it is used.
#[allow(unsafe_code, reason = "a function of the allocator that has no safe name")]
pub(crate) fn give_back() {
    // SAFETY: it may be called from any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
